"""Text whose declaration lies: GBK bytes in a database that declares SQL_ASCII or LATIN1.

Such text comes from the server as it is and is decoded here, a column at a time: values are joined by NUL, which
PostgreSQL text never holds and no accepted character set uses within a character, decoded at once and split again.

GB 18030's edition of 2022 gave 18 characters of the private use area their own code points; Python's codec still has the
old ones, so they are exchanged (and exchanged back in what is sent to the database).
"""

from __future__ import annotations

import codecs
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from forebay_agent.capture.gb18030 import EDITION_2000, EDITION_2022

_GB18030: Final = frozenset({"gbk", "gb2312", "gb18030", "cp936"})


class Undecodable(ValueError):
    """A value holds bytes that are not of the character set; `row` says which."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row}")
        self.row = row


class Charset:
    """One character set by its name in configuration.

    Raises LookupError when there is none of that name, or ASCII is not a part of it.
    """

    def __init__(self, name: str) -> None:
        known = codecs.lookup(name).name
        self._codec = "gb18030" if known in _GB18030 else known
        ascii_text = "".join(map(chr, range(128)))
        if ascii_text.encode("ascii").decode(self._codec) != ascii_text:
            raise LookupError(f"{name} does not hold ASCII as it is")

    def encode(self, text: str) -> bytes:
        """Raises UnicodeEncodeError."""
        return (text.translate(EDITION_2000) if self._codec == "gb18030" else text).encode(self._codec)

    def decode(self, data: bytes) -> str:
        """Raises UnicodeDecodeError."""
        text = data.decode(self._codec)
        return text.translate(EDITION_2022) if self._codec == "gb18030" else text

    def decode_column(self, column: pa.BinaryArray, *, reversible: bool) -> pa.StringArray:
        """Raises Undecodable. reversible: the column is compared with, so `encode` must give the same bytes again."""
        joined = pc.binary_join_element_wise(pc.fill_null(column, b""), b"", b"\0").cast(pa.binary())
        data = joined.buffers()[2].to_pybytes() if len(joined) else b""
        if data.isascii():
            return column.cast(pa.string())
        try:
            text = self.decode(data)
        except UnicodeDecodeError as error:
            raise Undecodable(data.count(b"\0", 0, error.start)) from None
        if reversible and (again := self.encode(text)) != data:
            pairs = zip(data.split(b"\0"), again.split(b"\0"), strict=True)
            raise Undecodable(next(row for row, (one, other) in enumerate(pairs) if one != other))
        values = pc.split_pattern(pa.array([text]), "\0").flatten().slice(0, len(column))
        return pc.if_else(column.is_valid(), values, pa.scalar(None, pa.string()))


def check_utf8(column: pa.StringArray) -> None:
    """Raises Undecodable when a value is not UTF-8."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        for row, value in enumerate(column.cast(pa.binary()).to_pylist()):
            try:
                (value or b"").decode()
            except UnicodeDecodeError:
                raise Undecodable(row) from None
        raise
