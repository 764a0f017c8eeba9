"""Copy ledger, identity, settings and catalogue into a new folder, each as it is at one moment, while all goes on.

The folder is private, and must be kept so: it holds the authority's key. The archive and the platform's files are not in it:
they are large, and never changed once written; copy them with what copies files. `restore` puts it back (guide `recover`).

examples:
  forebay-collector backup /backup/forebay/2026-11-28
"""

from __future__ import annotations

import argparse
from pathlib import Path

from forebay_collector.cli.listing import size
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.recovery.backup import back_up


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder that is not there yet")


def run(arguments: argparse.Namespace, office: Office) -> int:
    target = arguments.folder.absolute()
    manifest = back_up(office.settings().data, target, office.progress.say)
    office.progress.done()
    total = sum((target / name).stat().st_size for name in manifest.files)
    office.out.write(f"{target}: {len(manifest.files)} files, {size(total)}\n")
    return FINE
