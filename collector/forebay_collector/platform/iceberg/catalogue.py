"""The catalogue: an Iceberg SQL catalogue in SQLite (`catalog.db`) and a warehouse folder beside it.

Tables are kept loaded; whether a loaded one is still current is one question to SQLite. The catalogue's transactions
are synchronous (`synchronous=FULL`), and its files come from `DurableFileIO`.
"""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any, Final

from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.schema import Schema
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadataV2
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from forebay_collector.platform.iceberg import durable_io
from forebay_collector.platform.iceberg.names import TableId

CATALOGUE_NAME: Final = "forebay"
CATALOGUE_FILE: Final = "catalog.db"
WAREHOUSE: Final = "warehouse"
_BUSY_MS: Final = 30_000
_PROPERTIES: Final = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "1",
}


class Catalogue:
    """The tables under one folder. Used by several threads."""

    def __init__(self, folder: Path) -> None:
        """Opens the folder, or makes it. Raises OSError or sqlalchemy's errors."""
        folder = folder.resolve()
        self.warehouse = folder / WAREHOUSE
        durable_io.make_folders(self.warehouse)
        self._catalog = SqlCatalog(
            CATALOGUE_NAME,
            uri=f"sqlite:///{folder / CATALOGUE_FILE}",
            warehouse=str(self.warehouse),
            **{"py-io-impl": durable_io.PY_IO_IMPL},
        )
        event.listen(self._catalog.engine, "connect", _make_durable)
        self._catalog.engine.dispose()  # what was opened before the listener
        self._loaded: dict[TableId, Table] = {}
        self._lock = threading.Lock()

    def ids(self) -> list[TableId]:
        """Every table, by name."""
        statement = select(IcebergTables.table_namespace, IcebergTables.table_name).where(
            IcebergTables.catalog_name == CATALOGUE_NAME
        )
        with Session(self._catalog.engine) as session:
            found = session.execute(statement).all()
        return sorted((TableId(tuple(namespace.split(".")), name) for namespace, name in found), key=_order)

    def load(self, table_id: TableId) -> Table | None:
        """The table as the catalogue has it now; None when there is none. Callers get an object of their own."""
        location = self._metadata_location(table_id)
        if location is None:
            return None
        with self._lock:
            held = self._loaded.get(table_id)
        if held is None or held.metadata_location != location:
            try:
                held = self._catalog.load_table(table_id.identifier)
            except NoSuchTableError:
                return None
            self.keep(table_id, held)
        return _copy(held)

    def keep(self, table_id: TableId, table: Table) -> None:
        """Remembers the table as it is after a commit."""
        with self._lock:
            self._loaded[table_id] = _copy(table)

    def create(self, table_id: TableId, schema: Schema, properties: dict[str, str]) -> Table:
        """Creates an empty table, field ids as in `schema`; the one that is there when another was quicker."""
        self._catalog.create_namespace_if_not_exists(table_id.namespace)
        location = f"{self.warehouse}/{table_id.folder}"
        metadata = TableMetadataV2.model_validate(
            {
                "location": location,
                "schemas": [schema],
                "last-column-id": schema.highest_field_id,
                "current-schema-id": schema.schema_id,
                "partition-specs": [UNPARTITIONED_PARTITION_SPEC],
                "default-spec-id": UNPARTITIONED_PARTITION_SPEC.spec_id,
                "sort-orders": [UNSORTED_SORT_ORDER],
                "default-sort-order-id": UNSORTED_SORT_ORDER.order_id,
                "properties": {**_PROPERTIES, **properties},
                "last-partition-id": UNPARTITIONED_PARTITION_SPEC.last_assigned_field_id,
                "table-uuid": uuid.uuid4(),
            }
        )
        metadata_location = f"{location}/metadata/00000-{uuid.uuid4()}.metadata.json"
        file_io = durable_io.DurableFileIO()
        ToOutputFile.table_metadata(metadata, file_io.new_output(metadata_location))
        try:
            self._catalog.register_table(table_id.identifier, metadata_location)
        except TableAlreadyExistsError:
            file_io.delete(metadata_location)
        made = self.load(table_id)
        if made is None:
            raise NoSuchTableError(f"{table_id.full}: dropped while it was created")
        return made

    def close(self) -> None:
        """Ends every connection."""
        self._catalog.close()

    def _metadata_location(self, table_id: TableId) -> str | None:
        statement = select(IcebergTables.metadata_location).where(
            IcebergTables.catalog_name == CATALOGUE_NAME,
            IcebergTables.table_namespace == table_id.schema,
            IcebergTables.table_name == table_id.name,
        )
        with Session(self._catalog.engine) as session:
            return session.execute(statement).scalar_one_or_none()


def _order(table_id: TableId) -> tuple[str, ...]:
    return table_id.identifier


def _copy(table: Table) -> Table:
    return Table(table.name(), table.metadata, table.metadata_location, table.io, table.catalog)


def _make_durable(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MS}"):
        connection.execute(f"PRAGMA {pragma}")
