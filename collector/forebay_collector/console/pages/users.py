"""Users: accounts, what they may, and how they come in."""

from __future__ import annotations

from typing import Final

from forebay_collector.console.answers import Done, Page
from forebay_collector.console.visit import Visit
from forebay_collector.errors import NotPossible
from forebay_collector.service import login, sessions
from forebay_collector.service import users as service
from forebay_collector.service.actor import Role

HERE: Final = "/users"


def listing(visit: Visit) -> Page:
    return _page(visit)


def change(visit: Visit) -> Done | Page:
    """Creates an account, or changes one: what the pressed button says."""
    name = visit.said("name")
    rules = visit.console.settings.accounts
    match visit.said("action"):
        case "create":
            made = service.create(
                visit.ledger,
                visit.actor,
                name,
                visit.all_said("role"),
                _departments(visit),
                password=visit.secret("password"),
                rules=rules,
            )
            if not visit.secret("password"):
                return _link(visit, made.name)
            return visit.done(HERE, "users.created", name=made.name)
        case "roles":
            service.set_roles(
                visit.ledger,
                visit.actor,
                name,
                visit.all_said("role"),
                _departments(visit),
                why=visit.said("why"),
                rules=rules,
            )
            return visit.done(HERE, "users.changed", name=name)
        case "password":
            service.set_password(visit.ledger, visit.actor, name, visit.secret("password"), rules=rules)
            return visit.done(HERE, "users.password_set", name=name)
        case "disable":
            service.disable(visit.ledger, visit.actor, name, visit.why())
            return visit.done(HERE, "users.disabled", name=name)
        case "enable":
            service.enable(visit.ledger, visit.actor, name, visit.why())
            return visit.done(HERE, "users.enabled", name=name)
        case "sessions":
            ended = sessions.close_sessions(visit.ledger, visit.actor, name, visit.said("why"))
            return visit.done(HERE, "users.sessions_ended", name=name, count=ended)
        case "link":
            return _link(visit, name)
    raise NotPossible("that is nothing that can be done with an account", remedy="Press one of the buttons.")


def _link(visit: Visit, name: str) -> Page:
    """A one-time link. It is shown in this answer and never again, so that it is in no address and no cookie."""
    token = login.one_time_login(visit.ledger, visit.actor, name, rules=visit.console.settings.accounts)
    base = str(visit.request.base_url).rstrip("/")
    return _page(visit, name, f"{base}/login/link?token={token}")


def _page(visit: Visit, linked: str = "", link: str = "") -> Page:
    agents = visit.agents()
    return Page(
        "users.html",
        {
            "accounts": service.listing(visit.ledger, visit.actor),
            "roles": list(Role),
            "departments": sorted({view.department for view in agents}),
            "linked": linked,
            "link": link,
        },
        live=False,
    )


def _departments(visit: Visit) -> list[str] | None:
    """None: all of them."""
    if visit.said("all_departments") == "yes":
        return None
    marked = visit.all_said("department")
    return marked + [
        part.strip() for part in visit.said("more_departments").replace("，", ",").split(",") if part.strip()
    ]
