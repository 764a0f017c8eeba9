"""Serving: from a request to an operation and back.

    request -> token (admission) -> body, bounded -> query and body checked -> the operation's function -> JSON

What goes wrong becomes a problem; what has no name is told by its code only, and the log says where. Functions run in
threads. Addresses are matched as they were sent, still encoded, so that a name may hold a slash (`%2F`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, unquote

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from forebay_collector.api import description, problems
from forebay_collector.api.admission import Admission
from forebay_collector.api.nouns import NOUNS
from forebay_collector.api.operation import NOBODY, Call, Operation, Works
from forebay_collector.errors import (
    CollectorError,
    MediaRefused,
    MethodRefused,
    NotKnown,
    RequestRefused,
    RequestTooLong,
)
from forebay_collector.platform.contract import PlatformError
from forebay_collector.service.tokens import Holder

MOST_BYTES: Final = 512 << 10
"""Of a request's body."""
_JSON: Final = "application/json"
_log = logging.getLogger("forebay.api")


def routes(works: Works, admission: Admission | None = None) -> list[BaseRoute]:
    """What the API adds to the console's addresses. admission: in place of the usual one."""
    works = replace(works, description=description.text(NOUNS))
    mounted = Mount(problems.ROOT, app=_Encoded(_Api(works, admission or Admission(works.ledger)).app()))
    # whatever stands in an address, a line break too: it is the API that answers
    mounted.path_regex = re.compile(mounted.path_regex.pattern, re.DOTALL)
    return [mounted]


class _Encoded:
    """Lets the router see the path as it was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path")
        if scope["type"] == "http" and isinstance(raw, bytes):
            scope = {**scope, "path": raw.partition(b"?")[0].decode("latin-1")}
        await self._app(scope, receive, send)


class _Api:
    def __init__(self, works: Works, admission: Admission) -> None:
        self._works = works
        self._admission = admission

    def app(self) -> Starlette:
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in (each for noun in NOUNS for each in noun.operations):
            by_path.setdefault(operation.path, {})[operation.method] = operation
        made = [self._route(path, found) for path, found in by_path.items()]
        app = Starlette(routes=made, exception_handlers={HTTPException: _http})
        app.router.redirect_slashes = False
        return app

    def _route(self, path: str, operations: Mapping[str, Operation]) -> Route:
        async def endpoint(request: Request) -> Response:
            operation = operations["GET" if request.method == "HEAD" else request.method]
            try:
                return await self._serve(operation, request)
            except (CollectorError, PlatformError) as error:
                if not isinstance(error, PlatformError) and problems.problem_of(error).status >= 500:
                    _log.warning("api waits operation=%s code=%s reason=%s", operation.id, error.code, error)
                return problems.response_of(error)
            except Exception:
                _log.exception("api broke operation=%s", operation.id)
                return problems.response_of(CollectorError())

        return Route(path, endpoint, methods=list(operations))

    async def _serve(self, operation: Operation, request: Request) -> Response:
        if operation.body is None:
            return await run_in_threadpool(self._admit_and_do, operation, request)
        holder = await run_in_threadpool(self._admission.admit, request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            raise MediaRefused
        body = await _read(request)
        return await run_in_threadpool(self._do, operation, request, holder, body)

    def _admit_and_do(self, operation: Operation, request: Request) -> Response:
        return self._do(operation, request, self._holder(operation, request), b"")

    def _holder(self, operation: Operation, request: Request) -> Holder:
        return NOBODY if operation.everybody else self._admission.admit(request)

    def _do(self, operation: Operation, request: Request, holder: Holder, body: bytes) -> Response:
        call = Call(
            self._works,
            holder,
            _path(request),
            _query(operation.query, request),
            _body(operation.body, body),
            request.client.host if request.client else "",
            str(request.base_url).partition(problems.ROOT)[0].rstrip("/"),
        )
        try:
            answer = operation.do(call)
        finally:
            if operation.method != "GET":
                self._works.recent.forget()
        if isinstance(answer, Response):
            return answer
        if operation.answers is None:
            return Response(status_code=operation.status)
        shown = operation.answers.model_validate(answer)
        headers = {}
        if operation.location:
            named = {name: quote(str(getattr(shown, name)), safe="") for name in type(shown).model_fields}
            headers["location"] = problems.ROOT + operation.location.format_map(named)
        return Response(shown.model_dump_json(), operation.status, headers, _JSON)


async def _read(request: Request) -> bytes:
    """Raises RequestTooLong."""
    parts, left = [], MOST_BYTES
    async for part in request.stream():
        left -= len(part)
        if left < 0:
            raise RequestTooLong(f"a body has at most {MOST_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _path(request: Request) -> dict[str, str]:
    """Raises NotKnown for what is no UTF-8."""
    try:
        return {name: unquote(value, errors="strict") for name, value in request.path_params.items()}
    except UnicodeDecodeError:
        raise NotKnown("the address is not UTF-8") from None


def _query(model: type[BaseModel] | None, request: Request) -> Any:
    """Raises RequestRefused."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given or model is None:
            reason = "is given twice" if name in given else "is not known here"
            raise RequestRefused("the query does not fit", wrong=(("query", name[:100], reason),))
        given[name] = value
    if model is None:
        return None
    try:
        return model.model_validate_strings(given, strict=True)
    except ValidationError as error:
        raise RequestRefused("the query does not fit", wrong=_wrong("query", error)) from None


def _body(model: type[BaseModel] | None, body: bytes) -> Any:
    """Raises RequestRefused."""
    if model is None:
        return None
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise RequestRefused("the body does not fit", wrong=_wrong("body", error)) from None


def _wrong(part: str, error: ValidationError) -> list[tuple[str, str, str]]:
    """What does not fit, without the values: they may be secrets."""
    told = error.errors(include_url=False, include_context=False, include_input=False)
    return [(part, "/".join(map(str, one["loc"]))[:200], one["msg"]) for one in told[:50]]


async def _http(request: Request, error: Exception) -> Response:
    """For addresses where nothing is, and methods that they do not have."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "").split(", ")
        told = f"{request.method[:20]} is none of this address's methods"
        return problems.response_of(MethodRefused(told, allowed=sorted(allowed)))
    remedy = f"See {problems.ROOT}/openapi.json for what there is."
    return problems.response_of(NotKnown("nothing is at this address", remedy=remedy))
