"""What agents would share, and what may leave them: list, show, approve, reject, withdraw.

A decision is about columns, each with the mask it is proposed with. A column that is added later, or whose mask becomes
weaker, waits while the rest flows; a stream of which nothing is approved sends no row. Without --columns, approve takes
all that nobody decided about, and withdraw the whole stream.

examples:
  forebay-collector approvals
  forebay-collector approvals --state all --department 市监局 --json
  forebay-collector approvals show 市监局/djk/public.enterprise
  forebay-collector approvals approve 市监局/djk/public.enterprise --reason "agreement 2026-17"
  forebay-collector approvals approve 市监局/djk/public.enterprise --columns phone,email
  forebay-collector approvals reject 民政局/dbk/public.low_income --columns note --reason "free text, not masked"
  forebay-collector approvals withdraw 民政局/dbk/public.low_income --reason "agreement has ended"
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from forebay_collector.cli.listing import moment, print_json, print_table
from forebay_collector.cli.names import stream_name
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE, problem_of
from forebay_collector.errors import NotPossible
from forebay_collector.ledger.proposals import State
from forebay_collector.service import approvals
from forebay_collector.service.actor import Actor

_COLUMNS: Final = ("stream", "agent", "state", "columns", "waiting", "mode", "cycle", "first_seen")
_OF_ONE: Final = ("column", "type", "origin", "mask", "key", "state", "by", "at", "why")
_DONE: Final = {"approve": "approved", "reject": "rejected", "withdraw": "withdrawn"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=(*State, approvals.ALL), default=State.WAITING, help="default: waiting")
    parser.add_argument("--department", default="", help="only this department's")
    parser.add_argument("--agent", default="", help="only this agent's")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(deed=None)
    deeds = parser.add_subparsers(title="deeds", metavar="DEED", dest="deed")
    show = deeds.add_parser("show", help="one proposal, column by column")
    show.add_argument("stream", type=stream_name, metavar="STREAM")
    show.add_argument("--json", action="store_true", help="print JSON")
    for deed, summary, many in (
        ("approve", "let columns leave", "+"),
        ("reject", "say no to what waits", None),
        ("withdraw", "take an approval back", None),
    ):
        chosen = deeds.add_parser(deed, help=summary)
        chosen.add_argument("stream", type=stream_name, nargs=many, metavar="STREAM")
        chosen.add_argument("--columns", type=_names, default=(), metavar="A,B", help="only these")
        needed = deed != "approve"
        chosen.add_argument("--reason", required=needed, default="", metavar="WHY", help="kept in the audit")
        chosen.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    actor = Actor.local(office.who())
    if arguments.deed is None:
        return _list(arguments, office, actor)
    if arguments.deed == "show":
        return _show(arguments, office, actor)
    if arguments.deed == "approve":
        return _approve(arguments, office, actor)
    decide = approvals.reject if arguments.deed == "reject" else approvals.withdraw
    columns = decide(office.ledger(), actor, arguments.stream, arguments.columns, arguments.reason)
    _tell(office, arguments, [{"stream": str(arguments.stream), "columns": list(columns), "error": None}])
    return FINE


def _approve(arguments: argparse.Namespace, office: Office, actor: Actor) -> int:
    ledger = office.ledger()
    if len(arguments.stream) == 1:
        (stream,) = arguments.stream
        columns = approvals.approve(ledger, actor, stream, arguments.columns, arguments.reason)
        _tell(office, arguments, [{"stream": str(stream), "columns": list(columns), "error": None}])
        return FINE
    if arguments.columns:
        raise NotPossible("--columns is for one stream", remedy="Approve the streams one by one.")
    outcomes = approvals.approve_many(ledger, actor, arguments.stream, arguments.reason)
    done = [
        {"stream": str(one.stream), "columns": list(one.columns), "error": str(one.error) if one.error else None}
        for one in outcomes
    ]
    _tell(office, arguments, done)
    return max((problem_of(one.error).exit_code for one in outcomes if one.error), default=FINE)


def _tell(office: Office, arguments: argparse.Namespace, done: list[dict[str, Any]]) -> None:
    if arguments.json:
        print_json(done, office.out)
        return
    for one in done:
        what = one["error"] or f"{_DONE[arguments.deed]}: {', '.join(one['columns'])}"
        office.out.write(f"{one['stream']}: {what}\n")


def _list(arguments: argparse.Namespace, office: Office, actor: Actor) -> int:
    views = approvals.proposals(
        office.ledger(), actor, arguments.state, department=arguments.department, agent=arguments.agent
    )
    if arguments.json:
        print_json([plain(view) for view in views], office.out)
    elif not views:
        told = "nothing waits for approval" if arguments.state == State.WAITING else "no proposals"
        office.out.write(f"{told}\n")
    else:
        print_table([_row(view) for view in views], _COLUMNS, office.out, right=frozenset({"columns", "waiting"}))
        for view in views:
            if view.code:
                office.out.write(f"\n{view.stream}: the table is not described: {view.code}: {view.reason}\n")
    return FINE


def _row(view: approvals.ProposalView) -> dict[str, Any]:
    return {
        "stream": str(view.stream),
        "agent": view.agent,
        "state": "not configured any more" if view.gone_at else view.state,
        "columns": len(view.columns),
        "waiting": len(view.waiting),
        "mode": view.mode,
        "cycle": view.update_cycle,
        "first_seen": moment(view.first_seen_at),
    }


def _show(arguments: argparse.Namespace, office: Office, actor: Actor) -> int:
    view = approvals.proposal(office.ledger(), actor, arguments.stream)
    if arguments.json:
        print_json(plain(view), office.out)
        return FINE
    out = office.out
    out.write(f"{view.stream} of agent {view.agent}: {view.state}\n")
    if view.closed_at:
        out.write(f"  by {view.closed_by} at {moment(view.closed_at)}: {view.closed_why}\n")
    if view.gone_at:
        out.write(f"  not configured any more since {moment(view.gone_at)}\n")
    out.write(f"  mode {view.mode or '-'}, {view.guarantee or '-'}; update cycle {view.update_cycle or '-'}\n")
    out.write(f"  first seen {moment(view.first_seen_at)}, changed {moment(view.changed_at)}\n")
    if view.code:
        out.write(f"  the table is not described: {view.code}: {view.reason}\n")
    if view.no_longer:
        out.write(f"  approved, and not proposed any more: {', '.join(view.no_longer)}\n")
    if view.columns:
        out.write("\n")
        print_table([_column(column) for column in view.columns], _OF_ONE, out)
    return FINE


def _column(column: approvals.ColumnView) -> dict[str, Any]:
    before = [mask or "without" for mask in column.approved_masks]
    weaker = column.state is State.WAITING and before
    return {
        "column": column.name,
        "type": column.type,
        "origin": column.origin,
        "mask": f"{column.mask or 'without'} (approved: {', '.join(before)})" if weaker else column.mask,
        "key": "key" if column.in_key else "",
        "state": column.state,
        "by": column.decided_by,
        "at": moment(column.decided_at),
        "why": column.why,
    }


def plain(view: approvals.ProposalView) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "stream": str(view.stream),
        "department": view.department,
        "agent": view.agent,
        "state": view.state,
        "flows": view.flows,
        "waiting": list(view.waiting),
        "columns": [
            {
                "name": column.name,
                "type": column.type,
                "origin": column.origin,
                "mask": column.mask,
                "in_key": column.in_key,
                "state": column.state,
                "decided_by": column.decided_by,
                "decided_at": moment(column.decided_at),
                "why": column.why,
                "approved_masks": list(column.approved_masks),
            }
            for column in view.columns
        ],
        "no_longer": list(view.no_longer),
        "key": list(view.key),
        "mode": view.mode,
        "guarantee": view.guarantee,
        "update_cycle": view.update_cycle,
        "code": view.code,
        "reason": view.reason,
        "first_seen": moment(view.first_seen_at),
        "changed": moment(view.changed_at),
        "gone": moment(view.gone_at),
        "closed_by": view.closed_by,
        "closed_at": moment(view.closed_at),
        "closed_why": view.closed_why,
    }


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("expected names, separated by commas")
    return names
