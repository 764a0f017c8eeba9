"""An Iceberg platform on disk under an injected clock, and what a foreign reader finds of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from forebay_collector.platform.iceberg import IcebergPlatform, Upkeep

MIRROR = ("市监局", "enterprise-db", "main", "enterprise")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def open_platform(folder: Path, clock: Clock, **changes: Any) -> IcebergPlatform:
    upkeep = Upkeep(small_rows=1_000, merge_files=3, expire_from=3, **changes)
    return IcebergPlatform(folder / "platform", upkeep=upkeep, clock=clock)


def foreign_table(folder: Path, name: tuple[str, ...] = MIRROR) -> Table:
    catalog = SqlCatalog("forebay", uri=f"sqlite:///{folder}/platform/catalog.db")
    return catalog.load_table(name)


def files_of(folder: Path) -> set[Path]:
    return {path for path in (folder / "platform" / "warehouse").rglob("*") if path.is_file()}


def snapshots_of(folder: Path) -> list[Snapshot]:
    table = foreign_table(folder)
    table.catalog.close()
    return table.metadata.snapshots
