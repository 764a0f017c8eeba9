"""List what is the matter now and what was, acknowledge an alert, try a channel by which people are told.

An acknowledged alert stays until it is over; nobody is reminded of it any more. Who is told, and when something is the
matter, stands in `[alerts]` of collector.toml.

examples:
  forebay-collector alerts
  forebay-collector alerts --department 市监局 --json
  forebay-collector alerts history --kind agent_silent --limit 20
  forebay-collector alerts acknowledge 17 --reason "the street is dug up, back at noon"
  forebay-collector alerts test dingtalk
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from forebay_collector.alerts.kinds import KINDS
from forebay_collector.alerts.settings import CHANNELS
from forebay_collector.cli.listing import moment, print_json, print_table
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.service import alerts, notifications
from forebay_collector.service.alerts import AlertView

_OPEN: Final = ("id", "severity", "kind", "subject", "reason", "since", "acknowledged_by")
_HISTORY: Final = ("id", "severity", "kind", "subject", "reason", "since", "until", "acknowledged_by")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _chosen(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(deed="list")
    deeds = parser.add_subparsers(title="deeds", metavar="DEED", dest="deed")
    listing = deeds.add_parser("list", help="what is the matter now (the default)")
    _chosen(listing)
    listing.add_argument("--json", action="store_true", help="print JSON")
    history = deeds.add_parser("history", help="every alert, newest first")
    _chosen(history)
    history.add_argument("--subject", default="", help="an agent, a source or a stream")
    history.add_argument("--limit", type=int, default=100, help="at most so many (default 100)")
    history.add_argument("--json", action="store_true", help="print JSON")
    acknowledge = deeds.add_parser("acknowledge", help="say that you know of it: nobody is reminded any more")
    acknowledge.add_argument("alert", type=int, metavar="ALERT")
    acknowledge.add_argument("--reason", required=True, metavar="WHY", help="kept in the audit")
    acknowledge.add_argument("--json", action="store_true", help="print JSON")
    test = deeds.add_parser("test", help="send a test message through a channel, now")
    test.add_argument("channel", choices=CHANNELS, metavar="CHANNEL", help=", ".join(CHANNELS))
    channels = deeds.add_parser("channels", help="the channels that are on, and how each went last")
    channels.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    columns: tuple[str, ...]
    match arguments.deed:
        case "acknowledge":
            return _acknowledge(arguments, office)
        case "test":
            return _test(arguments, office)
        case "channels":
            return _channels(arguments, office)
        case "history":
            found = alerts.history(
                office.ledger(),
                office.actor(),
                department=arguments.department,
                kind=arguments.kind,
                subject=arguments.subject,
                limit=arguments.limit,
            )
            columns, none = _HISTORY, "no alerts"
        case _:
            found = alerts.open_alerts(
                office.ledger(), office.actor(), department=arguments.department, kind=arguments.kind
            )
            columns, none = _OPEN, "nothing is the matter"
    rows = [_row(view) for view in found]
    if arguments.json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write(f"{none}\n")
    else:
        print_table(rows, columns, office.out, right=frozenset({"id"}))
    return FINE


def _acknowledge(arguments: argparse.Namespace, office: Office) -> int:
    view = alerts.acknowledge(office.ledger(), office.actor(), arguments.alert, arguments.reason)
    if arguments.json:
        print_json(_row(view), office.out)
    else:
        office.out.write(f"alert {view.id}, {view.kind} of {view.subject}, is acknowledged\n")
    return FINE


def _test(arguments: argparse.Namespace, office: Office) -> int:
    settings = office.settings()
    office.progress.say(f"sending a test message through {arguments.channel}")
    outcome = notifications.test(office.ledger(), office.actor(), arguments.channel, settings.alerts, settings.folder)
    office.progress.done()
    office.out.write(f"{arguments.channel}: sent: {outcome}\n")
    return FINE


def _channels(arguments: argparse.Namespace, office: Office) -> int:
    rows = [
        {
            "channel": view.name,
            "state": view.state,
            "last": moment(view.last_at),
            "last_sent": moment(view.last_sent_at),
            "waiting": view.waiting,
            "outcome": view.outcome,
            "least": view.least,
            "departments": ", ".join(view.departments) or "all",
        }
        for view in notifications.channels(office.ledger(), office.actor(), office.settings().alerts)
    ]
    if arguments.json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write("no channel is on: see `[alerts]` in collector.toml\n")
    else:
        print_table(rows, list(rows[0]), office.out, right=frozenset({"waiting"}))
    return FINE


def _chosen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--department", default="", help="only this department's")
    parser.add_argument("--kind", default="", choices=("", *KINDS), metavar="KIND", help="agent_silent, canary_late, …")


def _row(view: AlertView) -> dict[str, Any]:
    return {
        "id": view.id,
        "kind": view.kind,
        "code": view.code,
        "severity": view.severity.value,
        "subject": view.subject,
        "department": view.department,
        "agent": view.agent,
        "reason": view.reason,
        "remedy": view.remedy,
        "since": moment(view.opened_at),
        "last_seen": moment(view.last_seen_at),
        "until": moment(view.closed_at),
        "acknowledged": moment(view.acknowledged_at),
        "acknowledged_by": view.acknowledged_by,
        "acknowledged_why": view.acknowledged_why,
        "notified": moment(view.notified_at),
        "silenced": view.silenced,
    }
