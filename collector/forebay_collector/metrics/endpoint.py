"""`GET /metrics`: who may ask for them, and the answer.

Departments, tables and agents stand in the labels. So whoever asks shows an API token of an account that may see
(`Authorization: Bearer fba1_…`; any role may), and gets what the token's departments are. Only an address of the
metrics' own on the loopback may be asked without one: opening it is a decision of whoever runs the machine, while the
loopback of the console may be a proxy that speaks for the whole world.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from forebay_collector.errors import CollectorError
from forebay_collector.ledger import Ledger
from forebay_collector.metrics.exposition import CONTENT_TYPE, Exposition
from forebay_collector.service import tokens
from forebay_collector.service.actor import Actor, Permission, Role

PATH: Final = "/metrics"
ANYBODY: Final = Actor("metrics", frozenset({Role.VIEWER}), None, "metrics")
_COMPRESSED_FROM: Final = 16 << 10
_FASTEST: Final = 1


def metrics_route(ledger: Ledger, exposition: Exposition, *, anybody: bool = False) -> Route:
    """anybody: without a token, too."""
    turn = asyncio.Lock()  # a page at a time: who else asks waits here and takes up no thread

    async def metrics(request: Request) -> Response:
        try:
            actor = ANYBODY if anybody else await asyncio.to_thread(_actor, ledger, request)
            if actor is None:
                return _refused(401, "an API token is needed: Authorization: Bearer fba1_…")
            if not actor.may(Permission.SEE):
                return _refused(403, f"{actor.name} may not see")
            packed = "gzip" in request.headers.get("accept-encoding", "")
            async with turn:
                body, encoding = await asyncio.to_thread(_page, exposition, actor, packed=packed)
        except CollectorError as error:
            return _refused(503, f"{error.code}: {error}")
        headers = {"content-type": CONTENT_TYPE, "vary": "accept-encoding, authorization"}
        return Response(body, headers=headers | ({"content-encoding": encoding} if encoding else {}))

    return Route(PATH, metrics, methods=["GET"])


def _actor(ledger: Ledger, request: Request) -> Actor | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return tokens.actor_of_token(ledger, token.strip()) if scheme.lower() == "bearer" else None


def _page(exposition: Exposition, actor: Actor, *, packed: bool) -> tuple[bytes, str]:
    page = exposition.page(actor)
    if packed and len(page) >= _COMPRESSED_FROM:
        return gzip.compress(page, _FASTEST, mtime=0), "gzip"
    return page, ""


def _refused(status: int, reason: str) -> Response:
    headers = {"www-authenticate": 'Bearer realm="forebay"'} if status == 401 else {}
    return PlainTextResponse(f"{reason}\n", status, headers)
