"""Charsets: text whose declared character set lies, or that the database itself cannot turn into Unicode.

`charset` in a source's file says what the bytes of columns declared latin1 or ascii really are; with gbk or gb18030 it
also holds for columns declared gbk or gb2312, whose user-defined characters the server's own tables lack. Such columns are
read as bytes and decoded here, strictly: bytes that stand for no character are an error, never `?`.

GBK is decoded as GB18030, of which it is a part. Python's codec follows the 2000 edition; `gb18030.EDITION_2022` moves the 18
codes that the mandatory 2022 edition took out of the private use area.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from forebay_agent.capture.gb18030 import EDITION_2000, EDITION_2022
from forebay_agent.capture.mysql.types import ColumnType

_GB18030: Final = "gb18030"
_NAMES: Final = {"gbk": _GB18030, "gb2312": _GB18030, "cp936": _GB18030, "utf8mb4": "utf-8", "utf8mb3": "utf-8"}
_DECLARED_ANYTHING: Final = {"latin1", "ascii"}
_DECLARED_CHINESE: Final = {"gbk", "gb2312"}
# no byte below this one is a part of a longer code in GB18030
_SEPARATORS: Final = range(0x30)


class Undecodable(Exception):
    """A value's bytes stand for no text. `row`: the value's place."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def codec_of(charset: str) -> str:
    """The Python codec of a `charset` setting; empty for none. Raises LookupError when there is no such character set."""
    return _NAMES.get(charset.lower()) or codecs.lookup(charset).name if charset else ""


def overrides(codec: str, kind: ColumnType) -> bool:
    """Whether the setting, not the declaration, says what a column's bytes are."""
    if not codec:
        return False
    return kind.charset in _DECLARED_ANYTHING or (codec == _GB18030 and kind.charset in _DECLARED_CHINESE)


def encode(text: str, codec: str) -> bytes:
    """The bytes that were decoded to this text. Raises UnicodeEncodeError."""
    return (text.translate(EDITION_2000) if codec == _GB18030 else text).encode(codec)


def decode(values: pa.BinaryArray, codec: str, *, reversible: bool) -> pa.StringArray:
    """Decodes every value. `reversible`: the column is compared with, so that `encode` must give the same bytes again.

    Raises Undecodable.
    """
    if codec == "utf-8":
        return checked(values.cast(pa.string(), safe=False))
    separator = separator_of(values) if codec == _GB18030 else None
    if separator is None:
        return _one_by_one(values, codec, reversible=reversible)
    joined = _joined(values, separator)
    try:
        text = _decode(joined, codec)
    except UnicodeDecodeError as error:
        raise Undecodable(joined.count(separator, 0, error.start)) from None
    if reversible and encode(text, codec) != joined:
        return _one_by_one(values, codec, reversible=True)
    return _split(values, separator, text)


def separator_of(values: pa.BinaryArray) -> bytes | None:
    """A byte that is in none of the values, and would be no part of a longer code in them."""
    data = (values.buffers()[2] or pa.py_buffer(b"")).to_pybytes()
    return next((bytes([byte]) for byte in _SEPARATORS if byte not in data), None)


def decode_joined(values: pa.BinaryArray, separator: bytes, decoded: Callable[[bytes], str]) -> pa.StringArray:
    """Decodes all values in one call. Raises what `decoded` raises."""
    return _split(values, separator, decoded(_joined(values, separator)))


def checked(text: pa.StringArray) -> pa.StringArray:
    """The same array. Raises Undecodable when a value is not UTF-8."""
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        for row, value in enumerate(text.cast(pa.binary())):
            try:
                (value.as_py() or b"").decode()
            except UnicodeDecodeError:
                raise Undecodable(row) from None
        raise
    return text


def _joined(values: pa.BinaryArray, separator: bytes) -> bytes:
    filled = values.fill_null(b"") if values.null_count else values
    lists = pa.ListArray.from_arrays(pa.array([0, len(filled)], pa.int32()), filled)
    return bytes(pc.binary_join(lists, pa.scalar(separator, pa.binary()))[0].as_py())


def _split(values: pa.BinaryArray, separator: bytes, text: str) -> pa.StringArray:
    parts = pc.split_pattern(pa.array([text], pa.large_string()), separator.decode()).values.cast(pa.string())
    return parts if not values.null_count else pc.if_else(values.is_valid(), parts, pa.scalar(None, pa.string()))


def _decode(data: bytes, codec: str) -> str:
    text = data.decode(codec)
    return text.translate(EDITION_2022) if codec == _GB18030 else text


def _one_by_one(values: pa.BinaryArray, codec: str, *, reversible: bool) -> pa.StringArray:
    texts: list[str | None] = []
    for row, value in enumerate(values.to_pylist()):
        try:
            text = None if value is None else _decode(value, codec)
            if reversible and text is not None and encode(text, codec) != value:
                raise Undecodable(row)
        except UnicodeError:
            raise Undecodable(row) from None
        texts.append(text)
    return pa.array(texts, pa.string())
