"""MySQL's JSON as row events hold it, to the text that the server prints of it. (MariaDB's JSON is text.)

    document  type 1, value
    object    count, size, (key offset, key length 2) each, (type 1, value or offset) each, keys, values
    array     count, size, (type 1, value or offset) each, values
              counts and offsets have 2 bytes in small ones and 4 in large ones; literals and numbers that fit stand in place
              of their offset
    string    length (7 bits a byte), UTF-8
    opaque    type 1, length, bytes: decimals, dates, and what MySQL prints as base64

Source: sql-common/json_binary.h of MySQL 8; the printed form: `Json_wrapper::to_string`.
"""

from __future__ import annotations

import base64
import json
import struct
from typing import Final

from forebay_agent.capture.mysql.log.real_text import real_text

_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = 0, 1, 2, 3, 4
_DOUBLE, _STRING, _OPAQUE = 0x0B, 0x0C, 0x0F
_NUMBERS: Final = {5: "<h", 6: "<H", 7: "<i", 8: "<I", 9: "<q", 10: "<Q", _DOUBLE: "<d"}
_LITERALS: Final = {0: "null", 1: "true", 2: "false"}
_DATE, _TIME, _DATETIME, _TIMESTAMP, _DECIMAL = 10, 11, 12, 7, 246
_DEEPEST: Final = 100
_DIGIT_BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def json_text(document: bytes) -> str:
    """Raises ValueError."""
    if not document:
        return "null"  # what an update of MySQL 5.7 may leave behind
    reader = _Reader(document)
    reader.value(document[0], 1, 0)
    return "".join(reader.parts)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data)  # values; a malformed document could name the same ones again and again
        self.parts: list[str] = []

    def value(self, kind: int, at: int, depth: int) -> None:
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            raise ValueError("a JSON document is nested too deeply, or in itself")
        if kind in (_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY):
            self._container(kind, at, depth)
        elif kind == _LITERAL:
            self.parts.append(self._literal(self._number("<B", at)))
        elif kind in _NUMBERS:
            self._scalar(kind, at)
        elif kind == _STRING:
            size, at = self._length(at)
            self.parts.append(quoted(self._bytes(at, size).decode()))
        elif kind == _OPAQUE:
            inner = self._number("<B", at)
            size, at = self._length(at + 1)
            self.parts.append(_opaque(inner, self._bytes(at, size)))
        else:
            raise ValueError(f"a JSON document holds a value of unknown type {kind}")

    def _container(self, kind: int, at: int, depth: int) -> None:
        large = kind in (_LARGE_OBJECT, _LARGE_ARRAY)
        is_object = kind in (_SMALL_OBJECT, _LARGE_OBJECT)
        form, width = ("<I", 4) if large else ("<H", 2)
        count, size = self._number(form, at), self._number(form, at + width)
        entries = at + 2 * width
        values = entries + (width + 2) * count * is_object
        if values + (1 + width) * count > at + size or at + size > len(self._data):
            raise ValueError("a JSON document's container is longer than the document")
        self.parts.append("{" if is_object else "[")
        for number in range(count):
            if number:
                self.parts.append(", ")
            if is_object:
                entry = entries + number * (width + 2)
                key = self._bytes(at + self._number(form, entry), self._number("<H", entry + width))
                self.parts.append(quoted(key.decode()) + ": ")
            entry = values + number * (1 + width)
            inner = self._data[entry]
            inline = inner in (_LITERAL, 5, 6) or (large and inner in (7, 8))
            self.value(inner, entry + 1 if inline else at + self._number(form, entry + 1), depth + 1)
        self.parts.append("}" if is_object else "]")

    def _scalar(self, kind: int, at: int) -> None:
        if kind != _DOUBLE:
            self.parts.append(str(self._number(_NUMBERS[kind], at)))
            return
        (value,) = struct.unpack("<d", self._bytes(at, 8))
        text = real_text(value)
        self.parts.append(text if "." in text or "e" in text else f"{text}.0")

    def _literal(self, code: int) -> str:
        if code not in _LITERALS:
            raise ValueError(f"a JSON document holds an unknown literal {code}")
        return _LITERALS[code]

    def _number(self, form: str, at: int) -> int:
        (value,) = struct.unpack(form, self._bytes(at, struct.calcsize(form)))
        return int(value)

    def _length(self, at: int) -> tuple[int, int]:
        """A length of 7 bits a byte, and where it ends."""
        size = 0
        for number in range(5):
            byte = self._number("<B", at + number)
            size |= (byte & 0x7F) << (7 * number)
            if not byte & 0x80:
                return size, at + number + 1
        raise ValueError("a JSON document holds a malformed length")

    def _bytes(self, at: int, size: int) -> bytes:
        if at + size > len(self._data):
            raise ValueError("a JSON document ends too early")
        return self._data[at : at + size]


def quoted(text: str) -> str:
    """As MySQL quotes: only quotes, backslashes and control characters are escaped."""
    return json.dumps(text, ensure_ascii=False)


def _opaque(kind: int, data: bytes) -> str:
    if kind == _DECIMAL:
        return _decimal(data)
    if kind in (_DATE, _TIME, _DATETIME, _TIMESTAMP) and len(data) == 8:
        (packed,) = struct.unpack("<q", data)
        return f'"{_time(packed) if kind == _TIME else _moment(packed, date=kind == _DATE)}"'
    return f'"base64:type{kind}:{base64.b64encode(data).decode()}"'


def _moment(packed: int, *, date: bool) -> str:
    whole, micro = packed >> 24, packed & 0xFFFFFF
    days, clock = whole >> 17, whole & 0x1FFFF
    months, day = days >> 5, days & 31
    text = f"{months // 13:04d}-{months % 13:02d}-{day:02d}"
    return text if date else f"{text} {clock >> 12:02d}:{clock >> 6 & 63:02d}:{clock & 63:02d}.{micro:06d}"


def _time(packed: int) -> str:
    sign, packed = ("-", -packed) if packed < 0 else ("", packed)
    whole, micro = packed >> 24, packed & 0xFFFFFF
    return f"{sign}{whole >> 12 & 0x3FF:02d}:{whole >> 6 & 63:02d}:{whole & 63:02d}.{micro:06d}"


def _decimal(data: bytes) -> str:
    """Precision 1, scale 1, and the digits as DECIMAL columns store them: 9 to each 4 bytes, negative ones inverted."""
    if len(data) < 2 or not 1 <= data[0] <= 65 or data[1] > min(data[0], 38):
        raise ValueError("a JSON document holds a malformed decimal")
    whole, scale = data[0] - data[1], data[1]
    groups = [whole % 9, *[9] * (whole // 9)], [*[9] * (scale // 9), scale % 9]
    sizes = [_DIGIT_BYTES[digits] for part in groups for digits in part]
    if len(data) != 2 + sum(sizes) or not sum(sizes):
        raise ValueError("a JSON document holds a malformed decimal")
    negative = not data[2] & 0x80
    digits = bytes((byte ^ 0xFF if negative else byte) for byte in data[2:])
    digits = bytes([digits[0] ^ 0x80]) + digits[1:]
    texts, at = [], 0
    for count in (digit for part in groups for digit in part):
        size = _DIGIT_BYTES[count]
        if count:
            texts.append(f"{int.from_bytes(digits[at : at + size], 'big'):0{count}d}")
        at += size
    joined = "".join(texts)
    if len(joined) != whole + scale:
        raise ValueError("a JSON document holds a malformed decimal")
    text = joined[:whole].lstrip("0") or "0"
    return ("-" if negative else "") + text + (f".{joined[whole:]}" if scale else "")
