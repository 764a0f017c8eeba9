"""`forebay-agent outbox`: what waits on this appliance for the collector, and the way on a disk where there is no line."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forebay_agent.cli import listing, problems
from forebay_agent.cli.reset import known_stream, usage

if TYPE_CHECKING:
    from forebay_agent.config.model import AgentConfig

SUMMARY: Final = "list the batches that wait to be sent; carry them on a disk"
DESCRIPTION: Final = """\
Lists, per stream, the sealed batches that the collector has not called durable yet.

Where no line leads to the centre: `export DIR` writes what waits into files that only this agent can have made, for
`forebay-collector import DIR`; `acknowledge DIR` takes the answer that the import left there, and only then do batches
leave the outbox. A batch may go both ways, or twice: the collector takes it once. The files also carry which tables the
agent would share, and the request for a new certificate in the last third of the old one's life; the answers carry what
the centre approves, and the certificate."""
EXAMPLES: Final = """\
examples:
  forebay-agent outbox                   per stream: batches, bytes, the oldest one's age
  forebay-agent outbox --resets          the audit of resets: who, when, why
  forebay-agent outbox --json | jq '.[] | select(.batches > 0)'
  forebay-agent outbox --write-format 2  before a downgrade, with the service stopped
  forebay-agent outbox export /media/disk        all that waits and may leave
  forebay-agent outbox acknowledge /media/disk   what the centre has is deleted here
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=["export", "acknowledge"], help="carry it on a disk")
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="where the disk is mounted")
    parser.add_argument(
        "--stream", action="append", default=[], metavar="STREAM", help="export: of this one only (repeatable)"
    )
    parser.add_argument("--resets", action="store_true", help="list the resets instead: who, when, why")
    parser.add_argument(
        "--write-format",
        type=int,
        metavar="N",
        help="write the file in an older format, before an older version is installed",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    from forebay_agent.config.load import load_agent
    from forebay_agent.outbox import OutboxReader
    from forebay_agent.outbox.file import FILE_NAME

    config = load_agent(options.config)
    state = config.state
    if (options.action is None) != (options.folder is None):
        return usage("a folder is missing", f"name it: `forebay-agent outbox {options.action or 'export'} DIR`")
    if not (state / FILE_NAME).exists():
        return problems.never_run(state, sys.stderr)
    if options.write_format is not None:
        return _write_format(state, options.write_format)
    if options.action == "export":
        return _export(options, state)
    if options.action == "acknowledge":
        return _acknowledge(options.folder, config)
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


def _write_format(state: Path, wanted: int) -> int:
    from forebay_agent import owner
    from forebay_agent.outbox.file import FILE_NAME, write_format
    from forebay_agent.state_folder import locked

    owner.become(state)
    with locked(state):
        write_format(state / FILE_NAME, wanted)
    print(
        f"{state / FILE_NAME} has format {wanted} now; install the older forebay-agent before this one is started again"
    )
    return 0


def _export(options: argparse.Namespace, state: Path) -> int:
    from forebay_agent import identity, owner
    from forebay_agent.clock import SystemClock
    from forebay_agent.ferry import export, renewing

    only = []
    for text in options.stream:
        name = known_stream(text, state)
        if isinstance(name, int):
            return name
        only.append(name)
    own, clock = identity.load(state), SystemClock()

    def prepare() -> None:
        renewing.prepare(state, own, datetime.now(UTC))

    # the state folder is its owner's; the disk may be root's alone
    if code := owner.as_owner(state, prepare, problems.told):
        return code
    files, stay = export(state, own, options.folder, clock, only=only)
    for file in files:
        beside = f", {file.proposals} proposals" if file.proposals else ""
        beside += ", asks for a new certificate" if file.renews else ""
        print(f"{file.path}: {file.batches} batches, {file.rows} rows, {listing.size(file.bytes)}{beside}")
    if not files:
        print("nothing waits that may leave, and nothing is proposed yet: it is, a while after the agent was started")
    for name, why in stay.items():
        print(f"{name}: stays: {why}")
    return 0


def _acknowledge(folder: Path, config: AgentConfig) -> int:
    from forebay_agent import identity, owner
    from forebay_agent.cli.problems import report
    from forebay_agent.errors import FerryUnusable
    from forebay_agent.ferry.acknowledge import acknowledge
    from forebay_agent.ferry.seal import answers
    from forebay_agent.outbox import Outbox

    owner.become(config.state)
    found, code = answers(folder), 0
    if not found:
        print(f"{folder}: no answers; `forebay-collector import` leaves them there")
        return 1
    with closing(Outbox.open(config.state, config.outbox, check=False)) as outbox:
        for path in found:
            try:
                # each may put another certificate in force
                taken = acknowledge(path, config.state, identity.load(config.state), outbox)
            except FerryUnusable as error:
                code = problems.told(error)
                continue
            for each in taken.streams:
                print(
                    f"{each.stream}: the collector has up to epoch {each.epoch} seq {each.seq}; {each.deleted} batches left"
                )
                if each.trouble is not None:
                    report(each.trouble, sys.stderr)
                    code = 1
            for words in taken.said:
                print(f"{path.name}: {words}")
            if taken.refused is not None:
                code = problems.told(taken.refused)
    return code


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
