"""Ask an agent to do something, wait for it, and print what it did; or list what was asked. Everything is in the audit.

What changes something needs --reason. A pause holds over restarts until it is resumed; what is in the outbox is still sent.
A snapshot reads a table, or the range --from … --to of its keys (JSON lists), anew while its changes go on. resend sends
again, from a seq on, what the outbox still holds. drain captures and sends what is committed now.

examples:
  forebay-collector command pause scjg-01 --reason "maintenance of the appliance"
  forebay-collector command pause scjg-01 --source enterprise --reason "the database is restored"
  forebay-collector command resume scjg-01 --stream 市监局/enterprise/main.permit --reason "restored"
  forebay-collector command snapshot 市监局/enterprise/main.permit --from '[1000]' --to '[1999]' --reason "repaired by hand"
  forebay-collector command resend 市监局/enterprise/main.permit --epoch 1 --seq 41 --reason "archive file was lost"
  forebay-collector command drain scjg-01
  forebay-collector command diagnostics scjg-01 --out scjg-01.tar.zst
  forebay-collector command list --agent scjg-01
"""

from __future__ import annotations

import argparse
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from forebay_collector.cli.durations import duration
from forebay_collector.cli.listing import moment, print_json, print_table, size
from forebay_collector.cli.names import stream_name
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE, NOT_SO
from forebay_collector.service import commands
from forebay_collector.service.commands import CommandView, Scope

_COLUMNS: Final = ("asked", "agent", "kind", "state", "by", "why", "outcome")
_OF_AGENTS: Final = {
    "pause": "capture nothing in scope until it is resumed",
    "resume": "go on with what was paused",
    "reload": "read the configuration files now",
    "rotate": "renew the certificate now, with a new key",
    "drain": "capture what is committed now, and send everything",
    "diagnostics": "collect one redacted archive",
    "report": "tell all streams and proposals again",
}
_OF_STREAMS: Final = {
    "snapshot": "read a table, or a range of its keys, anew",
    "resend": "send again from a seq on",
}
_CHANGE_NOTHING: Final = ("drain", "diagnostics", "report")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", dest="kind", required=True)
    of_kind = {}
    for kind, summary in (_OF_AGENTS | _OF_STREAMS).items():
        of_kind[kind] = chosen = kinds.add_parser(kind, help=summary, description=summary)
        if kind in _OF_AGENTS:
            chosen.add_argument("agent", metavar="AGENT")
        else:
            chosen.add_argument("stream", type=stream_name, metavar="STREAM", help="department/source/schema.table")
            chosen.add_argument("--agent", default="", help="whose it is, where nothing was received of it yet")
        needed = kind not in _CHANGE_NOTHING
        chosen.add_argument("--reason", required=needed, default="", metavar="WHY", help="kept in the audit")
        chosen.add_argument("--timeout", type=duration, default="5m", help="how long to wait for it (default 5m)")
        chosen.add_argument("--json", action="store_true", help="print JSON")
    for kind in ("pause", "resume"):
        scope = of_kind[kind].add_mutually_exclusive_group()
        scope.add_argument("--source", default="", help="only this source")
        scope.add_argument("--stream", type=stream_name, help="only this stream")
    of_kind["drain"].add_argument("--stream", type=stream_name, help="only this stream")
    of_kind["snapshot"].add_argument("--from", dest="from_key", type=_key, default=(), metavar="KEY", help="JSON list")
    of_kind["snapshot"].add_argument("--to", dest="to_key", type=_key, default=(), metavar="KEY", help="JSON list")
    of_kind["resend"].add_argument("--epoch", type=int, required=True)
    of_kind["resend"].add_argument("--seq", type=int, required=True, help="the first that is sent again")
    of_kind["diagnostics"].add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write it")
    listing = kinds.add_parser("list", help="what was asked, newest first")
    listing.add_argument("--agent", default="", help="only this agent's")
    listing.add_argument("--limit", type=int, default=50, help="at most so many (default 50)")
    listing.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    if arguments.kind == "list":
        return _list(arguments, office)
    ledger, actor = office.ledger(), office.actor()
    if arguments.kind == "diagnostics":
        arguments.out.open("xb").close()  # refuses a file that is there before anything is asked
    number = _ask(arguments, office)
    try:
        view = commands.wait(
            ledger, actor, number, arguments.timeout, lambda text: office.progress.say(f"{arguments.kind}: {text}")
        )
    except BaseException:
        if arguments.kind == "diagnostics":
            arguments.out.unlink()
        raise
    finally:
        office.progress.done()
    if arguments.kind == "diagnostics":
        _save(arguments.out, office, number)
    if arguments.json:
        print_json(_row(view), office.out)
    else:
        office.out.write(f"{view.agent}: {view.kind}: {view.effect or 'done'}\n")
    return FINE if view.state == commands.DONE else NOT_SO


def _ask(arguments: argparse.Namespace, office: Office) -> str:
    ledger, actor, why = office.ledger(), office.actor(), arguments.reason
    match arguments.kind:
        case "pause" | "resume":
            do = commands.pause if arguments.kind == "pause" else commands.resume
            return do(ledger, actor, arguments.agent, Scope(arguments.source, arguments.stream), why)
        case "snapshot":
            keys = (arguments.from_key, arguments.to_key)
            return commands.snapshot(ledger, actor, arguments.stream, why, *keys, agent=arguments.agent)
        case "resend":
            place = (arguments.epoch, arguments.seq)
            return commands.resend(ledger, actor, arguments.stream, *place, why, agent=arguments.agent)
        case "drain":
            seconds = max(1, int(arguments.timeout / timedelta(seconds=1)))
            return commands.drain(ledger, actor, arguments.agent, why, arguments.stream, seconds)
        case "reload":
            return commands.reload(ledger, actor, arguments.agent, why)
        case "rotate":
            return commands.rotate(ledger, actor, arguments.agent, why)
        case "diagnostics":
            return commands.diagnostics(ledger, actor, arguments.agent, why)
        case _:
            return commands.report(ledger, actor, arguments.agent, why)


def _save(path: Path, office: Office, number: str) -> None:
    count = 0
    with path.open("wb") as out:
        for piece in commands.data(office.ledger(), office.actor(), number):
            out.write(piece)
            count += len(piece)
    office.out.write(f"{path}: {size(count)}\n")


def _list(arguments: argparse.Namespace, office: Office) -> int:
    found = commands.listing(office.ledger(), office.actor(), arguments.agent, arguments.limit)
    rows = [_row(view) for view in found]
    if arguments.json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write("no commands\n")
    else:
        print_table(rows, _COLUMNS, office.out)
    return FINE


def _row(view: CommandView) -> dict[str, Any]:
    return {
        "id": view.id,
        "asked": moment(view.asked_at),
        "agent": view.agent,
        "department": view.department,
        "kind": view.kind,
        "parameters": view.parameters,
        "state": view.state,
        "by": view.asked_by,
        "why": view.why,
        "sent": moment(view.sent_at),
        "ended": moment(view.ended_at),
        "effect": view.effect,
        "code": view.code,
        "reason": view.reason,
        "outcome": view.effect or (f"{view.code}: {view.reason}" if view.code else view.reason),
        "epoch": view.epoch,
        "seq": view.seq,
        "rows": view.rows,
    }


def _key(text: str) -> tuple[Any, ...]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, list) or not values:
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON list with a value for each key column, as in [1000]")
    return tuple(values)
