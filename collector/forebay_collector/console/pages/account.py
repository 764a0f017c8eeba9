"""One's own account: password, open sessions, and tokens for programs."""

from __future__ import annotations

from datetime import timedelta

from starlette.responses import RedirectResponse, Response

from forebay_collector.console import cookies
from forebay_collector.console.answers import Done, Page
from forebay_collector.console.visit import Visit
from forebay_collector.errors import NotPossible
from forebay_collector.service import sessions, tokens, users

HERE = "/account"
_LONGEST_DAYS = 366


def account(visit: Visit) -> Page:
    name = visit.actor.name
    return Page(
        "account.html",
        {
            "account": users.account(visit.ledger, visit.actor, name),
            "sessions": sessions.listing(visit.ledger, visit.actor, name),
            "tokens": [] if visit.must_change_password else tokens.listing(visit.ledger, visit.actor, name),
            "roles": sorted(visit.actor.roles),
            "made": None,
        },
        live=False,
    )


def change_password(visit: Visit) -> Done | Response:
    """All sessions end with the old password, this one too: one logs in again with the new one."""
    new, again = visit.secret("new"), visit.secret("again")
    if new != again:
        raise NotPossible("the new password was typed in two ways", remedy="Type the same one twice.")
    users.set_password(
        visit.ledger,
        visit.actor,
        visit.actor.name,
        new,
        old=visit.secret("old"),
        peer=visit.peer,
        rules=visit.console.settings.accounts,
    )
    response = RedirectResponse("/login", 303)
    cookies.drop(response, cookies.SESSION, secure=visit.secure)
    return response


def end_sessions(visit: Visit) -> Response:
    sessions.close_sessions(visit.ledger, visit.actor, visit.actor.name)
    response = RedirectResponse("/login", 303)
    cookies.drop(response, cookies.SESSION, secure=visit.secure)
    return response


def make_token(visit: Visit) -> Page:
    """A token for a program. It is shown in this answer and never again, so that it is in no address and no cookie."""
    days = visit.said("days")
    life = int(days) if days.isdecimal() and len(days) < 4 else 0
    if not 0 < life <= _LONGEST_DAYS:
        raise NotPossible(f"a token lives for 1 to {_LONGEST_DAYS} days", remedy="Choose another number of days.")
    made = tokens.make_token(
        visit.ledger, visit.actor, visit.said("label"), roles=visit.all_said("role"), life=timedelta(days=life)
    )
    page = account(visit)
    return Page(page.template, {**page.values, "made": made}, live=False)


def revoke_token(visit: Visit) -> Done:
    number = visit.said("token")
    if not number.isdecimal():
        raise NotPossible("no token is named", remedy="Choose one of the list.")
    tokens.revoke_token(visit.ledger, visit.actor, int(number), visit.said("why"))
    return visit.done(HERE, "account.token_revoked")
