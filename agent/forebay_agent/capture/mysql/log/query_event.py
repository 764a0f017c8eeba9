"""QUERY events: a statement as the server logged it, with the settings that it is read by.

    4 thread | 4 seconds | 1 length of database | 2 error | 2 length of variables | variables | database | 0 | statement

Of the variables only the sql_mode (1) and the client's character set (4) matter, and what stands before them has to be passed
over: flags (0), catalogue (2, 6), increments (3). Source: `Query_log_event` of MySQL and MariaDB.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.mysql.log.charsets import Charsets

ANSI_QUOTES: Final = 1 << 2
NO_BACKSLASH_ESCAPES: Final = 1 << 20
STATEMENT_BYTES: Final = 1 << 20
"""of a longer statement only the beginning is read: no definition is that long"""

_HEADER: Final = 13
_FLAGS, _SQL_MODE, _CATALOG, _INCREMENTS, _CHARSETS, _TIME_ZONE, _CATALOG_NAME = range(7)
_UNKNOWN: Final = "\ufffd"


@dataclass(frozen=True, slots=True)
class Query:
    """database: the default one. text: U+FFFD stands for what is no text. cut: the statement is longer. error: the number with
    which it ended on the server."""

    database: str
    text: str
    sql_mode: int = 0
    cut: bool = False
    error: int = 0


def parse(body: bytes, charsets: Charsets) -> Query:
    """Raises ValueError."""
    if len(body) < _HEADER:
        raise ValueError("a statement's event is cut short")
    error = int.from_bytes(body[9:11], "little")
    start = _HEADER + int.from_bytes(body[11:13], "little")
    end = start + body[8]
    if end + 1 > len(body):
        raise ValueError("a statement's event is cut short")
    sql_mode, collation = _settings(body[_HEADER:start])
    statement = body[end + 1 : end + 1 + STATEMENT_BYTES]
    return Query(
        body[start:end].decode("utf-8", "replace"),
        _decoded(statement, collation, charsets),
        sql_mode,
        len(body) - end - 1 > STATEMENT_BYTES,
        error,
    )


def inflated(body: bytes) -> bytes:
    """A QUERY_COMPRESSED event's body as that of a QUERY: header, variables and database stand as they are. Raises ValueError."""
    if len(body) < _HEADER:
        raise ValueError("a statement's event is cut short")
    start = _HEADER + int.from_bytes(body[11:13], "little") + body[8] + 1
    return body[:start] + decompressed(body[start:])


def decompressed(data: bytes, most: int = (1 << 30) + (1 << 20)) -> bytes:
    """MariaDB's compressed part of an event: a byte that says how many bytes of length follow (7: zlib), the length, zlib's
    stream. Nothing longer than `most` is made. Raises ValueError."""
    sized = data[0] & 7 if data else 0
    if not data or data[0] & 0xF0 != 0x80 or not 1 <= sized <= 4 or len(data) < 1 + sized:
        raise ValueError("a compressed event of an unknown form")
    size = int.from_bytes(data[1 : 1 + sized], "big")
    if size > most:
        raise ValueError(f"a compressed event says that it is {size} bytes long")
    inflate = zlib.decompressobj()
    try:
        found = inflate.decompress(data[1 + sized :], size + 1)
    except zlib.error:
        raise ValueError("a compressed event is malformed") from None
    if len(found) != size:
        raise ValueError("a compressed event has not the length that it says")
    return found


def _settings(variables: bytes) -> tuple[int, int]:
    """sql_mode and the number of the client's collation, 0 where they are not told."""
    sql_mode = collation = at = 0
    while at < len(variables):
        code = variables[at]
        value = variables[at + 1 :]
        if code == _SQL_MODE:
            sql_mode = int.from_bytes(value[:8], "little")
        elif code == _CHARSETS:
            collation = int.from_bytes(value[:2], "little")
        if code in (_CATALOG, _TIME_ZONE, _CATALOG_NAME):
            size = 1 + (value[0] if value else 0) + (code == _CATALOG)
        elif code in (_FLAGS, _SQL_MODE, _INCREMENTS, _CHARSETS):
            size = {_FLAGS: 4, _SQL_MODE: 8, _INCREMENTS: 4, _CHARSETS: 6}[code]
        else:
            break
        at += 1 + size
    return sql_mode, collation


def _decoded(statement: bytes, collation: int, charsets: Charsets) -> str:
    if statement.isascii():
        return statement.decode("ascii")
    try:
        named = charsets.named(charsets.name_of(collation) if collation else "")
        return named.text(statement)
    except (UnicodeError, ValueError):
        return statement.decode("utf-8", "replace")
