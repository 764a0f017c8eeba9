"""Values of row events: bytes to Python."""

from __future__ import annotations

import ipaddress
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final

from forebay_agent.kernel import binlog_table as kernel
from forebay_agent.kernel.binlog_table import WireColumn

UNFIT: Final = "a value that its target cannot hold"
_EXACT: Final = Context(prec=80)
_GROUPS: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_INTEGERS: Final = {1: 1, 2: 2, 9: 3, 3: 4, 8: 8}


class Malformed(Exception):
    """The bytes are none that a server would write."""


class Partial(Malformed):
    """Row images without all columns."""


def layout(column: WireColumn) -> tuple[int, int, int]:
    """(bytes of a fixed value, bytes of the length before it or 0, most bytes)."""
    kind, metadata = column.wire_type, column.metadata
    fixed = {**_INTEGERS, 6: 0, 7: 4, 10: 3, 11: 3, 12: 8, 13: 1, 14: 3}.get(kind)
    if kind in (4, 5):
        fixed = metadata[0]
    elif kind in (17, 18, 19):
        fixed = {17: 4, 18: 5, 19: 3}[kind] + (metadata[0] + 1) // 2
    elif kind == 16:
        fixed = metadata[1] + bool(metadata[0])
    elif kind == 246:
        whole = metadata[0] - metadata[1]
        fixed = sum(digits // 9 * 4 + _GROUPS[digits % 9] for digits in (whole, metadata[1]))
    elif kind in (247, 248, 254):
        real, length = string_type(metadata)
        if real == 254:
            return 0, 1 if length < 256 else 2, length
        fixed = length
    if fixed is not None:
        return fixed, 0, fixed
    if kind in (15, 141, 253):
        length = int.from_bytes(metadata, "little")
        return 0, 1 if length < 256 else 2, length
    return 0, metadata[0], 256 ** metadata[0] - 1


def string_type(metadata: bytes) -> tuple[int, int]:
    """(real type, length) of a STRING."""
    if metadata[0] & 0x30 == 0x30:
        return metadata[0], metadata[1]
    return metadata[0] | 0x30, metadata[1] | (((metadata[0] & 0x30) ^ 0x30) << 4)


def value(column: WireColumn, raw: bytes | None) -> Any:
    """What the target holds, as `Array.to_pylist` gives it (TIMESTAMP: int microseconds; texts and bytes: bytes)."""
    if raw is None:
        return None
    kind = string_type(column.metadata)[0] if column.wire_type in (247, 248, 254) else column.wire_type
    if kind in (*_INTEGERS, 13, 16, 247, 248):
        return _number(column, kind, raw)
    if kind == 4:
        return struct.unpack("<f", raw)[0]
    if kind == 5:
        return struct.unpack("<d", raw)[0]
    if kind == 246:
        return _decimal(column, raw)
    if kind in (10, 14):
        number = int.from_bytes(raw, "little")
        return _day(column, number >> 9, number >> 5 & 15, number & 31)
    if kind in (11, 19):
        return _time(column, kind, raw)
    if kind in (7, 12, 17, 18):
        return _moment(column, kind, raw)
    return _bytes(column, raw)


def _number(column: WireColumn, kind: int, raw: bytes) -> Any:
    number = int.from_bytes(raw, "big" if kind == 16 else "little")
    if kind in _INTEGERS and not column.unsigned and raw[-1] & 0x80:
        number -= 256 ** len(raw)
    if kind == 16 and column.target == kernel.BYTES:
        return raw
    if kind == 13 and number:
        number += 1900
    if column.target == kernel.TEXT and kind == 247:
        return UNFIT if number > len(column.labels) else column.labels[number - 1] if number else b""
    if column.target == kernel.TEXT and kind == 248:
        if number >> len(column.labels):
            return UNFIT
        text = b""
        for place, label in enumerate(column.labels):
            if number >> place & 1:
                text += (b"," if text else b"") + label
        return text
    if column.target == kernel.TEXT:
        return f"{number:04d}".encode() if kind == 13 else _filled(column, str(number))
    if column.target == kernel.BOOL:
        return bool(number) if number in (0, 1) else UNFIT
    if column.target == kernel.DECIMAL:
        return Decimal(number) if abs(number) < 10**column.precision else UNFIT
    limit = 1 << (31 if column.target == kernel.INT32 else 63)
    return number if -limit <= number < limit else UNFIT


def _filled(column: WireColumn, text: str) -> bytes:
    return (text if text.startswith("-") else text.rjust(column.zerofill, "0")).encode()


def _decimal(column: WireColumn, raw: bytes) -> Any:
    precision, scale = column.metadata
    negative = not raw[0] & 0x80
    bits = bytes(byte ^ 0xFF for byte in raw) if negative else raw
    bits = bytes([bits[0] ^ 0x80]) + bits[1:]
    whole = precision - scale
    sizes = [whole % 9] * (whole % 9 > 0) + [9] * (whole // 9)
    after = [9] * (scale // 9) + [scale % 9] * (scale % 9 > 0)
    digits = ""
    at = 0
    for size in (*sizes, *after):
        group = int.from_bytes(bits[at : at + _GROUPS[size]], "big")
        if group >= 10**size:
            raise Malformed("decimal")
        digits += f"{group:0{size}d}"
        at += _GROUPS[size]
    text = ("-" if negative else "") + (digits[:whole].lstrip("0") or "0")
    text += "." + digits[whole:] if scale else ""
    if column.target == kernel.TEXT:
        return _filled(column, text)
    number = _EXACT.create_decimal(text)
    if number.copy_abs() >= Decimal(10) ** (column.precision - column.scale):
        return UNFIT
    return number if number else number.copy_abs()


def _fraction(column: WireColumn, raw: bytes) -> int:
    micro = int.from_bytes(raw, "big") * (1, 10_000, 100, 1)[len(raw)]
    if micro >= 1_000_000:
        raise Malformed("fraction")
    return micro


def _decimals(column: WireColumn) -> int:
    return column.metadata[0] if column.metadata else 0


def _places(column: WireColumn, micro: int) -> str:
    count = _decimals(column)
    return "." + f"{micro:06d}"[:count] if count else ""


def _day(column: WireColumn, year: int, month: int, day: int) -> Any:
    if year > 9999:
        return UNFIT
    if column.target == kernel.TEXT:
        return f"{year:04d}-{month:02d}-{day:02d}".encode()
    try:
        return date(year, month, day)
    except ValueError:
        return UNFIT


def _time(column: WireColumn, kind: int, raw: bytes) -> bytes:
    if kind == 11:
        number = int.from_bytes(raw, "little", signed=True)
        sign, number = "-" if number < 0 else "", abs(number)
        return f"{sign}{number // 10000:02d}:{number // 100 % 100:02d}:{number % 100:02d}".encode()
    size = (column.metadata[0] + 1) // 2
    packed = int.from_bytes(raw, "big") - (1 << (23 + 8 * size))
    sign, packed = "-" if packed < 0 else "", abs(packed)
    micro = _fraction(column, (packed % (1 << (8 * size))).to_bytes(size, "big"))
    packed >>= 8 * size
    hour, minute, second = packed >> 12 & 1023, packed >> 6 & 63, packed & 63
    return f"{sign}{hour:02d}:{minute:02d}:{second:02d}{_places(column, micro)}".encode()


def _moment(column: WireColumn, kind: int, raw: bytes) -> Any:
    if kind in (7, 17):
        seconds = int.from_bytes(raw[:4], "little" if kind == 7 else "big")
        micro = _fraction(column, raw[4:])
        if column.target == kernel.TIMESTAMP:
            return seconds * 1_000_000 + micro or UNFIT
        if seconds == micro == 0:
            return f"0000-00-00 00:00:00{_places(column, 0)}".encode()
        moment = datetime.fromtimestamp(seconds, UTC)
        return (moment.strftime("%Y-%m-%d %H:%M:%S") + _places(column, micro)).encode()
    micro = 0
    if kind == 12:
        number = int.from_bytes(raw, "little")
        day, time = divmod(number, 1_000_000)
        if day > 99_999_999:
            return UNFIT
        year, month, days = day // 10_000, day // 100 % 100, day % 100
        hour, minute, second = time // 10_000, time // 100 % 100, time % 100
    else:
        packed = int.from_bytes(raw[:5], "big") - (1 << 39)
        micro = _fraction(column, raw[5:])
        if packed < 0:
            return UNFIT
        year, month = divmod(packed >> 22, 13)
        days, hour, minute, second = packed >> 17 & 31, packed >> 12 & 31, packed >> 6 & 63, packed & 63
    if year > 9999:
        return UNFIT
    if column.target == kernel.TEXT:
        text = f"{year:04d}-{month:02d}-{days:02d} {hour:02d}:{minute:02d}:{second:02d}"
        return (text + _places(column, micro)).encode()
    try:
        found = datetime(year, month, days, hour, minute, second, micro)
    except ValueError:
        return UNFIT
    return (found - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def _bytes(column: WireColumn, raw: bytes) -> bytes:
    if column.target == kernel.UUID:
        text = raw.ljust(16, b"\0").hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}".encode()
    if column.target == kernel.INET4:
        return ".".join(map(str, raw.ljust(4, b"\0"))).encode()
    if column.target == kernel.INET6:
        return inet6(raw.ljust(16, b"\0"))
    if column.padded:
        raw = raw.ljust(string_type(column.metadata)[1], b"\0")
    return raw.hex().encode() if column.target == kernel.HEX else raw


def inet6(raw: bytes) -> bytes:
    """MariaDB's way: also one zero group is `::`, and IPv4 addresses within are shown as such."""
    groups = [f"{int.from_bytes(raw[at : at + 2], 'big'):x}" for at in range(0, 16, 2)]
    if raw[:12] in (bytes(12), bytes(10) + b"\xff\xff") and (raw[12:14] != bytes(2) or raw[:12] != bytes(12)):
        prefix = "::" if raw[:12] == bytes(12) else "::ffff:"
        return f"{prefix}{ipaddress.IPv4Address(raw[12:])}".encode()
    runs = [(0, 0)]
    for start in range(8):
        length = 0
        while start + length < 8 and groups[start + length] == "0":
            length += 1
        runs.append((length, -start))
    length, start = max(runs)
    if not length:
        return ":".join(groups).encode()
    return (":".join(groups[:-start]) + "::" + ":".join(groups[-start + length :])).encode()
