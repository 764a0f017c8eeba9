"""Protection: what every answer says to the browser, and what every form must show.

The policy lets a page load its style sheets, its script and its images from here, and nothing from anywhere; nothing
inline, nothing evaluated, no frame around it. A form carries a token that is derived from the browser's own (see
`service.sessions.form_token`), and a browser that says that a request comes from another site is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forebay_collector.api.problems import response_of
from forebay_collector.errors import RequestTooLong
from forebay_collector.service.sessions import form_token_fits

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
TLS_ONLY: Final = {"strict-transport-security": "max-age=31536000"}
_HEADERS_OF: Final[Mapping[str, Mapping[bytes, bytes]]] = {
    scheme: {name.encode(): value.encode() for name, value in pairs.items()}
    for scheme, pairs in (("http", HEADERS), ("https", HEADERS | TLS_ONLY))
}
FORM_FIELD: Final = "form_token"
MOST_BYTES: Final = 1 << 20
"""Of a request's body."""


class Protected:
    """Adds the headers to every answer, and refuses bodies that are too long, whoever answers behind it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                _protect(message, _HEADERS_OF.get(scope["scheme"], _HEADERS_OF["http"]))
            await send(message)

        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MOST_BYTES:
            refused = response_of(RequestTooLong(f"a request has at most {MOST_BYTES} bytes"))
            await refused(scope, receive, sending)
            return
        await self._app(scope, _Bounded(receive), sending)


def _protect(message: MutableMapping[str, Any], headers: Mapping[bytes, bytes]) -> None:
    kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in headers]
    if not any(pair[0].lower() == b"cache-control" for pair in kept):
        kept.append((b"cache-control", b"no-store"))
    message["headers"] = [*kept, *headers.items()]


class _Bounded:
    """Receives a body up to the bound; what is longer ends as if the browser had gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = MOST_BYTES

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        return message if self._left >= 0 else {"type": "http.disconnect"}


def from_here(request: Request) -> bool:
    """Whether the browser says that the request comes from a page of this console; one that says nothing is believed,
    for then the form's token decides."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin", "")
    same = not origin or urlsplit(origin).netloc == request.headers.get("host", "")
    return site in ("same-origin", "none") and same


def form_is_ours(request: Request, token: str, given: str) -> bool:
    """Whether a form was made for the browser that sends it."""
    return bool(token) and from_here(request) and form_token_fits(token, given)
