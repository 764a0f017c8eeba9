"""The platform's tables, for listings: from metadata alone, no manifest is read."""

from __future__ import annotations

from pyiceberg.table import Table

from forebay_collector.platform.contract import PlatformTable
from forebay_collector.platform.iceberg import marks, names
from forebay_collector.platform.iceberg.catalogue import Catalogue
from forebay_wire.stream import StreamName


def tables(catalogue: Catalogue) -> list[PlatformTable]:
    """Every table that belongs to a stream, by name."""
    ids = catalogue.ids()
    called = names.sql_names(ids)
    found = []
    for table_id in ids:
        table = catalogue.load(table_id)
        if table is None or marks.STREAM not in table.properties:
            continue
        stream = StreamName.parse(table.properties[marks.STREAM])
        found.append(
            PlatformTable(
                stream,
                called[table_id].listed,
                table_id.kind,
                _total(table, "records") - _total(table, "position-deletes"),
                _total(table, "data-files") + _total(table, "delete-files"),
                _total(table, "files-size"),
                marks.mark_of(table.properties, stream),
            )
        )
    return found


def _total(table: Table, of: str) -> int:
    snapshot = table.current_snapshot()
    return int(snapshot.summary[f"total-{of}"] or 0) if snapshot is not None and snapshot.summary is not None else 0
