"""Read anew what differs between source and platform, and send it again. Exit 0: equal now, 1: keys are left, 4: no agent.

Compares first, as `verify` does. Rows that the source has are sent as they are, keys that it does not have as deletes; both
go through the same sealed batches as every change. Then what was repaired is compared again.

examples:
  forebay-collector repair 市监局/enterprise/main.enterprise --dry-run
  forebay-collector repair 市监局/enterprise/main.enterprise --why "restored from a backup"
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from forebay_collector.cli.durations import duration
from forebay_collector.cli.listing import print_json
from forebay_collector.cli.names import stream_name
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE, NOT_SO
from forebay_collector.ledger.repairs import RepairRecord, RepairState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", type=stream_name, metavar="STREAM", help="department/source/schema.table")
    parser.add_argument("--dry-run", action="store_true", help="say what would be repaired, and change nothing")
    parser.add_argument("--why", default="", help="kept in the audit")
    parser.add_argument("--timeout", type=duration, default="1h", help="for one answer of the agent (default 1h)")
    parser.add_argument("--wait", type=duration, default="10m", help="for the platform to catch up (default 10m)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    from forebay_collector.service import repair
    from forebay_collector.verify.verify import Patience

    done = repair.run(
        office.ledger(),
        office.platform(),
        office.actor(),
        arguments.stream,
        why=arguments.why,
        dry_run=arguments.dry_run,
        patience=Patience(arguments.timeout, arguments.wait),
        say=lambda text: office.progress.say(f"{arguments.stream}: {text}"),
    )
    office.progress.done()
    if arguments.json:
        print_json({**asdict(done), "stream": str(done.stream)}, office.out)
    else:
        office.out.write(_text(done))
    differs = done.missing + done.extra + done.different
    return NOT_SO if done.left_over or (done.state is RepairState.PLANNED and differs) else FINE


def _text(done: RepairRecord) -> str:
    counts = f"missing={done.missing} extra={done.extra} different={done.different}"
    lines = [f"{done.stream}: repair {done.id}: {done.state}", f"  {counts}"]
    for kind, keys in done.keys.items():
        for key in keys:
            shown = key if isinstance(key, str) else ", ".join(f"{name}={value}" for name, value in key.items())
            lines.append(f"  {kind:9} {shown}")
    if done.state is RepairState.PLANNED:
        lines.append("  nothing was changed (--dry-run)")
    else:
        lines.append(f"  sent={done.sent} deleted={done.deleted} left={done.left_over}")
    return "\n".join(lines) + "\n"
