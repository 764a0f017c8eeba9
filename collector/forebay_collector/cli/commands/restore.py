"""Put a backup back, and rebuild what is newer from the archive and the platform's marks. The collector must be stopped.

The ledger that is there is set aside, whole. Identity and settings that are there stay as they are. Exit 0: everything newer than
the backup was rebuilt; 1: not everything could be, and what is listed (the guide `recover` says what to do then).

examples:
  forebay-collector restore /backup/forebay/2026-11-28 --reason "the ledger's disk failed"
  forebay-collector --data /srv/forebay restore /backup/forebay/2026-11-28 --reason "a new machine" --json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from forebay_collector.cli.listing import moment, print_json
from forebay_collector.cli.office import Office
from forebay_collector.cli.owner import give_back
from forebay_collector.cli.problems import FINE, NOT_SO
from forebay_collector.platform.contract import Platform
from forebay_collector.recovery.rebuild import Rebuilt
from forebay_collector.recovery.restore import restore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the backup")
    parser.add_argument("--reason", required=True, metavar="WHY", help="why, for the audit")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    try:
        done = restore(
            arguments.folder,
            office.data,
            _open_platform,
            who=office.who(),
            why=arguments.reason,
            say=office.progress.say,
        )
    finally:
        give_back(office.data, office.data)
    office.progress.done()
    wanting = [one for one in done.streams if one.stopped or one.lost]
    if arguments.json:
        streams = [
            {
                "stream": str(one.stream),
                "recorded": one.recorded,
                "given_up": one.given_up,
                "stopped": one.stopped,
                "lost_through": None if one.lost is None else f"{one.lost[0]}/{one.lost[1]}",
            }
            for one in done.streams
        ]
        told = {"backup": moment(done.manifest.made_at), "aside": str(done.aside or ""), "catalogue": done.catalogue}
        print_json({**told, "put_back": list(done.put_back), "streams": streams, "whole": not wanting}, office.out)
        return NOT_SO if wanting else FINE
    office.out.write(f"ledger of {moment(done.manifest.made_at)} restored; catalogue {done.catalogue}\n")
    if done.aside is not None:
        office.out.write(f"the ledger that was there: {done.aside}\n")
    for name in done.put_back:
        office.out.write(f"put back: {name}\n")
    for one in done.streams:
        if one.changed:
            office.out.write(_line(one))
    recorded = sum(one.recorded for one in done.streams)
    office.out.write(f"{recorded} batches that are newer were rebuilt, of {len(done.streams)} streams\n")
    return NOT_SO if wanting else FINE


def _line(one: Rebuilt) -> str:
    line = f"{one.stream}: {one.recorded} batches rebuilt, {one.given_up} of them given up before\n"
    if one.stopped:
        line += f"  not all that is archived was taken: {one.stopped}\n"
    if one.lost is not None:
        line += f"  the platform holds it up to {one.lost[0]}/{one.lost[1]}, and the archive has no copy of the last batches\n"
        line += "  remedy: when its agent holds the stream (FB-COLLECTOR-BEHIND), `forebay-agent reset` takes it anew\n"
    return line


def _open_platform(folder: Path) -> Platform:
    # imported here: it takes half a second, which the help need not wait for
    from forebay_collector.platform.iceberg.platform import IcebergPlatform

    return IcebergPlatform(folder)
