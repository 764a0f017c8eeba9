"""What a stream's tables are called in the catalogue, on disk and in SQL.

Catalogue: namespace (department, source[, schema]); mirror `<table>`, history `<table>_changes`. In each part `%`, `.`,
control characters and outer blanks are percent-encoded, since the SQL catalogue joins a namespace with dots and trims
it. A source table that is itself called `x_changes` is written `x%5Fchanges`, whether or not there is an `x`, so that
the name is a function of the stream alone and no two tables ever share one.

Disk: `<namespace parts joined by dots>/<table>`, everything but ASCII letters, digits, `_` and `-` percent-encoded; a
part that would be too long for a file name is cut and carries a digest of the whole.

SQL: the table's own name where no other table has it (DuckDB does not tell letter case apart), and always
`"department.source.schema"."table"`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from forebay_wire.stream import StreamName

CHANGES: Final = "_changes"
_ESCAPED_CHANGES: Final = "%5Fchanges"
_LONGEST_PART: Final = 120
_UNSAFE: Final = re.compile(r"[%.\x00-\x1f\x7f]|^\s+|\s+$")


@dataclass(frozen=True, slots=True)
class TableId:
    """One table of the catalogue, its parts as the catalogue spells them."""

    namespace: tuple[str, ...]
    name: str

    @property
    def identifier(self) -> tuple[str, ...]:
        return (*self.namespace, self.name)

    @property
    def kind(self) -> str:
        """`mirror` or `changes`."""
        return "changes" if self.name.endswith(CHANGES) else "mirror"

    @property
    def short(self) -> str:
        """As people write it where it is unambiguous."""
        return unquote(self.name)

    @property
    def schema(self) -> str:
        """The namespace as one SQL name."""
        return ".".join(self.namespace)

    @property
    def full(self) -> str:
        """The name that is never ambiguous, for listings."""
        return f"{self.schema}.{self.name}"

    @property
    def folder(self) -> str:
        """Its folder below the warehouse."""
        return ".".join(_folder_part(part) for part in self.namespace) + "/" + _folder_part(self.name)


def mirror_of(stream: StreamName) -> TableId:
    """The stream's mirror."""
    return TableId(_namespace(stream), _table(stream))


def history_of(stream: StreamName) -> TableId:
    """The stream's history."""
    return TableId(_namespace(stream), _table(stream) + CHANGES)


def _namespace(stream: StreamName) -> tuple[str, ...]:
    # "" and no schema at all are told apart by whether `table` holds a dot
    parts = (stream.department, stream.source, stream.schema)
    return tuple(_part(part) for part in (parts if "." in stream.table else parts[:2]))


def _table(stream: StreamName) -> str:
    name = _part(stream.table.partition(".")[2] if "." in stream.table else stream.table)
    return name.removesuffix(CHANGES) + _ESCAPED_CHANGES if name.endswith(CHANGES) else name


def _part(text: str) -> str:
    if not text:
        return "%"  # no other text is encoded as a lone percent sign
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text)


def _folder_part(text: str) -> str:
    safe = quote(text, safe="").replace(".", "%2E").replace("~", "%7E")
    if len(safe) <= _LONGEST_PART:
        return safe
    return f"{safe[: _LONGEST_PART - 33]}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class SqlName:
    """What SQL calls a table: `"schema"."table"` always, `listed` too (the short name where no other table has it)."""

    schema: str
    table: str
    listed: str


def sql_names(tables: list[TableId]) -> dict[TableId, SqlName]:
    """-> each table's names. Tables whose full names differ in letter case only carry a digest behind `@`."""
    short: dict[str, int] = {}
    full: dict[str, int] = {}
    for table in tables:
        short[table.short.casefold()] = short.get(table.short.casefold(), 0) + 1
        full[table.full.casefold()] = full.get(table.full.casefold(), 0) + 1
    named = {}
    for table in tables:
        name = table.name
        if full[table.full.casefold()] > 1:
            name += "@" + hashlib.sha256(table.full.encode()).hexdigest()[:8]
        alone = short[table.short.casefold()] == 1
        named[table] = SqlName(table.schema, name, table.short if alone else f"{table.schema}.{name}")
    return named
