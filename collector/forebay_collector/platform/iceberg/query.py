"""`sql`: one SELECT over the platform as of now, answered by DuckDB.

Each query has a DuckDB of its own, in memory, with one view per table that the query mentions: the data files of the
table's current snapshot, columns mapped by field id, less the positions that its delete files name. The query may read
those very files and nothing else on the machine; it may not write, load, attach or set anything. The files are held
until the answer has been read or let go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

import duckdb
import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

from forebay_collector.platform.contract import PlatformError, QueryRefused
from forebay_collector.platform.iceberg import names
from forebay_collector.platform.iceberg.catalogue import Catalogue
from forebay_collector.platform.iceberg.durable_io import local_path
from forebay_collector.platform.iceberg.head import Head, ManifestEntries
from forebay_collector.platform.iceberg.leases import Leases
from forebay_collector.platform.iceberg.names import SqlName, TableId

BATCH_ROWS: Final = 65_536
_TYPES: Final[dict[IcebergType, str]] = {
    BooleanType(): "BOOLEAN",
    IntegerType(): "INTEGER",
    LongType(): "BIGINT",
    FloatType(): "FLOAT",
    DoubleType(): "DOUBLE",
    DateType(): "DATE",
    TimestampType(): "TIMESTAMP",
    TimestamptzType(): "TIMESTAMP WITH TIME ZONE",
    StringType(): "VARCHAR",
    BinaryType(): "BLOB",
}


class Queries:
    """Answers queries. Used by several threads."""

    def __init__(
        self, catalogue: Catalogue, entries: ManifestEntries, leases: Leases, memory: str = "2GB", threads: int = 2
    ) -> None:
        self._catalogue = catalogue
        self._entries = entries
        self._leases = leases
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory,
            "threads": threads,
            "python_enable_replacements": False,  # else a table name may mean a variable of this program
        }

    def answer(self, query: str) -> pa.RecordBatchReader:
        """Answers one SELECT; rows come as they are computed. Raises QueryRefused."""
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(duckdb.connect(config=self._config))
            connection.execute("SET TimeZone = 'UTC'")
            with _refused(""):
                statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise QueryRefused("one SELECT is expected, nothing else")
            ids = self._catalogue.ids()
            called = names.sql_names(ids)
            paths: list[str] = []
            for table_id in _mentioned(ids, query):
                table = self._catalogue.load(table_id)
                if table is not None:
                    stack.enter_context(self._leases.reading(table.metadata.table_uuid))
                    head = Head.of(table, self._entries)
                    paths += _add_view(connection, called[table_id], table, head)
            connection.execute(f"SET allowed_paths = [{', '.join(map(_text, paths))}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            hint = _ambiguous(ids, called, query)
            with _refused(hint):
                reader = connection.sql(query).to_arrow_reader(BATCH_ROWS)
            held = stack.pop_all()
        return pa.RecordBatchReader.from_batches(reader.schema, _held(reader, held))


def _held(reader: pa.RecordBatchReader, held: contextlib.ExitStack) -> Iterator[pa.RecordBatch]:
    with held, _refused(""):
        yield from reader


@contextlib.contextmanager
def _refused(hint: str) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise QueryRefused(f"{error}{hint}") from error


def _mentioned(ids: Sequence[TableId], query: str) -> list[TableId]:
    """The tables whose name stands somewhere in the query: at least all that it reads."""
    text = query.casefold()

    def stands(name: str) -> bool:
        return name.casefold() in text or name.casefold().replace('"', '""') in text

    return [table_id for table_id in ids if stands(table_id.short) or stands(table_id.name)]


def _ambiguous(ids: Sequence[TableId], called: dict[TableId, SqlName], query: str) -> str:
    unclear = [called[table_id] for table_id in _mentioned(ids, query) if called[table_id].listed != table_id.short]
    if not unclear:
        return ""
    ways = ", ".join(f"{_name(name.schema)}.{_name(name.table)}" for name in unclear)
    return f"\nSeveral tables share a short name; write one of: {ways}"


def _add_view(connection: duckdb.DuckDBPyConnection, called: SqlName, table: Table, head: Head) -> list[str]:
    """Makes the table's views; -> the files that they read."""
    own = f"{_name(called.schema)}.{_name(called.table)}"
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_name(called.schema)}")
    connection.execute(f"CREATE VIEW {own} AS {_select(table.schema().fields, head)}")
    for name in sorted({called.listed, f"{called.schema}.{called.table}"}):
        connection.execute(f"CREATE VIEW main.{_name(name)} AS SELECT * FROM {own}")
    files = [file.path for file in head.files]
    return [local_path(path) for path in (*files, *_deletes(head))]


def _deletes(head: Head) -> list[str]:
    found = {delete.file_path for file in head.files for delete in (*file.scoped, *file.spanning)}
    return sorted(found)


def _select(fields: Sequence[NestedField], head: Head) -> str:
    taken: set[str] = set()
    outputs = []
    for field in fields:
        name = field.name if field.name.casefold() not in taken else f"{field.name}_{field.field_id}"
        taken.add(name.casefold())
        outputs.append(f"f.c{field.field_id} AS {_name(name)}")
    columns = ", ".join(outputs)
    whole = [file.path for file in head.files if not file.scoped and not file.spanning]
    worn = [file.path for file in head.files if file.scoped or file.spanning]
    parts = []
    if whole:
        parts.append(f"SELECT {columns} FROM {_parquet(whole, fields)} f")
    if worn:
        gone = f"read_parquet([{', '.join(_text(local_path(path)) for path in _deletes(head))}])"
        parts.append(
            f"SELECT {columns} FROM {_parquet(worn, fields)} f ANTI JOIN "
            f"(SELECT regexp_replace(file_path, '^file:(//)?', '') AS path, pos FROM {gone}) g "
            "ON f.filename = g.path AND f.file_row_number = g.pos"
        )
    if not parts:
        nothing = ", ".join(f"NULL::{_type(field)} AS c{field.field_id}" for field in fields)
        parts.append(f"SELECT {columns} FROM (SELECT {nothing}) f WHERE false")
    return " UNION ALL ".join(parts)


def _parquet(paths: Sequence[str], fields: Sequence[NestedField]) -> str:
    """A scan whose columns are called c<field id>; a column that a file does not have is NULL."""
    columns = ", ".join(
        f"{field.field_id}: {{name: 'c{field.field_id}', type: {_text(_type(field))}, default_value: NULL}}"
        for field in fields
    )
    files = ", ".join(_text(local_path(path)) for path in paths)
    return f"read_parquet([{files}], schema = MAP {{{columns}}})"


def _type(field: NestedField) -> str:
    kind = field.field_type
    if isinstance(kind, DecimalType):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if isinstance(kind, ListType):
        return f"{_TYPES[kind.element_type]}[]"
    found = _TYPES.get(kind)
    if found is None:
        raise PlatformError(f"column {field.name!r} of Iceberg type {kind}", code="FB-PLATFORM-TYPE", permanent=True)
    return found


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
