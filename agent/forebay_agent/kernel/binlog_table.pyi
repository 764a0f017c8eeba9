"""Row events of one table, as one TABLE_MAP describes it, straight into Arrow buffers."""

from collections.abc import Sequence
from typing import Final, NamedTuple

SKIPPED: Final[int]
"""Not captured: its bytes are passed over."""
BYTES: Final[int]
"""The value's own bytes, no charset conversion: strings, blobs, JSON (MySQL's binary form), geometry, compressed columns
(types 140, 141: header byte and zlib), BIT. Of a fixed-length BINARY(n), `padded` adds the zeros that the log leaves out."""
INT32: Final[int]
"""int32. Integers, YEAR, BIT, ENUM (its number), SET (its bits); what does not fit is unfit."""
INT64: Final[int]
"""int64, of the same types."""
DECIMAL: Final[int]
"""decimal128(precision, scale). DECIMAL columns of that scale, and with scale 0 all types of INT32."""
FLOAT: Final[int]
"""float32. FLOAT."""
DOUBLE: Final[int]
"""float64. DOUBLE and FLOAT."""
BOOL: Final[int]
"""Arrow bits. BIT(1) and integers: 0, 1; others are unfit."""
DATE: Final[int]
"""date32. DATE; the years 0001 to 9999, real days only, all else (zero dates) is unfit."""
TIMESTAMP: Final[int]
"""int64, microseconds since 1970. DATETIME as it stands, TIMESTAMP in UTC; unfit as DATE."""
TEXT: Final[int]
"""utf8: the value as MariaDB prints it in a session whose time zone is +00:00. Integers, YEAR and DECIMAL (with `zerofill`),
BIT (as a number), DATE, TIME, DATETIME and TIMESTAMP with zero dates and the column's decimals, ENUM and SET by `labels`.
Not of FLOAT and DOUBLE: take FLOAT or DOUBLE and write the text in Python."""
HEX: Final[int]
"""utf8: the bytes of BYTES in lower-case hexadecimal."""
UUID: Final[int]
"""utf8: MariaDB's UUID (a STRING of 16 bytes on the wire, in the order of its text, without its last zero bytes)."""
INET4: Final[int]
"""utf8: MariaDB's INET4 (a STRING of 4 bytes)."""
INET6: Final[int]
"""utf8: MariaDB's INET6 (a STRING of 16 bytes)."""

Buffers = tuple[bytes | None, bytes | None, bytes]
"""(validity bits; None when no value is NULL, 32-bit offsets; None for fixed widths, data), as Array.from_buffers wants them."""

def metadata_size(wire_type: int) -> int:
    """How many bytes of a TABLE_MAP's metadata block belong to a column of this type: 0, 1 or 2.

    Raises ValueError when the type is not known, so that the rest of the block cannot be told apart.
    """

class WireColumn(NamedTuple):
    """How a column's bytes are laid out, and what becomes of them.

    wire_type: the type byte of the TABLE_MAP. metadata: the column's own bytes of its metadata block, as they stand there.
    target: SKIPPED … INET6. precision, scale: of DECIMAL. unsigned: integers. key: a change of its bytes makes an UPDATE two
    rows. zerofill: TEXT of numbers has at least so many characters. labels: of ENUM and SET in UTF-8 (number 0 is the empty
    text). padded: a BINARY(n).
    """

    wire_type: int
    metadata: bytes
    target: int
    precision: int = 0
    scale: int = 0
    unsigned: bool = False
    key: bool = False
    zerofill: int = 0
    labels: tuple[bytes, ...] = ()
    padded: bool = False

class Taken(NamedTuple):
    """Rows in log order. columns: of each column that is not SKIPPED, in the table's order. op: utf8 `c`, `u` or `d`.
    position: utf8. committed_at: int64, microseconds since 1970, NULL when the log does not say."""

    rows: int
    columns: list[Buffers]
    op: Buffers
    position: Buffers
    committed_at: Buffers

class TableDecoder:
    """Collects the rows of a table. A `LogScanner` that it is registered with fills it.

    An INSERT is a row `c`, a DELETE `d` with the old image, an UPDATE `u` with the new image; an UPDATE whose images differ
    in the bytes of a key column is two rows, `d` with the old and `c` with the new one.
    """

    def __init__(self, columns: Sequence[WireColumn]) -> None:
        """columns: all of the table's, in the TABLE_MAP's order, 1 to 4096.

        Raises ValueError naming the column's number when type, metadata and target do not go together.
        """
    @property
    def rows(self) -> int:
        """Rows collected since the last `take`."""
    @property
    def size(self) -> int:
        """About how many bytes of Arrow these are."""
    @property
    def unfit(self) -> tuple[int, int] | None:
        """(row since the last `take`, number among the captured columns) of the first value that its target cannot hold; NULL
        stands in its place. None: there is none."""
    @property
    def open_from(self) -> int:
        """The first row that belongs to the scanner's unfinished transaction; `rows` when there is none."""
    def take(self) -> Taken:
        """The rows collected, and begins anew."""
    def drop_open(self) -> int:
        """Takes back the rows from `open_from` on, those of a transaction that was rolled back after all; -> how many. Rows of
        it that were taken before are the caller's to drop."""
