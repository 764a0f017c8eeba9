"""Restore: a collector is made of a backup, and of what is left of the one before.

The ledger is the backup's; the one that was there is set aside, whole. Identity, settings and what stands beside them stay as
they are where they are there, and come from the backup where they are not. The catalogue stays if it is whole, for it is newer;
else the backup's is led to the newest metadata that each table has. Then what is newer than the backup is rebuilt.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from forebay_collector.archive import LocalArchive
from forebay_collector.archive.schemas import SchemaLog
from forebay_collector.errors import (
    BackupUnusable,
    DataFolderUnusable,
    LedgerDamaged,
    LedgerUnavailable,
    NotPossible,
)
from forebay_collector.identity.authority import CERTIFICATE_FILE
from forebay_collector.ledger import Ledger, audit
from forebay_collector.lock import locked
from forebay_collector.platform.contract import Platform
from forebay_collector.recovery.backup import copy_database, sync
from forebay_collector.recovery.manifest import CATALOGUE, LEDGER, Manifest
from forebay_collector.recovery.rebuild import Rebuilt, rebuild
from forebay_collector.settings import DataFolder

RESTORED: Final = "restore"
_ROLES: Final = ("receive", "load")
_BESIDE: Final = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Restored:
    """aside: where the ledger that was there is now; None: there was none. put_back: files that were missing. catalogue: what
    became of it: kept, restored, none."""

    manifest: Manifest
    aside: Path | None
    put_back: Sequence[str]
    catalogue: str
    streams: Sequence[Rebuilt]


def restore(
    backup: Path,
    folder: Path,
    open_platform: Callable[[Path], Platform],
    *,
    who: str,
    why: str,
    say: Callable[[str], None] = lambda _: None,
) -> Restored:
    """open_platform: opens the platform in a folder. The collector must be stopped.

    Raises BackupUnusable, NotPossible (the folder is another collector's), DataFolderInUse, DataFolderUnusable, and what opening
    ledger, archive and platform raises.
    """
    manifest = Manifest.read(backup)
    data = DataFolder(folder)
    _check_same(backup, data)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as held:
            for role in _ROLES:
                held.enter_context(locked(data.lock(role)))
            put_back = _put_back(backup, folder, manifest)
            aside = _put_ledger(backup, data)
            catalogue = _put_catalogue(backup, data, manifest)
            streams = _rebuild(data, open_platform, manifest, who, why, say)
    except OSError as error:
        raise DataFolderUnusable(f"{error.filename or folder}: {error.strerror}") from None
    return Restored(manifest, aside, put_back, catalogue, streams)


def _check_same(backup: Path, data: DataFolder) -> None:
    mine, theirs = data.identity / CERTIFICATE_FILE, backup / "identity" / CERTIFICATE_FILE
    if mine.exists() and theirs.exists() and mine.read_bytes() != theirs.read_bytes():
        raise NotPossible(
            f"{data.path} has another authority than the backup: it is another collector's",
            remedy="Restore it into this collector's own folder, or into an empty one.",
        )


def _put_back(backup: Path, folder: Path, manifest: Manifest) -> list[str]:
    """What is missing of identity, settings and what stands beside them."""
    missing = [name for name in manifest.files if name not in (LEDGER, CATALOGUE) and not (folder / name).exists()]
    for name in missing:
        target = folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _put(backup / name, target)
    return missing


def _put_ledger(backup: Path, data: DataFolder) -> Path | None:
    aside = _set_aside(data.path, data.ledger)
    _put(backup / LEDGER, data.ledger)
    return aside


def _put_catalogue(backup: Path, data: DataFolder, manifest: Manifest) -> str:
    catalogue = data.platform / CATALOGUE
    if catalogue.exists():
        probe = data.path / ".catalogue.probe"
        try:
            copy_database(catalogue, probe)
            return "kept"
        except (LedgerDamaged, LedgerUnavailable):
            _set_aside(data.path, catalogue)
        finally:
            probe.unlink(missing_ok=True)
    if CATALOGUE not in manifest.files:
        return "none"
    # imported here: a collector without its catalogue is rare, and the platform is large
    from forebay_collector.platform.iceberg.following import follow_metadata

    data.platform.mkdir(mode=0o700, parents=True, exist_ok=True)
    _put(backup / CATALOGUE, catalogue)
    follow_metadata(data.platform)
    return "restored"


def _rebuild(
    data: DataFolder,
    open_platform: Callable[[Path], Platform],
    manifest: Manifest,
    who: str,
    why: str,
    say: Callable[[str], None],
) -> list[Rebuilt]:
    with ExitStack() as held:
        ledger = Ledger.open(data.ledger)
        held.callback(ledger.close)
        archive = LocalArchive(data.archive, writes=False)
        held.callback(archive.close)
        platform = open_platform(data.platform)
        held.callback(platform.close)
        streams = rebuild(ledger, archive, SchemaLog(data.archive), platform, say)
        made = datetime.fromtimestamp(manifest.made_at / 1_000_000, UTC).isoformat(timespec="seconds")
        detail = {
            "backup": made,
            "batches": sum(one.recorded for one in streams),
            "given_up": sum(one.given_up for one in streams),
            "stopped": [str(one.stream) for one in streams if one.stopped],
            "lost": [str(one.stream) for one in streams if one.lost],
        }
        with ledger.database.write() as connection:
            audit.record(connection, ledger.database.clock(), who, RESTORED, "ledger", why, detail, department="")
        return streams


def _set_aside(folder: Path, database: Path) -> Path | None:
    """Moves a database that is there into a folder of its own; -> the folder."""
    there = [path for end in _BESIDE if (path := database.with_name(database.name + end)).exists()]
    if not there:
        return None
    aside = folder / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    aside.mkdir(mode=0o700)
    for path in there:
        path.rename(aside / path.name)
    sync(aside)
    sync(database.parent)
    return aside


def _put(source: Path, target: Path) -> None:
    """A copy under its name, whole or not at all."""
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    part.chmod(0o600)
    sync(part)
    part.rename(target)
    sync(target.parent)
    if target.stat().st_size != source.stat().st_size:
        raise BackupUnusable(f"{target}: was not copied whole")
