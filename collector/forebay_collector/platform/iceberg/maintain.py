"""Upkeep of one table between loads: at most one compaction and one expiry per step and, now and then, a sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pyiceberg.table.refs import MAIN_BRANCH

from forebay_collector.platform.iceberg import compact, expire
from forebay_collector.platform.iceberg.catalogue import Catalogue
from forebay_collector.platform.iceberg.head import Head, ManifestEntries
from forebay_collector.platform.iceberg.hold import AHEAD
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
    _needless: dict[TableId, expire.Needless] = field(default_factory=dict)

    def step(self, table_id: TableId) -> bool:
        """One bounded piece of work; whether there was any. Raises PlatformError, OSError."""
        table = self.catalogue.load(table_id)
        if table is None or not table.metadata.snapshots:
            return False
        now = self.clock()
        # readers go on seeing main as it is while a load gathers what they may not see yet
        branch = AHEAD if AHEAD in table.metadata.refs else MAIN_BRANCH
        head = Head.of(table, self.entries, branch)
        files = compact.due(head.files, self.upkeep)
        if files:
            compact.rewrite(table, head, files, self.deletes, self.entries, int(now * 1000), branch)
        needless = self._needless.setdefault(table_id, expire.Needless())
        needless.add(expire.expire_due(table, self.entries, self.upkeep, now), now)
        if now - needless.swept >= self.upkeep.sweep_every_s:
            needless.swept = now
            needless.add(expire.orphans(table, self.entries, self.upkeep, now), now)
        # a reader that began while a file was still needed keeps it
        oldest_reader = self.leases.oldest(table.metadata.table_uuid)
        removed = needless.remove_due(table, now - self.upkeep.grace_s, oldest_reader)
        self.catalogue.keep(table_id, table)
        return bool(files) or removed
