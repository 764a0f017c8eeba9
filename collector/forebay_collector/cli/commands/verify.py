"""Compare source and platform: counts, table digests, and the keys that differ. Exit 0: equal, 1: not, 4: no agent.

The agent sends what is committed now; when that is loaded, both sides compute digests over their rows as they are
carried (masked columns masked). Keys are listed only where the digests differ, and only when they go on differing: rows
that change meanwhile are not reported.

examples:
  forebay-collector verify 市监局/enterprise/main.enterprise
  forebay-collector verify --all
  forebay-collector verify --all --json
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import Any

from forebay_collector.cli.durations import duration
from forebay_collector.cli.listing import moment, print_json
from forebay_collector.cli.names import stream_name
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE, NOT_SO, UNREACHABLE, problem_of
from forebay_collector.errors import CollectorError
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.platform.contract import PlatformError
from forebay_collector.service.streams import streams as of_streams
from forebay_wire.canary import is_canary_stream
from forebay_wire.stream import StreamName


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("stream", nargs="?", type=stream_name, metavar="STREAM", help="department/source/schema.table")
    which.add_argument("--all", action="store_true", help="every stream")
    which.add_argument("--coverage", action="store_true", help="how far the verification in the background is")
    parser.add_argument(
        "--keys", type=int, default=1_000, help="name so many keys per stream, and count all (default 1000)"
    )
    parser.add_argument("--timeout", type=duration, default="1h", help="for one answer of the agent (default 1h)")
    parser.add_argument("--wait", type=duration, default="10m", help="for the platform to catch up (default 10m)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    if arguments.coverage:
        return _coverage(arguments, office)
    if not arguments.all:
        code, entry = _verify(arguments.stream, arguments, office)
        if arguments.json:
            print_json(entry, office.out)
        return code
    known = [view.name for view in of_streams(office.ledger(), office.actor())]
    streams = [name for name in known if not is_canary_stream(name)]  # of those there is no table at a source
    results = [_attempt(stream, arguments, office) for stream in streams]
    if arguments.json:
        print_json([entry for _, entry in results], office.out)
    elif not streams:
        office.out.write("no streams\n")
    codes = {code for code, _ in results}
    return NOT_SO if NOT_SO in codes else UNREACHABLE if UNREACHABLE in codes else max(codes, default=FINE)


def _coverage(arguments: argparse.Namespace, office: Office) -> int:
    from forebay_collector.service.verification import coverage

    covered = [row for row in coverage(office.ledger(), office.actor()) if not is_canary_stream(row.stream)]
    if arguments.json:
        print_json([{**asdict(row), "stream": str(row.stream)} for row in covered], office.out)
        return FINE
    for row in covered:
        whole = moment(row.covered_at) if row.covered_at else "never"
        now = f"round {row.round}: {row.source_rows:,} rows" if row.began_at else "waits"
        trouble = f" {row.code}: {row.reason}" if row.code else ""
        office.out.write(f"{row.stream}: covered {whole}; {now}, {row.differing} differ{trouble}\n")
    return FINE


def _verify(stream: StreamName, arguments: argparse.Namespace, office: Office) -> tuple[int, dict[str, Any]]:
    from forebay_collector.service import verification
    from forebay_collector.verify.report import to_text
    from forebay_collector.verify.verify import Patience, Verified

    began = time.monotonic()
    found: list[Verified] = []
    run = verification.run(
        office.ledger(),
        office.platform(),
        office.actor(),
        stream,
        patience=Patience(arguments.timeout, arguments.wait),
        most_keys=arguments.keys,
        say=lambda text: office.progress.say(f"{stream}: {text}"),
        found=found.append,
    )
    office.progress.done()
    if not arguments.json:
        (verified,) = found
        office.out.write(to_text(stream, verified, time.monotonic() - began))
    return FINE if run.state is VerificationState.EQUAL else NOT_SO, dict(run.result)


def _attempt(stream: StreamName, arguments: argparse.Namespace, office: Office) -> tuple[int, dict[str, Any]]:
    """As `_verify`; trouble with one stream is its own entry, and the others go on."""
    try:
        return _verify(stream, arguments, office)
    except (CollectorError, PlatformError) as error:
        office.progress.done()
        problem = problem_of(error)
        if not arguments.json:
            office.out.write(f"{stream}: not compared: {problem.why or problem.error}\n  remedy: {problem.remedy}\n")
        entry = {"stream": str(stream), "equal": None, "code": error.code, "reason": str(error)}
        return problem.exit_code, entry
