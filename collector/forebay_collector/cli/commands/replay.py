"""Load a quarantined batch again, or give it up. The stream that it holds goes on in either case.

Who does it and why is kept in the audit. A discarded batch stays in the archive and in the ledger; its changes are not
in the platform, and the history table has no rows with its seq.

examples:
  forebay-collector replay 市监局/enterprise/main.enterprise --reason "disk was full, has room again"
  forebay-collector replay 市监局/enterprise/main.enterprise --seq 41 --discard --reason "test rows, agreed with 市监局"
"""

from __future__ import annotations

import argparse
import time
from datetime import timedelta
from typing import Final

from forebay_collector.cli.durations import duration
from forebay_collector.cli.names import stream_name
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE, NOT_SO
from forebay_collector.ledger import BatchRecord, BatchState, Ledger
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.service import quarantine

_LOOK_S: Final = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", type=stream_name, metavar="STREAM", help="department/source/schema.table")
    parser.add_argument("--seq", type=int, metavar="N", help="refuse unless it is this batch that is held")
    parser.add_argument("--discard", action="store_true", help="give the batch up instead of loading it")
    parser.add_argument("--reason", required=True, metavar="WHY", help="kept in the audit")
    parser.add_argument(
        "--wait", type=duration, default="30s", help="how long to wait for the outcome of the load (default 30s)"
    )


def run(arguments: argparse.Namespace, office: Office) -> int:
    ledger = office.ledger()
    batch = _decided(ledger, arguments, office)
    name = f"{batch.stream} {batch.epoch}/{batch.seq}"
    if arguments.discard:
        office.out.write(f"{name}: discarded; the stream goes on behind it\n")
        return FINE
    office.progress.say(f"{name}: released; waiting for the loader")
    batch = _outcome(ledger, batch, arguments.wait)
    office.progress.done()
    if batch.state is BatchState.LOADED:
        office.out.write(f"{name}: loaded\n")
        return FINE
    if batch.state is BatchState.QUARANTINED:
        office.out.write(f"{name}: quarantined again: {batch.code}: {batch.reason}\n{remedy_of_hold(batch.code)}\n")
        return NOT_SO
    tried = f"; attempt {batch.attempts} failed: {batch.code}: {batch.reason}" if batch.attempts else ""
    office.out.write(f"{name}: released, not loaded yet{tried}; `forebay-collector serve` loads it when it runs\n")
    return FINE


def _decided(ledger: Ledger, arguments: argparse.Namespace, office: Office) -> BatchRecord:
    """The batch, released or given up. Raises NotKnown, NotPossible."""
    record = ledger.streams.get(arguments.stream)
    only = {}
    if arguments.seq is not None and record is not None and record.hold is not None:
        only = {arguments.stream: (record.hold.epoch, arguments.seq)}
    decide = quarantine.discard if arguments.discard else quarantine.replay
    (outcome,) = decide(ledger, office.actor(), [arguments.stream], arguments.reason, only=only)
    if outcome.batch is None:
        assert outcome.error is not None
        raise outcome.error
    return outcome.batch


def _outcome(ledger: Ledger, batch: BatchRecord, wait: timedelta) -> BatchRecord:
    """The batch as it is once it is loaded or held again, or when the time is over."""
    deadline = time.monotonic() + wait.total_seconds()
    while True:
        now = ledger.batches.get(batch.stream, batch.epoch, batch.seq) or batch
        if now.state is not BatchState.DURABLE or time.monotonic() >= deadline:
            return now
        time.sleep(_LOOK_S)
