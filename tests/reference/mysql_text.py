"""A MySQL text result set decoded in plain Python, from "Text Resultset" and "MySQL Packets" of the client/server protocol."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from forebay_agent.kernel import mysql_text as kernel

_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1)
Kind = tuple[int, int, int]


class Malformed(ValueError):
    """The packets are not what the protocol says."""


@dataclass
class Result:
    """rows: bytes, or the numbers that Arrow holds (of a decimal: unscaled). unfit: the first value that does not fit."""

    rows: list[list[bytes | int | None]] = field(default_factory=list)
    unfit: tuple[int, int] | None = None
    ended: bool = False
    error: bytes | None = None
    malformed: bool = False


def decoded(kinds: Sequence[Kind], stream: bytes, sequence: int) -> Result:
    """Everything up to the result's end, to what is malformed, or to a packet that is not complete."""
    result = Result()
    at = 0
    while not result.ended:
        try:
            packet = _payload(stream, at, sequence)
            if packet is None:
                break
            payload, at, sequence = packet
            if payload[:1] == b"\xff":
                result.ended, result.error = True, payload
            elif payload[:1] == b"\xfe" and len(payload) < 9:
                result.ended = True
            else:
                _row(kinds, payload, result)
        except Malformed:
            result.malformed = True
            break
    return result


def _payload(stream: bytes, at: int, sequence: int) -> tuple[bytes, int, int] | None:
    """(payload, offset behind it, next sequence); None: it is not complete."""
    payload = b""
    while True:
        if at + 4 > len(stream):
            return None
        size = int.from_bytes(stream[at : at + 3], "little")
        told = stream[at + 3]
        if told != sequence % 256:  # a shutdown's error begins anew at 0; whether it is one, its first byte says
            if told == 0 and size and at + 4 == len(stream):
                return None
            if told or not size or stream[at + 4] != 0xFF:
                raise Malformed("sequence")
        if at + 4 + size > len(stream):
            return None
        payload += stream[at + 4 : at + 4 + size]
        at += 4 + size
        sequence += 1
        if size < 0xFFFFFF:
            return payload, at, sequence


def _row(kinds: Sequence[Kind], payload: bytes, result: Result) -> None:
    values: list[bytes | int | None] = []
    unfit = None
    at = 0
    for number, kind in enumerate(kinds):
        if at == len(payload):
            raise Malformed("too few columns")
        size = payload[at]
        at += 1
        if size == 0xFB:
            values.append(None)
            continue
        if size == 0xFF:
            raise Malformed("length")
        if size > 0xFB:
            more = {0xFC: 2, 0xFD: 3, 0xFE: 8}[size]
            if at + more > len(payload):
                raise Malformed("length")
            size = int.from_bytes(payload[at : at + more], "little")
            at += more
        if at + size > len(payload):
            raise Malformed("value")
        value = _value(kind, payload[at : at + size])
        at += size
        if value is None and unfit is None:
            unfit = (len(result.rows), number)
        values.append(value)
    if at != len(payload):
        raise Malformed("too many columns")
    result.rows.append(values)
    result.unfit = result.unfit or unfit


def _value(kind: Kind, text: bytes) -> bytes | int | None:
    """None: it does not fit."""
    if kind[0] == kernel.BYTES:
        return text
    written = text.decode("latin-1")
    if kind[0] == kernel.DECIMAL:
        return _decimal(written, kind[1], kind[2])
    if kind[0] in (kernel.INT32, kernel.INT64):
        bits = 32 if kind[0] == kernel.INT32 else 64
        if len(text) > 4000 or not re.fullmatch("-?[0-9]+", written, re.ASCII):
            return None
        number = int(written)
        return number if -(1 << (bits - 1)) <= number < 1 << (bits - 1) else None
    pattern = r"(\d{4})-(\d\d)-(\d\d)"
    if kind[0] == kernel.TIMESTAMP:
        pattern += r" (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?"
    found = re.fullmatch(pattern, written, re.ASCII)
    if found is None:
        return None
    year, month, day, hour, minute, second = ([int(part) for part in found.groups()[:6]] + [0, 0, 0])[:6]
    try:
        moment = datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
    if kind[0] == kernel.DATE:
        return (moment - _EPOCH) // _DAY
    return (moment - _EPOCH) // timedelta(microseconds=1) + int((found[7] or "").ljust(6, "0"))


def _decimal(written: str, precision: int, scale: int) -> int | None:
    found = re.fullmatch(r"(-?)([0-9]*)(?:\.([0-9]*))?", written, re.ASCII)
    if found is None:
        return None
    fraction = found[3] or ""
    digits = (found[2] + fraction).lstrip("0")
    if not found[2] + fraction or len(fraction) > scale or len(digits) > precision:
        return None
    unscaled: int = int(digits or "0") * 10 ** (scale - len(fraction))
    if unscaled >= 10**precision:
        return None
    return -unscaled if found[1] else unscaled
