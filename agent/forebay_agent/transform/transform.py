"""Transform: a table's rules put together, with the schema of what comes out."""

from __future__ import annotations

import pyarrow as pa

from forebay_agent.capture.source import TableShape
from forebay_agent.config.model import TableConfig
from forebay_agent.errors import TableChanged, TableMisconfigured, ValueUnrepresentable
from forebay_agent.transform.rules import rules_of
from forebay_wire import schema
from forebay_wire.columns import CHANGE_FIELDS
from forebay_wire.errors import WireError
from forebay_wire.schema import TableSchema


class Transform:
    """The rules of one table.

    shape: the columns as they are read. schema: the columns as they leave, then `forebay_wire.columns.CHANGE_FIELDS`.

    Raises:
        ColumnMissing, TableMisconfigured: the table's entry does not fit the table (see `rules_of`), or the table has
            names that the wire contract does not allow.
    """

    def __init__(self, shape: TableShape, table: TableConfig) -> None:
        self.shape = shape
        self._table = table
        self._rules = rules_of(shape, table)
        fields = {
            column.name: schema.column(column.name, column.arrow, column.origin, carried=column.carried)
            for column in shape.columns
        }
        for rule in self._rules:
            fields[rule.column] = rule.field(fields[rule.column])
        try:
            self.schema = TableSchema.of(list(fields.values()), shape.key)
        except WireError as error:
            raise TableMisconfigured(
                f"{shape.table} cannot be sent: {error}",
                file=table.file,
                key=f"{table.entry}.exclude",
                remedy="Leave the columns named out with `exclude`, or share a view that names them otherwise.",
            ) from error
        self._reads = pa.schema([*(pa.field(column.name, column.arrow) for column in shape.columns), *CHANGE_FIELDS])

    def apply(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of `shape`'s columns and then CHANGE_FIELDS -> rows of `schema.arrow`.

        Raises:
            TableChanged: the rows are not of this shape; no value of a masked column can slip by under another name.
            ValueUnrepresentable: a value cannot be masked (text that is not Unicode). The message holds no value.
        """
        if rows.schema.names != self._reads.names or rows.schema.types != self._reads.types:
            raise TableChanged(
                f"{self.shape.table}: rows were read with other columns than the table was described with"
            )
        columns = dict(zip(rows.schema.names, rows.columns, strict=True))
        for rule in self._rules:
            try:
                columns[rule.column] = rule.apply(columns[rule.column])
            except (pa.ArrowException, ValueError) as error:
                raise ValueUnrepresentable(
                    f"{self.shape.table}: a value of column {rule.column!r} cannot be masked ({type(error).__name__})",
                    remedy="Correct the value at the source (text must be valid in its charset), or exclude the column.",
                ) from None
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=self.schema.arrow)
