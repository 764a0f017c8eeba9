"""Coming in and going out: log-in by password and by one-time link, log-out, the language and the theme."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from forebay_collector.console import cookies
from forebay_collector.console.answers import Done, Page, Redirect
from forebay_collector.console.language import LANGUAGES
from forebay_collector.console.visit import Visit
from forebay_collector.errors import CollectorError
from forebay_collector.service import sessions, users
from forebay_collector.service.actor import Actor

_LOGIN = "/login"
_LONGEST = 1_000


def login(visit: Visit) -> Page | Redirect:
    return Redirect("/") if visit.actor.name else Page("login.html", live=False)


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


def log_out(visit: Visit) -> Response:
    if visit.actor.name:
        users.close_session(visit.ledger, visit.token)
    response = RedirectResponse(_LOGIN, 303)
    cookies.drop(response, cookies.SESSION, secure=visit.console.secure)
    return response


def prefer(visit: Visit) -> Response:
    """Keeps the language or the theme that the person chose, with the browser."""
    response = RedirectResponse(visit.back("/"), 303)
    language, theme = visit.said("language"), visit.said("theme")
    if language in LANGUAGES:
        cookies.put_choice(response, cookies.LANGUAGE, language, secure=visit.console.secure)
    if theme in cookies.THEMES:
        cookies.put_choice(response, cookies.THEME, theme, secure=visit.console.secure)
    return response


def _inside(visit: Visit, actor: Actor) -> Response:
    """A session for whoever has just logged in; the token from before is worth nothing after it."""
    before = cookies.session_token(visit.request)
    token = sessions.open_session(visit.ledger, actor, replaces=before, rules=visit.console.settings.accounts)
    response = RedirectResponse("/", 303)
    cookies.put(response, cookies.SESSION, token, secure=visit.console.secure)
    cookies.drop(response, cookies.VISIT, secure=visit.console.secure)
    return response
