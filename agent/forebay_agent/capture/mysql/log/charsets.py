"""Character sets of text in the log, which stands there as it is stored: decoded as the server itself would convert it.

The tables of the codes of one and two bytes (and of EUC's three) come from the server, asked once per set, so that a
value read from the log is the value that a SELECT gives. Where Python's codec agrees it does the work; the table decides what
it disagrees on. As in a snapshot, what has no Unicode by the server's table is an error, never `?`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from typing import Final

import pyarrow as pa

from forebay_agent.capture.mysql import charset
from forebay_agent.capture.mysql.charset import Undecodable
from forebay_agent.capture.mysql.session import Session
from forebay_agent.capture.mysql.types import UTF8

_WIDE: Final = {"ucs2": "utf-16-be", "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be"}
_CODECS: Final = {
    "gbk": "gbk",
    "gb2312": "gb2312",
    "gb18030": "gb18030",
    "big5": "big5",
    "sjis": "shift_jis",
    "cp932": "cp932",
    "ujis": "euc_jp",
    "eucjpms": "euc_jp",
    "euckr": "cp949",
}
_THREE_BYTES: Final = {"ujis", "eucjpms"}
_THREE_BYTES_LEAD: Final = 0x8F
_FOUR_BYTES: Final = "gb18030"
# converted without a check in snapshots, since nothing is lost
_UNCHECKED: Final = {"latin1"}
_DIGITS: Final = ",".join(str(number) for number in range(256))


class Charset:
    """One character set. name: the server's."""

    def __init__(self, name: str, table: dict[bytes, str]) -> None:
        """table: every code that the server converts there and back."""
        self.name = name
        self._table = table
        self._encoded = {text: code for code, text in table.items()}
        self._ascii = all(table.get(bytes([code])) == chr(code) for code in range(128))
        self._longest = max(map(len, table), default=1)
        self._at_once = self._fast()

    def decode(self, values: pa.BinaryArray) -> pa.StringArray:
        """Raises Undecodable."""
        data = values.buffers()[2]
        if self._ascii and (data is None or data.to_pybytes().isascii()):
            return values.cast(pa.string(), safe=False)
        separator = charset.separator_of(values) if self._ascii else None
        if separator is not None and self._at_once is not None:
            try:
                return charset.decode_joined(values, separator, self._at_once)
            except UnicodeError:
                pass
        texts: list[str | None] = []
        for row, value in enumerate(values.to_pylist()):
            try:
                texts.append(None if value is None else self.text(value))
            except UnicodeError:
                raise Undecodable(row) from None
        return pa.array(texts, pa.string())

    def text(self, value: bytes) -> str:
        """One value. Raises UnicodeError."""
        found: list[str] = []
        at = 0
        while at < len(value):
            for size in range(1, self._longest + 1):
                text = self._table.get(value[at : at + size])
                if text is not None:
                    break
            else:
                size, text = self._beyond(value, at)
            found.append(text)
            at += size
        return "".join(found)

    def encode(self, text: str) -> bytes:
        """The bytes of a text. Raises UnicodeError."""
        try:
            return b"".join(self._encoded[character] for character in text)
        except KeyError:
            raise UnicodeError(f"no text of character set {self.name}") from None

    def _beyond(self, value: bytes, at: int) -> tuple[int, str]:
        if self.name == _FOUR_BYTES:
            return 4, value[at : at + 4].decode(_FOUR_BYTES)
        raise UnicodeError(f"no text of character set {self.name}")

    def _fast(self) -> Callable[[bytes], str] | None:
        """Decodes much at once; raises UnicodeError where the table has to decide."""
        if self._longest == 1:
            mapping = {code[0]: text for code, text in self._table.items()}
            return lambda data: codecs.charmap_decode(data, "strict", mapping)[0]
        codec = _CODECS.get(self.name)
        if codec is None:
            return None
        differing = _differing(self._table, codec)
        unsure = re.compile("[" + "".join(map(re.escape, sorted(differing))) + "]") if differing else None

        def decoded(data: bytes) -> str:
            text = data.decode(codec)
            if unsure is not None and unsure.search(text):
                raise UnicodeError
            return text

        return decoded


def _differing(table: dict[bytes, str], codec: str) -> set[str]:
    """Characters that the codec gives for a code which the server reads otherwise, or not at all."""
    differing = set()
    codes = set(table)
    leads = {code[0] for code in table if len(code) > 1}
    codes |= {bytes([lead, trail]) for lead in range(0x80, 0x100) for trail in range(0x30, 0x100) if lead in leads}
    codes |= {bytes([byte]) for byte in range(256)}
    codes |= {bytes([lead, trail]) for lead in range(0x80, 0x100) for trail in range(0x40, 0x100)}
    for code in codes:
        try:
            text = code.decode(codec)
        except UnicodeDecodeError:
            continue
        if table.get(code) != text and len(text) == 1:
            differing.add(text)
    return differing


class _Unicode:
    """UTF-8, and Unicode in wider codes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._codec = _WIDE.get(name, "utf-8")

    def decode(self, values: pa.BinaryArray) -> pa.StringArray:
        if self._codec == "utf-8":
            return charset.checked(values.cast(pa.string(), safe=False))
        return charset.decode(values, self._codec, reversible=False)

    def text(self, value: bytes) -> str:
        return value.decode(self._codec)

    def encode(self, text: str) -> bytes:
        return text.encode(self._codec)


AnyCharset = Charset | _Unicode


class Charsets:
    """The character sets and collations of one server."""

    def __init__(self, session: Session) -> None:
        """Raises what `Session.rows` raises."""
        self._session = session
        self._known: dict[str, AnyCharset] = {}
        told = session.rows("SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS")
        self._longest = {str(name): int(length) for name, length in told}
        # MariaDB from 10.10 on lists the ids there only; MySQL has none in it
        table = "COLLATION_CHARACTER_SET_APPLICABILITY" if _has_ids(session) else "COLLATIONS"
        self._by_collation = {
            int(number): str(name)
            for number, name in session.rows(
                f"SELECT ID, CHARACTER_SET_NAME FROM information_schema.{table} WHERE ID IS NOT NULL"
            )
        }

    def name_of(self, collation: int) -> str:
        """The character set of a collation's number. Raises ValueError."""
        try:
            return self._by_collation[collation]
        except KeyError:
            raise ValueError(f"collation {collation} is not known to the server") from None

    def longest(self, name: str) -> int:
        """Bytes of a character at most; 1 for a set that the server does not know."""
        return self._longest.get(name, 1)

    def named(self, name: str) -> AnyCharset:
        """Empty: UTF-8. Raises what `Session.rows` raises."""
        if name not in self._known:
            if not name or name in UTF8 or name in _WIDE:
                self._known[name] = _Unicode(name)
            else:
                self._known[name] = Charset(name, self._table(name))
        return self._known[name]

    def _table(self, name: str) -> dict[bytes, str]:
        """Asks the server for every code, in statements of at most 32,768 rows."""
        table = dict(self._codes(name, "CHAR(b.n USING binary)", []))
        if self.longest(name) > 1:
            leads = [f"CHAR(a.n, b.n USING binary)|{low},{low + 64}" for low in (128, 192)]
            for lead in leads:
                expression, _, span = lead.partition("|")
                low, high = map(int, span.split(","))
                table |= dict(self._codes(name, expression, range(low, high)))
        if name in _THREE_BYTES:
            table |= dict(self._codes(name, f"CHAR({_THREE_BYTES_LEAD}, a.n, b.n USING binary)", range(160, 256)))
        return table

    def _codes(self, name: str, code: str, leads: Iterable[int]) -> list[tuple[bytes, str]]:
        listed = " UNION ALL ".join(f"SELECT {number} AS n" for number in leads)
        source = f"({_numbers()}) b" + (f", ({listed}) a" if listed else "")
        text = f"CONVERT(CONVERT({code} USING {name}) USING utf8mb4)"
        back = "" if name in _UNCHECKED else f" WHERE CAST(CONVERT({text} USING {name}) AS BINARY) <=> {code}"
        rows = self._session.rows(
            f"SELECT HEX({code}), HEX({text}) FROM {source}{back}", doing=f"asking for character set {name}"
        )
        found = []
        for hexadecimal, unicode in rows:
            value = bytes.fromhex(unicode or "").decode("utf-8", "replace")
            if len(value) == 1:  # two codes of one byte each are no code of two bytes
                found.append((bytes.fromhex(hexadecimal), value))
        return found


def _numbers() -> str:
    return " UNION ALL ".join(f"SELECT {number} AS n" for number in range(256))


def _has_ids(session: Session) -> bool:
    return bool(
        session.rows(
            "SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'information_schema' "
            "AND TABLE_NAME = 'COLLATION_CHARACTER_SET_APPLICABILITY' AND COLUMN_NAME = 'ID'"
        )
    )
