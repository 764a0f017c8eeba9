"""Coming in and going out: log-in by password, by one-time link and by an identity provider; log-out; language, theme."""

from __future__ import annotations

from starlette.responses import HTMLResponse, RedirectResponse, Response

from forebay_collector.console import cookies
from forebay_collector.console.answers import Done, Page, Redirect
from forebay_collector.console.language import LANGUAGES
from forebay_collector.console.visit import Visit
from forebay_collector.errors import CollectorError, NotKnown
from forebay_collector.service import oidc, sessions, users
from forebay_collector.service.actor import Actor
from forebay_collector.service.provider import Provider

_LOGIN = "/login"
_LONGEST = 1_000
_GO_ON = '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>Forebay</title><a href="/">Forebay</a>'


def login(visit: Visit) -> Page | Redirect:
    if visit.actor.name:
        return Redirect("/")
    return Page("login.html", {"elsewhere": visit.console.provider is not None}, live=False)


def log_in(visit: Visit) -> Done | Response:
    rules = visit.console.settings.accounts
    try:
        actor = users.authenticate(
            visit.ledger, visit.said("name")[:_LONGEST], visit.secret("password")[:_LONGEST], visit.peer, rules=rules
        )
    except CollectorError as error:
        return visit.hindered(_LOGIN, error)
    return _inside(visit, actor)


def link(visit: Visit) -> Page:
    """The page of a one-time link: it is spent by a press of the button, not by a look at the address."""
    return Page("login_link.html", {"token": visit.asked("token")[:_LONGEST]}, live=False)


def log_in_by_link(visit: Visit) -> Done | Response:
    try:
        actor = users.log_in_by_link(
            visit.ledger, visit.said("token")[:_LONGEST], visit.peer, rules=visit.console.settings.accounts
        )
    except CollectorError as error:
        return visit.hindered(_LOGIN, error)
    return _inside(visit, actor)


def to_provider(visit: Visit) -> Response:
    """Sends the browser to the identity provider. Raises NotKnown when there is none, OidcUnreachable, OidcRefused."""
    sign_in = oidc.begin(visit.ledger, _provider(visit))
    response = RedirectResponse(sign_in.url, 303)
    cookies.put_oidc(response, sign_in.browser, secure=visit.secure)
    return response


def from_provider(visit: Visit) -> Response:
    """The browser comes back from the identity provider.

    It comes from another site, and would not send the session's cookie if it were sent on at once: this answer is a page of
    our own that goes on by itself.
    """
    actor = oidc.finish(
        visit.ledger,
        _provider(visit),
        browser=visit.request.cookies.get(cookies.OIDC, ""),
        state=visit.asked("state")[:_LONGEST],
        code=visit.asked("code")[: 4 * _LONGEST],
        peer=visit.peer,
        rules=visit.console.settings.accounts,
    )
    response = HTMLResponse(_GO_ON)
    _open(visit, actor, response)
    cookies.drop_oidc(response, secure=visit.secure)
    return response


def log_out(visit: Visit) -> Response:
    if visit.actor.name:
        users.close_session(visit.ledger, visit.token)
    response = RedirectResponse(_LOGIN, 303)
    cookies.drop(response, cookies.SESSION, secure=visit.secure)
    return response


def prefer(visit: Visit) -> Response:
    """Keeps the language or the theme that the person chose, with the browser."""
    response = RedirectResponse(visit.back("/"), 303)
    language, theme = visit.said("language"), visit.said("theme")
    if language in LANGUAGES:
        cookies.put_choice(response, cookies.LANGUAGE, language, secure=visit.secure)
    if theme in cookies.THEMES:
        cookies.put_choice(response, cookies.THEME, theme, secure=visit.secure)
    return response


def _inside(visit: Visit, actor: Actor) -> Response:
    """A session for whoever has just logged in; the token from before is worth nothing after it."""
    response = RedirectResponse("/", 303)
    _open(visit, actor, response)
    return response


def _open(visit: Visit, actor: Actor, response: Response) -> None:
    before = cookies.session_token(visit.request)
    token = sessions.open_session(visit.ledger, actor, replaces=before, rules=visit.console.settings.accounts)
    cookies.put(response, cookies.SESSION, token, secure=visit.secure)
    cookies.drop(response, cookies.VISIT, secure=visit.secure)


def _provider(visit: Visit) -> Provider:
    if visit.console.provider is None:
        raise NotKnown("no identity provider is set", remedy="Log in with name and password.")
    return visit.console.provider
