"""Upkeep of one table between loads: at most one compaction, one expiry and, now and then, one sweep per step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from forebay_collector.platform.iceberg import compact, expire
from forebay_collector.platform.iceberg.catalogue import Catalogue
from forebay_collector.platform.iceberg.head import Head, ManifestEntries
from forebay_collector.platform.iceberg.leases import Leases
from forebay_collector.platform.iceberg.names import TableId
from forebay_collector.platform.iceberg.reading import Deletes
from forebay_collector.platform.iceberg.upkeep import Upkeep


@dataclass
class Maintenance:
    """Keeps tables compact. `clock`: seconds since 1970."""

    upkeep: Upkeep
    catalogue: Catalogue
    entries: ManifestEntries
    deletes: Deletes
    leases: Leases
    clock: Callable[[], float]
    _swept: dict[TableId, float] = field(default_factory=dict)

    def step(self, table_id: TableId) -> bool:
        """One bounded piece of work; whether there was any. Raises PlatformError, OSError."""
        table = self.catalogue.load(table_id)
        if table is None or table.current_snapshot() is None:
            return False
        now = self.clock()
        head = Head.of(table, self.entries)
        files = compact.due(head.files, self.upkeep)
        if files:
            compact.rewrite(table, head, files, self.deletes, self.entries, int(now * 1000))
        expired = expire.expire_due(table, self.entries, self.leases, self.upkeep, int(now * 1000))
        swept = self._sweep_due(table_id, now) and expire.sweep(table, self.entries, self.upkeep, now)
        self.catalogue.keep(table_id, table)
        return bool(files) or expired or swept

    def _sweep_due(self, table_id: TableId, now: float) -> bool:
        if now - self._swept.get(table_id, float("-inf")) < self.upkeep.sweep_every_s:
            return False
        self._swept[table_id] = now
        return True
