"""Verify custody: every batch of archive and ledger is what its agent sealed, none is missing, doubled or in another's place.

For every batch: its row in the ledger against the row's digest, its header against its chain digest, the chain against the
batch before it, its object in the archive against all of these; then the stream's marks, the platform's, and the audit's chain.
Whatever is not so is named. It only reads, a page at a time, beside a collector that goes on. Exit 0: all is so, 1: not.

With --resume it notes in a file how far it is, and goes on there when it is called again. With --since only the batches
received since then are gone over; what retention removed from the archive is judged by the ledger's chain alone.

examples:
  forebay-collector custody verify
  forebay-collector custody verify 市监局/enterprise/main.permit --since 7d
  forebay-collector custody verify --resume custody.json --json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from forebay_collector.archive import LocalArchive
from forebay_collector.cli.durations import since
from forebay_collector.cli.listing import print_json, size
from forebay_collector.cli.names import stream_name
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE, NOT_SO
from forebay_collector.custody.finding import Finding
from forebay_collector.custody.verify import Progress, Verdict, to_json
from forebay_collector.service import custody


def add_arguments(parser: argparse.ArgumentParser) -> None:
    deeds = parser.add_subparsers(title="deeds", metavar="DEED", dest="deed", required=True)
    verify = deeds.add_parser("verify", help="go over archive and ledger, and name what is not what it was")
    verify.add_argument("stream", nargs="?", type=stream_name, metavar="STREAM", help="only this one")
    verify.add_argument(
        "--since", type=since, default=0, help="only batches received since a moment or a duration (7d)"
    )
    verify.add_argument("--resume", type=Path, metavar="FILE", help="note in FILE how far it is, and go on there")
    verify.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    progress = Progress(arguments.resume)
    archive = LocalArchive(office.settings().data.archive, writes=False)

    def tell(finding: Finding) -> None:
        if not arguments.json:
            office.progress.done()
            what = f"{finding.batch}: " if finding.batch else ""
            office.out.write(f"{finding.kind.upper()} in the {finding.place}: {what}{finding.reason}\n")
            office.out.write(f"  remedy: {finding.remedy}\n")

    try:
        verdict = custody.verify(
            office.ledger(),
            archive,
            office.platform(),
            office.actor(),
            arguments.stream,
            since=arguments.since,
            progress=progress,
            say=office.progress.say,
            tell=tell,
        )
    finally:
        archive.close()
    office.progress.done()
    if arguments.json:
        print_json(to_json(verdict), office.out)
    else:
        office.out.write(_told(verdict))
    return FINE if verdict.ok else NOT_SO


def _told(verdict: Verdict) -> str:
    told = verdict.streams.values()
    batches, read = sum(one.batches for one in told), sum(one.read for one in told)
    expired, amount = sum(one.expired for one in told), size(sum(one.bytes for one in told))
    text = f"{len(verdict.streams)} streams, {batches} batches; {read} read from the archive ({amount}), {expired} expired\n"
    end = "every batch is what was received, and in its place" if verdict.ok else f"{verdict.found} findings"
    return f"{text}{end}\naudit head: {verdict.audit_head}\n"
