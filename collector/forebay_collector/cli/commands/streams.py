"""List the streams: marks, lag, state, and for a held stream the reason and the remedy.

durable and loaded are `epoch/seq`; behind is how many batches are durable and not loaded yet. lag is the age of the
oldest change that is received and not loaded; of a stream where all is loaded, 0. quiet is the time since its newest
change.

examples:
  forebay-collector streams
  forebay-collector streams --held
  forebay-collector streams --agent scjg-01 --json
"""

from __future__ import annotations

import argparse
from typing import Any

from forebay_collector.cli.listing import moment, print_json, print_table, span
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.service import streams
from forebay_collector.service.streams import StreamView

_COLUMNS = ("stream", "agent", "mode", "state", "durable", "loaded", "behind", "lag", "quiet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", default="", help="only this agent's")
    parser.add_argument("--department", default="", help="only this department's")
    parser.add_argument("--held", action="store_true", help="only those that are held")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    held = True if arguments.held else None
    found = streams.streams(
        office.ledger(), office.actor(), agent=arguments.agent, department=arguments.department, held=held
    )
    rows = [_row(view) for view in found]
    if arguments.json:
        print_json(rows, office.out)
        return FINE
    if not rows:
        office.out.write("no streams\n")
        return FINE
    shown = [{**row, "lag": span(row["lag_seconds"]), "quiet": span(row["quiet_seconds"])} for row in rows]
    print_table(shown, _COLUMNS, office.out, right=frozenset({"behind", "lag", "quiet"}))
    for row in rows:
        if row["reason"]:
            office.out.write(f"\n{row['stream']}: {row['state']} since {row['held_at'] or '-'}\n")
            office.out.write(f"  reason: {row['code']}: {row['reason']}\n  remedy: {row['remedy']}\n")
    return FINE


def _row(view: StreamView) -> dict[str, Any]:
    return {
        "stream": str(view.name),
        "agent": view.agent,
        "mode": view.mode,
        "guarantee": view.guarantee,
        "state": view.state,
        "durable": f"{view.durable[0]}/{view.durable[1]}",
        "loaded": f"{view.loaded[0]}/{view.loaded[1]}",
        "behind": view.behind,
        "rows_behind": view.rows_behind,
        "lag_seconds": view.lag_s,
        "quiet_seconds": view.quiet_s,
        "position": view.position,
        "code": view.code,
        "reason": view.reason,
        "remedy": view.remedy,
        "held_at": moment(view.held_at) if view.held_at else None,
    }
