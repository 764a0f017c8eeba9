"""Backup: ledger, identity, settings and catalogue into a folder, as they are at one moment each, while the collector goes on.

The ledger is copied before the catalogue: a catalogue that is ahead of its ledger is what every crash leaves, and what each
start settles. What is large is not copied: the archive and the platform's files have copies of their own. The folder appears
under its name when everything in it is on disk.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from forebay_collector import __version__
from forebay_collector.errors import BackupUnusable, DataFolderUnusable, LedgerDamaged, LedgerUnavailable, NotPossible
from forebay_collector.ledger import now_us
from forebay_collector.recovery.manifest import CATALOGUE, LEDGER, Manifest, digest_of
from forebay_collector.settings import DataFolder

MOST_BYTES: Final = 1 << 20
"""Of a file beside the settings; what is larger is none of a collector's."""
_BUSY_S: Final = 30.0
_NOT_COPIED: Final = ("lock.", "ledger.db", ".")


def back_up(data: DataFolder, target: Path, say: Callable[[str], None] = lambda _: None) -> Manifest:
    """Raises NotPossible (the target is there), LedgerUnavailable, LedgerDamaged, DataFolderUnusable, BackupUnusable."""
    if target.exists():
        raise NotPossible(f"{target} is there already", remedy="Name a folder that is not there yet.")
    if not data.ledger.exists():
        raise DataFolderUnusable(f"{data.ledger}: is not there")
    part = target.with_name(f".{target.name}.part")
    try:
        if part.exists():
            shutil.rmtree(part)
        part.mkdir(mode=0o700, parents=True)
        made_at = now_us()
        say("the ledger")
        copy_database(data.ledger, part / LEDGER)
        catalogue = data.platform / CATALOGUE
        if catalogue.exists():
            say("the catalogue")
            copy_database(catalogue, part / CATALOGUE)
        say("identity and settings")
        for name in _plain_files(data.path):
            (part / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(data.path / name, part / name)
        files = {str(path.relative_to(part)): digest_of(path) for path in sorted(part.rglob("*")) if path.is_file()}
        manifest = Manifest(made_at, __version__, files)
        manifest.write(part)
        for path in part.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
            sync(path)
        sync(part)
        part.rename(target)
        sync(target.parent)
    except OSError as error:
        raise BackupUnusable(
            f"{error.filename or target}: {error.strerror}", remedy="Check the disk and the path, and make it again."
        ) from None
    Manifest.read(target)
    return manifest


def copy_database(source: Path, target: Path) -> None:
    """One state of an SQLite database that others write to, as one file. Raises LedgerUnavailable, LedgerDamaged."""
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=_BUSY_S)) as held,
            closing(sqlite3.connect(target)) as copy,
        ):
            held.backup(copy)  # in one step: readers in WAL mode hold up nobody
            copy.execute("PRAGMA journal_mode=DELETE").close()
            said = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        number = getattr(error, "sqlite_errorcode", 0) & 0xFF
        damaged = number in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        raise (LedgerDamaged if damaged else LedgerUnavailable)(f"{source}: {error}") from None
    if said != "ok":
        raise LedgerDamaged(f"{source}: {said}")


def sync(path: Path) -> None:
    """Makes a file's bytes, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain_files(folder: Path) -> Iterator[Path]:
    """Settings, what stands beside them (secrets that they name), and the identity; relative to the folder."""
    for path in sorted(folder.iterdir()):
        small = path.is_file() and path.stat().st_size <= MOST_BYTES
        if small and not path.name.startswith(_NOT_COPIED) and path.suffix != ".log":
            yield path.relative_to(folder)
    identity = folder / "identity"
    for path in sorted(identity.iterdir()) if identity.is_dir() else ():
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(folder)
