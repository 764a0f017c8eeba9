"""Maintenance windows: while one is open, nobody is told of what is in its scope. Alerts are recorded all the same.

What is still the matter when a window ends is told then.

examples:
  forebay-collector maintenance
  forebay-collector maintenance open --agent scjg-01 --for 2h --reason "new disk"
  forebay-collector maintenance open --department 市监局 --from 2026-11-28T22:00 --for 8h --reason "the switch is exchanged"
  forebay-collector maintenance open --all --for 30m --reason "the centre moves"
  forebay-collector maintenance close 4 --reason "done early"
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any, Final

from forebay_collector.cli.durations import duration
from forebay_collector.cli.listing import moment, print_json, print_table
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.service import alerts
from forebay_collector.service.alerts import WindowView

_COLUMNS: Final = ("id", "state", "scope", "name", "from", "until", "by", "why")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _listing(parser)
    parser.set_defaults(deed="list")
    deeds = parser.add_subparsers(title="deeds", metavar="DEED", dest="deed")
    _listing(deeds.add_parser("list", help="those that are open or still to come (the default)"))
    opened = deeds.add_parser("open", help="open one")
    what = opened.add_mutually_exclusive_group(required=True)
    what.add_argument("--agent", metavar="AGENT", help="of one agent")
    what.add_argument("--department", metavar="DEPARTMENT", help="of a department")
    what.add_argument("--all", action="store_true", help="of everything")
    opened.add_argument("--from", dest="begins", type=_moment, help="a moment, UTC unless it has a zone (default: now)")
    opened.add_argument("--for", dest="lasts", type=duration, required=True, metavar="TIME", help="how long, as in 2h")
    opened.add_argument("--reason", required=True, metavar="WHY", help="kept in the audit")
    opened.add_argument("--json", action="store_true", help="print JSON")
    closed = deeds.add_parser("close", help="end one now")
    closed.add_argument("window", type=int, metavar="WINDOW")
    closed.add_argument("--reason", required=True, metavar="WHY", help="kept in the audit")
    closed.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    ledger, actor = office.ledger(), office.actor()
    match arguments.deed:
        case "open":
            scope = "agent" if arguments.agent else "department" if arguments.department else "all"
            name = arguments.agent or arguments.department or ""
            view = alerts.open_window(
                ledger, actor, scope, name, lasts=arguments.lasts, why=arguments.reason, from_at=arguments.begins
            )
        case "close":
            view = alerts.close_window(ledger, actor, arguments.window, arguments.reason)
        case _:
            return _list(arguments, office)
    if arguments.json:
        print_json(_row(view), office.out)
    else:
        office.out.write(f"maintenance window {view.id} is {view.state}, until {moment(view.until_at)}\n")
    return FINE


def _list(arguments: argparse.Namespace, office: Office) -> int:
    rows = [_row(view) for view in alerts.windows(office.ledger(), office.actor(), past=arguments.past)]
    if arguments.json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write("no maintenance windows\n")
    else:
        print_table(rows, _COLUMNS, office.out, right=frozenset({"id"}))
    return FINE


def _listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--past", action="store_true", help="also those that are over")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _row(view: WindowView) -> dict[str, Any]:
    return {
        "id": view.id,
        "state": view.state.value,
        "scope": view.scope.value,
        "name": view.name,
        "from": moment(view.from_at),
        "until": moment(view.until_at),
        "why": view.why,
        "by": view.opened_by,
        "closed_by": view.closed_by,
    }


def _moment(text: str) -> int:
    """Microseconds since 1970 UTC. Raises ArgumentTypeError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a moment, as in 2026-11-28T22:00") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)
