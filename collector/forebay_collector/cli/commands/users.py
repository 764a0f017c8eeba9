"""List the accounts, or change one. Roles: viewer, operator, approver, auditor, administrator.

Whoever may read the collector's folder may do all of this; it is kept in the audit. A password is asked for at the
terminal, or is the first line of the standard input; it is never an argument.

examples:
  forebay-collector users
  forebay-collector users add zhang --role operator --role approver --department 市监局 --link
  forebay-collector users roles zhang --role viewer --reason "moved to another team"
  forebay-collector users password zhang < new-password
  forebay-collector users link zhang
  forebay-collector users disable zhang --reason "has left"
  forebay-collector users token zhang --label "nightly report" --role viewer --expires 90d
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from typing import Any, Final

from forebay_collector.cli.durations import duration
from forebay_collector.cli.listing import moment, print_json, print_table
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.errors import PasswordRefused
from forebay_collector.identity.authority import host_of
from forebay_collector.service import sessions, tokens, users
from forebay_collector.service.actor import Role

_COLUMNS: Final = ("name", "state", "kind", "roles", "departments", "last_login", "created")
_TOKEN_COLUMNS: Final = ("id", "account", "label", "state", "roles", "departments", "expires", "last_used")
_ROLES: Final = tuple(str(role) for role in Role)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(deed=None)
    deeds = parser.add_subparsers(title="deeds", metavar="DEED", dest="deed")

    def deed(name: str, summary: str, *, account: bool = True) -> argparse.ArgumentParser:
        added = deeds.add_parser(name, help=summary, description=summary)
        if account:
            added.add_argument("name", metavar="NAME")
        return added

    deed("list", "list the accounts", account=False).add_argument("--json", action="store_true", help="print JSON")
    add = deed("add", "make a local account")
    _rights(add)
    way = add.add_mutually_exclusive_group()
    way.add_argument("--link", action="store_true", help="print a one-time link for the first log-in")
    way.add_argument("--password", action="store_true", help="ask for a first password, which must then be changed")
    roles = deed("roles", "say what an account may, in place of what it might before")
    _rights(roles)
    _reason(roles)
    deed("password", "set a new password, which must be changed at the next log-in; ends all sessions and tokens")
    _reason(deed("disable", "let an account in no more; ends all sessions and tokens"))
    _reason(deed("enable", "let a disabled account in again"))
    _reason(deed("log-out", "end an account's sessions"))
    link = deed("link", "print a link that logs in once as this account")
    link.add_argument("--expires", type=duration, metavar="DURATION", help="how long it can be used (default 10m)")
    token = deed("token", "make an API token for an account, and print it")
    token.add_argument("--label", required=True, help="what it is for")
    token.add_argument("--role", action="append", required=True, choices=_ROLES, help="one that the account has")
    token.add_argument("--department", action="append", help="only this one; may be given more than once")
    token.add_argument("--expires", type=duration, default=tokens.DEFAULT_LIFE, metavar="DURATION", help="default 90d")
    listed = deed("tokens", "list the API tokens", account=False)
    listed.add_argument("name", metavar="NAME", nargs="?", default="")
    listed.add_argument("--json", action="store_true", help="print JSON")
    revoke = deed("revoke", "end an API token", account=False)
    revoke.add_argument("id", metavar="ID", type=int)
    _reason(revoke)


def run(arguments: argparse.Namespace, office: Office) -> int:
    _DEEDS[arguments.deed or "list"](arguments, office)
    return FINE


def _rights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", action="append", required=True, choices=_ROLES, help="may be given more than once")
    scope = parser.add_mutually_exclusive_group(required=True)
    scope.add_argument("--department", action="append", help="sees this one; may be given more than once")
    scope.add_argument("--all-departments", action="store_true", help="sees all of them")


def _reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", required=True, metavar="WHY", help="kept in the audit")


def _list(arguments: argparse.Namespace, office: Office) -> None:
    rows = [_row(account) for account in users.listing(office.ledger(), office.actor())]
    if arguments.json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write("no accounts; make one: forebay-collector users add --help\n")
    else:
        print_table([_shown(row) for row in rows], _COLUMNS, office.out)


def _row(account: users.Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "state": account.state,
        "kind": account.kind,
        "roles": sorted(account.roles),
        "departments": None if account.departments is None else sorted(account.departments),
        "must_change_password": account.must_change_password,
        "has_password": account.has_password,
        "last_login": moment(account.last_login_at),
        "created": moment(account.created_at),
        "created_by": account.created_by,
        "disabled": moment(account.disabled_at),
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    departments = row["departments"]
    return {
        **row,
        "roles": ", ".join(row["roles"]),
        "departments": "all" if departments is None else ", ".join(departments),
    }


def _add(arguments: argparse.Namespace, office: Office) -> None:
    rules = office.settings().accounts
    password = _new_password() if arguments.password else ""
    account = users.create(
        office.ledger(),
        office.actor(),
        arguments.name,
        arguments.role,
        arguments.department,
        password=password,
        rules=rules,
    )
    if not arguments.link:
        office.out.write(f"account {account.name} is made\n")
    if not arguments.link and not password:
        office.out.write(f"it has no password yet: forebay-collector users link {account.name}\n")
    if arguments.link:
        _print_link(office, users.one_time_login(office.ledger(), office.actor(), account.name, rules=rules))


def _roles(arguments: argparse.Namespace, office: Office) -> None:
    account = users.set_roles(
        office.ledger(),
        office.actor(),
        arguments.name,
        arguments.role,
        arguments.department,
        why=arguments.reason,
        rules=office.settings().accounts,
    )
    row = _shown(_row(account))
    office.out.write(f"account {account.name}: {row['roles']}; departments: {row['departments']}\n")


def _password(arguments: argparse.Namespace, office: Office) -> None:
    users.set_password(office.ledger(), office.actor(), arguments.name, _new_password())
    office.out.write(f"account {arguments.name} has a new password, which it must change when it logs in\n")


def _disable(arguments: argparse.Namespace, office: Office) -> None:
    users.disable(office.ledger(), office.actor(), arguments.name, arguments.reason)
    office.out.write(f"account {arguments.name} is disabled\n")


def _enable(arguments: argparse.Namespace, office: Office) -> None:
    users.enable(office.ledger(), office.actor(), arguments.name, arguments.reason)
    office.out.write(f"account {arguments.name} is enabled\n")


def _log_out(arguments: argparse.Namespace, office: Office) -> None:
    ended = sessions.close_sessions(office.ledger(), office.actor(), arguments.name, arguments.reason)
    office.out.write(f"account {arguments.name}: {ended} sessions ended\n")


def _link(arguments: argparse.Namespace, office: Office) -> None:
    rules = office.settings().accounts
    token = users.one_time_login(office.ledger(), office.actor(), arguments.name, life=arguments.expires, rules=rules)
    _print_link(office, token)


def _print_link(office: Office, token: str) -> None:
    """The address at which the token logs in: where browsers reach the console, as far as the settings say."""
    console = office.settings().console
    host, _, port = console.listen.rpartition(":")
    if host in ("0.0.0.0", "[::]"):  # noqa: S104  said of the address, not opened here
        host = host_of(office.settings().addresses[0])
        host = f"[{host}]" if ":" in host else host
    listens = f"{'https' if console.certificate else 'http'}://{host}:{port}"
    office.out.write(f"{(console.oidc.address or listens).rstrip('/')}/login/link?token={token}\n")


def _token(arguments: argparse.Namespace, office: Office) -> None:
    made = tokens.make_token(
        office.ledger(),
        office.actor(),
        arguments.label,
        roles=arguments.role,
        departments=arguments.department,
        life=arguments.expires,
        account=arguments.name,
    )
    office.out.write(made.text + "\n")


def _tokens(arguments: argparse.Namespace, office: Office) -> None:
    ledger = office.ledger()
    now = ledger.database.clock()
    rows = [
        {
            "id": token.id,
            "account": token.account,
            "label": token.label,
            "state": "revoked" if token.revoked_at else "expired" if token.expires_at <= now else "active",
            "roles": sorted(token.roles),
            "departments": None if token.departments is None else sorted(token.departments),
            "expires": moment(token.expires_at),
            "last_used": moment(token.last_used_at),
            "created_by": token.created_by,
        }
        for token in tokens.listing(ledger, office.actor(), arguments.name)
    ]
    if arguments.json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write("no API tokens\n")
    else:
        print_table([_shown(row) for row in rows], _TOKEN_COLUMNS, office.out)


def _revoke(arguments: argparse.Namespace, office: Office) -> None:
    tokens.revoke_token(office.ledger(), office.actor(), arguments.id, arguments.reason)
    office.out.write(f"API token {arguments.id} is revoked\n")


def _new_password() -> str:
    """From the terminal, twice; else the first line of the standard input. Raises PasswordRefused."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("new password: ")
    if getpass.getpass("again: ") != password:
        raise PasswordRefused("the two are not the same", remedy="Type the same password twice.")
    return password


_DEEDS: Final[dict[str, Callable[[argparse.Namespace, Office], None]]] = {
    "list": _list,
    "add": _add,
    "roles": _roles,
    "password": _password,
    "disable": _disable,
    "enable": _enable,
    "log-out": _log_out,
    "link": _link,
    "token": _token,
    "tokens": _tokens,
    "revoke": _revoke,
}
