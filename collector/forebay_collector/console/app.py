"""The console as an application: every address, and what answers there.

    make_app(ledger, settings, archive, open_platform) -> Starlette

Pages are GET, deeds POST. What a person may not do is refused by the service layer, not by leaving a button out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from forebay_collector import __version__
from forebay_collector.archive import Archive
from forebay_collector.console.endpoints import Endpoints
from forebay_collector.console.live import TICK_S, Streams
from forebay_collector.console.pages import (
    account,
    agent,
    alerts,
    approvals,
    audit,
    batches,
    certificates,
    entering,
    find,
    fleet,
    identity,
    offers,
    quarantine,
    repairs,
    streams,
    users,
    verification,
)
from forebay_collector.console.protection import Protected
from forebay_collector.console.visit import Console
from forebay_collector.ledger import Ledger
from forebay_collector.platform.contract import Platform
from forebay_collector.service import provider
from forebay_collector.settings import Settings

_STREAM: Final = "{department}/{source}/{table:path}"
_STATIC_S: Final = 3_600


def make_app(
    ledger: Ledger,
    settings: Settings,
    *,
    archive: Archive,
    open_platform: Callable[[], Platform],
    tick_s: float = TICK_S,
    beside: Sequence[BaseRoute] = (),
) -> Starlette:
    """tick_s: how often an open page is looked at anew. beside: what else is served.

    Raises ConfigurationError. `app.state.stop()` ends its event streams and what it reads ahead, so that a server can stop;
    `app.state.warm()` makes the first page that people see quick.
    """
    open_streams = Streams(tick_s)
    console = Console.over(ledger, settings, archive, open_platform, version=__version__)
    at = Endpoints(console, open_streams)
    app = Starlette(
        routes=[*beside, *_routes(at), Mount("/static", _Files(directory=str(files(__package__) / "static")))],
        middleware=[Middleware(Protected)],
        exception_handlers={404: at.missing, 405: at.missing, Exception: at.broken},
    )

    def stop() -> None:
        open_streams.stop()
        console.stop()

    app.state.stop = stop
    app.state.warm = lambda: at.warm(fleet.fleet)
    return app


def _routes(at: Endpoints) -> list[BaseRoute]:
    def get(path: str, endpoint: Callable[[Request], object]) -> Route:
        return Route(path, endpoint, methods=["GET"])

    def post(path: str, endpoint: Callable[[Request], object]) -> Route:
        return Route(path, endpoint, methods=["POST"])

    return [
        get("/", at.page(fleet.fleet)),
        get("/login", at.page(entering.login, everybody=True)),
        post("/login", at.deed(entering.log_in, everybody=True)),
        get("/login/link", at.page(entering.link, everybody=True)),
        post("/login/link", at.deed(entering.log_in_by_link, everybody=True)),
        get("/login/oidc", at.page(entering.to_provider, everybody=True)),
        get(provider.BACK, at.page(entering.from_provider, everybody=True)),
        post("/logout", at.deed(entering.log_out, everybody=True)),
        post("/preferences", at.deed(entering.prefer, everybody=True)),
        get("/account", at.page(account.account)),
        post("/account/password", at.deed(account.change_password)),
        post("/account/sessions", at.deed(account.end_sessions)),
        post("/account/tokens", at.deed(account.make_token)),
        post("/account/tokens/revoke", at.deed(account.revoke_token)),
        get("/find", at.page(find.find)),
        get("/agents/{name}", at.page(agent.agent)),
        post("/agents/{name}/command", at.deed(agent.command)),
        get("/agents/{name}/diagnostics/{command}", at.page(agent.diagnostics)),
        get("/streams", at.page(streams.listing)),
        get(f"/streams/{_STREAM}", at.page(streams.stream)),
        get(f"/sample/{_STREAM}", at.page(streams.sample)),
        get("/batches", at.page(batches.listing)),
        get(f"/batch/{{epoch:int}}/{{seq:int}}/{_STREAM}", at.page(batches.batch)),
        get("/alerts", at.page(alerts.alerts)),
        post("/alerts", at.deed(alerts.acknowledge)),
        post("/alerts/windows", at.deed(alerts.open_window)),
        post("/alerts/windows/close", at.deed(alerts.close_window)),
        get("/quarantine", at.page(quarantine.held)),
        post("/quarantine", at.deed(quarantine.decide)),
        get("/approvals", at.page(approvals.proposals)),
        post("/approvals", at.deed(approvals.decide)),
        get("/identity", at.page(identity.identity)),
        post("/identity/tokens", at.deed(identity.make_token)),
        post("/identity/revoke", at.deed(identity.revoke)),
        get("/offers", at.page(offers.rollouts)),
        post("/offers", at.deed(offers.offer)),
        post("/offers/cancel", at.deed(offers.cancel)),
        get("/verification", at.page(verification.runs)),
        post("/verification", at.deed(verification.start)),
        get("/verification/{number:int}", at.page(verification.run)),
        get("/certificates", at.page(certificates.listing)),
        post("/certificates", at.deed(certificates.make)),
        get("/certificates/{number:int}", at.page(certificates.certificate)),
        get("/certificates/{number:int}/file", at.page(certificates.file)),
        get("/repairs", at.page(repairs.runs)),
        post("/repairs", at.deed(repairs.start)),
        get("/repairs/{number:int}", at.page(repairs.run)),
        get("/coverage", at.page(repairs.coverage)),
        get("/audit", at.page(audit.listing)),
        get("/audit/export", at.page(audit.export)),
        post("/audit/verify", at.deed(audit.verify)),
        get("/users", at.page(users.listing)),
        post("/users", at.deed(users.change)),
    ]


class _Files(StaticFiles):
    """The console's own files; a browser keeps them for an hour, and asks for a new version by its own address."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code in (200, 304):
            response.headers["cache-control"] = f"public, max-age={_STATIC_S}"
        return response
