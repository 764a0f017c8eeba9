"""Endpoints: from a request to a page or a deed, and back.

    request -> session -> Visit -> page function -> HTML, or an event stream of what changes of it
                       -> form's token -> deed function -> 303, with the messages kept for the next page

What goes wrong becomes a page that says what, why and what to do about it. Page and deed functions run in threads.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from forebay_collector.console import cookies
from forebay_collector.console.answers import Done, Page, Redirect
from forebay_collector.console.language import LANGUAGES, words_of
from forebay_collector.console.live import Streams, digest
from forebay_collector.console.protection import FORM_FIELD, form_is_ours
from forebay_collector.console.rendering import render
from forebay_collector.console.visit import EVERYBODY, Console, Visit, language_of
from forebay_collector.errors import (
    ArchiveUnavailable,
    CollectorError,
    FormRefused,
    LedgerUnavailable,
    LoginRefused,
    NotKnown,
    NotPermitted,
    NotPossible,
    OidcRefused,
    OidcUnreachable,
)
from forebay_collector.platform.contract import PlatformError
from forebay_collector.service.actor import Actor
from forebay_collector.service.pace import Pace
from forebay_collector.service.sessions import session_of

Endpoint = Callable[[Request], Awaitable[Response]]
Show = Callable[[Visit], Page | Redirect | Response]
Do = Callable[[Visit], Done | Page | Response]

LIVE: Final = "_live"
LOGIN: Final = "/login"
ACCOUNT: Final = "/account"
_STATUS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (NotPermitted, 403),
    (FormRefused, 403),
    (LoginRefused, 401),
    (OidcRefused, 401),
    (OidcUnreachable, 502),
    (NotKnown, 404),
    (NotPossible, 409),
    (LedgerUnavailable, 503),
    (ArchiveUnavailable, 503),
    (PlatformError, 503),
)
_STRANGERS_PER_S: Final = 2.0
_STRANGERS_BURST: Final = 30
_NOBODY: Final = Actor("", frozenset(), frozenset(), "console")
_log = logging.getLogger("forebay.console")


class Endpoints:
    """Makes endpoints out of page and deed functions."""

    def __init__(self, console: Console, streams: Streams) -> None:
        self.console = console
        self._streams = streams
        self._strangers = Pace(_STRANGERS_PER_S, _STRANGERS_BURST)

    def warm(self, show: Show) -> None:
        """Makes a page for nobody in every language: what its first visitor would wait for is compiled and read by then."""
        scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/", "query_string": b"", "headers": []}
        request = Request({**scope, "server": ("127.0.0.1", 80)})
        for language in LANGUAGES:
            visit = Visit(
                self.console,
                request,
                EVERYBODY,
                "",
                words_of(language),
                cookies.theme(request),
                request.query_params,
                FormData(),
            )
            page = show(visit)
            if isinstance(page, Page):
                render(page, visit)

    def page(self, show: Show, *, everybody: bool = False) -> Endpoint:
        """everybody: also for whoever is not logged in."""

        async def endpoint(request: Request) -> Response:
            looks_on = "text/event-stream" in request.headers.get("accept", "")
            visit = await run_in_threadpool(self._visit, request, FormData(), keeps_alive=not looks_on)
            if isinstance(visit, Response):
                return visit
            if not everybody and (elsewhere := _must_log_in(visit)) is not None:
                return elsewhere
            if looks_on:
                return self._streams.answer(lambda: self._look(request, show), request.query_params.get(LIVE, ""))
            return await run_in_threadpool(self._shown, visit, show)

        return endpoint

    def deed(self, do: Do, *, everybody: bool = False) -> Endpoint:
        """everybody: also for whoever is not logged in; the form's token is checked all the same."""

        async def endpoint(request: Request) -> Response:
            if (wait_s := self._wait_s(request)) > 0:
                return PlainTextResponse("", 429, headers={"retry-after": str(math.ceil(wait_s))})
            form = await request.form(max_files=0, max_fields=5_000)
            visit = await run_in_threadpool(self._visit, request, form)
            if isinstance(visit, Response):
                return visit
            if not everybody and not visit.actor.name and cookies.session_token(request):
                # the session has ended meanwhile: that is told by the log-in, not by a refusal
                return RedirectResponse(LOGIN, 303)
            if not form_is_ours(request, visit.token, visit.secret(FORM_FIELD)):
                refused = FormRefused()
                _log.warning("form refused path=%s peer=%s", request.url.path, visit.peer)
                return await run_in_threadpool(self._trouble, visit, refused)
            if not everybody and (elsewhere := _must_log_in(visit)) is not None:
                return elsewhere
            return await run_in_threadpool(self._did, visit, do)

        return endpoint

    async def missing(self, request: Request, error: Exception) -> Response:
        """For addresses where nothing is, and methods that it does not have."""
        assert isinstance(error, HTTPException)
        visit = await run_in_threadpool(self._visit, request, FormData())
        if isinstance(visit, Response):
            return visit
        known = NotKnown(f"nothing is at {request.url.path[:200]}", remedy="Go back to the fleet.")
        return await run_in_threadpool(self._trouble, visit, known, error.status_code)

    async def broken(self, request: Request, error: Exception) -> Response:
        """For what has no name: the page says nothing of it, the log says where."""
        _log.error("page broke path=%s", request.url.path, exc_info=error)
        return PlainTextResponse(f"{CollectorError.code}\n", 500)

    def _wait_s(self, request: Request) -> float:
        """How long whoever is not logged in must wait before the next form from its address is looked at."""
        if cookies.session_token(request):
            return 0.0
        return self._strangers.wait_s(request.client.host if request.client else "")

    def _visit(self, request: Request, form: FormData, *, keeps_alive: bool = True) -> Visit | Response:
        """Who asks, for what; a trouble of the ledger becomes an answer without any page around it."""
        token = cookies.session_token(request)
        try:
            session = session_of(self.console.ledger, token, keeps_alive=keeps_alive) if token else None
        except CollectorError as error:
            _log.warning("console waits for the ledger code=%s reason=%s", error.code, error)
            return PlainTextResponse(f"{error.code}\n", _status_of(error), headers={"retry-after": "5"})
        if session is None:
            token = cookies.visit_token(request) or cookies.new_visit_token()
        query = QueryParams([(name, value) for name, value in request.query_params.multi_items() if name != LIVE])
        return Visit(
            console=self.console,
            request=request,
            actor=session.actor if session else _NOBODY,
            token=token,
            words=language_of(request),
            theme=cookies.theme(request),
            query=query,
            form=form,
            must_change_password=session.must_change_password if session else False,
            messages=cookies.take_flash(request, token),
        )

    def _shown(self, visit: Visit, show: Show) -> Response:
        try:
            answer = show(visit)
            if isinstance(answer, Response):
                return answer
            if isinstance(answer, Redirect):
                return RedirectResponse(answer.to, 303)
            return self._html(visit, answer)
        except (CollectorError, PlatformError) as error:
            return self._trouble(visit, error)

    def _did(self, visit: Visit, do: Do) -> Response:
        try:
            answer = do(visit)
        except (NotPermitted, NotKnown) as error:
            return self._trouble(visit, error)
        except (CollectorError, PlatformError) as error:
            answer = visit.hindered(visit.back("/"), error)
        if isinstance(answer, Response):
            return answer
        if isinstance(answer, Page):
            return self._html(visit, answer)
        response = RedirectResponse(answer.to, 303)
        if answer.messages:
            cookies.put_flash(response, visit.token, answer.messages, secure=visit.secure)
        return response

    def _html(self, visit: Visit, page: Page) -> Response:
        html, regions = render(page, visit)
        # where the live parts stand now, for the event stream to go on from there
        response = HTMLResponse(html.replace("@shown@", digest(regions.html), 1), page.status)
        secure = visit.secure
        if visit.messages:
            cookies.drop(response, cookies.FLASH, secure=secure)
        if not visit.actor.name and cookies.visit_token(visit.request) != visit.token:
            cookies.put(response, cookies.VISIT, visit.token, secure=secure)
        return response

    def _look(self, request: Request, show: Show) -> dict[str, str] | None:
        """The parts of the page as they are now; None when whoever asked may not see it any more."""
        visit = self._visit(request, FormData(), keeps_alive=False)
        if isinstance(visit, Response) or not visit.actor.name:
            return None
        try:
            answer = show(visit)
        except (NotPermitted, NotKnown):
            return None
        return render(answer, visit)[1].html if isinstance(answer, Page) else None

    def _trouble(self, visit: Visit, error: CollectorError | PlatformError, status: int = 0) -> Response:
        trouble = visit.words.of_error(error)
        return self._html(visit, Page("trouble.html", {"problem": trouble}, status or _status_of(error), live=False))


def _status_of(error: Exception) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _must_log_in(visit: Visit) -> Response | None:
    """Where to go first; None when the visit may go on."""
    if not visit.actor.name:
        return RedirectResponse(LOGIN, 303)
    if visit.must_change_password and visit.request.url.path not in (ACCOUNT, f"{ACCOUNT}/password"):
        return RedirectResponse(ACCOUNT, 303)
    return None
