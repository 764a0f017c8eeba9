"""`forebay-agent outbox`: what waits on this appliance for the collector."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from typing import Any, Final

from forebay_agent.cli import listing, problems

SUMMARY: Final = "list the batches that wait to be sent"
DESCRIPTION: Final = "Lists, per stream, the sealed batches that the collector has not called durable yet."
EXAMPLES: Final = """\
examples:
  forebay-agent outbox                   per stream: batches, bytes, the oldest one's age
  forebay-agent outbox --resets          the audit of resets: who, when, why
  forebay-agent outbox --json | jq '.[] | select(.batches > 0)'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--resets", action="store_true", help="list the resets instead: who, when, why")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    from forebay_agent.config.load import load_agent
    from forebay_agent.outbox import OutboxReader
    from forebay_agent.outbox.file import FILE_NAME

    state = load_agent(options.config).state
    if not (state / FILE_NAME).exists():
        return problems.never_run(state, sys.stderr)
    with closing(OutboxReader(state)) as reader:
        rows = _resets(reader) if options.resets else _waiting(reader)
    if options.json:
        listing.print_json(rows, sys.stdout)
        return 0
    if not rows:
        print("no resets" if options.resets else "no streams yet")
        return 0
    if options.resets:
        print("\n".join(listing.table(rows, ["at", "stream", "who", "why", "new_epoch", "abandoned_batches"])))
        return 0
    now_us = time.time_ns() // 1000
    for row in rows:
        row["size"] = listing.size(row["bytes"])
        row["oldest"] = listing.span((now_us - row["oldest_at_us"]) / 1e6) if row["oldest_at_us"] else ""
    print("\n".join(listing.table(rows, ["stream", "epoch", "batches", "rows", "size", "oldest", "held"])))
    return 0


def _waiting(reader: Any) -> list[dict[str, Any]]:
    from forebay_wire.v1 import batch_pb2

    rows = []
    for stream in reader.streams():
        waiting = reader.waiting(stream.id)
        headers = [batch_pb2.BatchHeader.FromString(batch.header) for batch in waiting]
        rows.append(
            {
                "stream": str(stream.name),
                "epoch": stream.epoch,
                "next_seq": stream.next_seq,
                "batches": len(waiting),
                "rows": sum(header.rows for header in headers),
                "bytes": sum(batch.size for batch in waiting),
                "oldest_at_us": headers[0].captured_at_us if headers else 0,
                "held": stream.hold.reason if stream.hold else "",
            }
        )
    return rows


def _resets(reader: Any) -> list[dict[str, Any]]:
    return [
        {
            "at": listing.moment(reset.at_us),
            "stream": str(reset.name),
            "who": reset.who,
            "why": reset.why,
            "old_epoch": reset.old_epoch,
            "new_epoch": reset.new_epoch,
            "abandoned_batches": reset.abandoned_batches,
            "abandoned_bytes": reset.abandoned_bytes,
        }
        for reset in reader.resets()
    ]
