"""List batches, newest first: what came in, when, and what became of it.

state is durable (waits for the loader), loaded, quarantined (holds its stream) or discarded.

examples:
  forebay-collector batches --limit 20
  forebay-collector batches --stream 市监局/enterprise/main.enterprise --state quarantined
  forebay-collector batches --agent scjg-01 --since 2h --json
"""

from __future__ import annotations

import argparse
from typing import Any

from forebay_collector.cli.durations import since
from forebay_collector.cli.listing import moment, print_json, print_table, size
from forebay_collector.cli.names import stream_name
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.ledger import BatchRecord, BatchState
from forebay_collector.service import batches

_COLUMNS = ("stream", "epoch", "seq", "rows", "ops", "size", "received", "loaded", "state", "attempts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stream", type=stream_name, help="department/source/schema.table")
    parser.add_argument("--agent", default="", help="only this agent's")
    parser.add_argument("--department", default="", help="only this department's")
    parser.add_argument("--state", type=BatchState, choices=list(BatchState), help="only those in this state")
    parser.add_argument("--since", type=since, default=0, help="received since: a moment or a duration (2h)")
    parser.add_argument("--limit", type=_count, default=100, help="at most so many (default 100)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    records = batches.batches(
        office.ledger(),
        office.actor(),
        stream=arguments.stream,
        agent=arguments.agent,
        department=arguments.department,
        state=arguments.state,
        since=arguments.since,
        limit=arguments.limit,
    )
    rows = [_row(record) for record in records]
    if arguments.json:
        print_json(rows, office.out)
        return FINE
    if not rows:
        office.out.write("no batches\n")
        return FINE
    shown = [
        {**row, "size": size(row["bytes"]), "received": row["received_at"], "loaded": row["loaded_at"]} for row in rows
    ]
    print_table(shown, _COLUMNS, office.out, right=frozenset({"epoch", "seq", "rows", "size", "attempts"}))
    for row in rows:
        if row["reason"]:
            office.out.write(f"\n{row['stream']} {row['epoch']}/{row['seq']}: {row['code']}: {row['reason']}\n")
    return FINE


def _row(record: BatchRecord) -> dict[str, Any]:
    counts = (("r", record.reads), ("c", record.inserts), ("u", record.updates), ("d", record.deletes))
    return {
        "stream": str(record.stream),
        "agent": record.agent,
        "epoch": record.epoch,
        "seq": record.seq,
        "rows": record.rows,
        "ops": " ".join(f"{op}{count}" for op, count in counts if count),
        "bytes": record.bytes,
        "snapshot": record.snapshot,
        "first_position": record.first_position,
        "last_position": record.last_position,
        "first_committed_at": moment(record.first_committed_at),
        "last_committed_at": moment(record.last_committed_at),
        "captured_at": moment(record.captured_at),
        "received_at": moment(record.received_at),
        "loaded_at": moment(record.loaded_at),
        "expired_at": moment(record.expired_at),
        "state": record.state.value,
        "attempts": record.attempts,
        "code": record.code,
        "reason": record.reason,
    }


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1,000,000")
    return int(text)
