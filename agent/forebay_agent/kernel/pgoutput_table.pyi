"""The changes of one table, collected as Arrow columns from pgoutput's row messages."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

# Forms: how a column's text becomes what `::text` gives, where it is not what the type's output function gives.
AS_SENT: Final[int]
TRUE_FALSE: Final[int]
"""boolean as text: t, f -> true, false"""
WITH_NETMASK: Final[int]
"""inet as text: 10.0.0.1 -> 10.0.0.1/32, ::1 -> ::1/128"""

class TableDecoder:
    """The changes of one table, in log order, as columns.

    schema: the captured columns' types: bool, int32, int64, float32, float64, decimal128, date32, timestamp[us] with or
    without UTC, string, binary (from bytea's hex); string is the bytes as they come, not checked to be UTF-8. places:
    per captured column, its number (from 0) among the columns of the Relation message. width: how many columns that
    message has. keys: numbers (in `schema`) of the key's columns; with none every update is `u`. forms: per
    captured column, one of the forms above; all AS_SENT when empty.

    Rows. Insert: `c`. Update: `u`; when the old key (or old row) came as well and a key column differs in any byte: `d`
    with the old key (with the old row under REPLICA IDENTITY FULL; else NULL beside the key) and then `c`. Delete: `d`
    likewise. A value that was not sent because it is TOASTed and unchanged is taken from the old row where that has it,
    else it is NULL and its column named in `_absent`. A key column whose value came in no way is malformed: the caller
    follows only tables whose replica identity holds the key (flag 1 of the Relation message's columns).

    Raises: ValueError when the arguments do not fit together, or a type is none of these.
    """

    def __init__(
        self, schema: pa.Schema, places: Sequence[int], width: int, keys: Sequence[int], forms: Sequence[int] = ()
    ) -> None: ...
    @property
    def rows(self) -> int:
        """Rows decoded and not yet taken."""

    @property
    def bytes(self) -> int:
        """About how many bytes of Arrow they are."""

    @property
    def unfit(self) -> tuple[int, int] | None:
        """(row, column of `schema`) of the first value not yet taken whose text is not of its column's type or does not
        fit it: infinity, BC, years beyond 9999, NaN or too many digits in a numeric. NULL stands for it. The caller
        refuses the batch."""

    @property
    def absent(self) -> list[tuple[int, int]]:
        """(row, column of `schema`) of each value of the rows not yet taken that is absent, in order. Empty for nearly
        all tables; `take` puts the names into `_absent`."""

    def take(self) -> pa.RecordBatch:
        """The rows: `schema`'s fields, then `forebay_wire.columns.CHANGE_FIELDS`. `_position`: the commit's LSN as
        `0/16B3748`; `_committed_at`: its time; `_absent`: names, NULL where none. Starts the next batch, and frees what
        this one used."""
