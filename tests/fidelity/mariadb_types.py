"""Every type that MariaDB has, its extremes, and how to ask the database itself what it holds."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import pyarrow as pa

RARE: Final = "𠮷㐀𬱖😀e\u0301中"
ALL_BYTES: Final = "X'" + bytes(range(256)).hex() + "'"
_CHARACTERS: Final = "CAST({c} AS CHAR)"
_UTF8: Final = "HEX(CONVERT({c} USING utf8mb4))"
_IN_UTC: Final = "CAST(IF({c} = 0, {c}, CONVERT_TZ({c}, @@session.time_zone, '+00:00')) AS CHAR)"
_MICROSECONDS: Final = "%Y-%m-%d %H:%i:%s.%f"


def _hex_of_text(value: Any) -> str:
    return str(value.encode().hex().upper())


def _moment(value: datetime) -> str:
    return value.isoformat(" ", "microseconds")


@dataclass(frozen=True, slots=True)
class Case:
    """definition: a column's. values: SQL literals (NULL is added). arrow, carried: what the column must be carried as.
    oracle: the SQL that tells of column {c}, what it holds, as text. told: the same of a value that came out.
    table: options of the table."""

    name: str
    definition: str
    values: tuple[str, ...]
    arrow: pa.DataType
    carried: str = "exact"
    oracle: str = _CHARACTERS
    told: Callable[[Any], str] = str
    table: str = ""
    as_text: bool = False


def _integer(name: str, low: int, high: int, arrow: pa.DataType) -> Case:
    return Case(name, name, (str(low), str(high), "0", "1"), arrow)


def _text(name: str, definition: str, *values: str, table: str = "") -> Case:
    return Case(name, definition, values, pa.string(), oracle=_UTF8, told=_hex_of_text, table=table)


def _bytes(name: str, definition: str, *values: str) -> Case:
    return Case(name, definition, values, pa.binary(), oracle="HEX({c})", told=lambda value: value.hex().upper())


def _shown(name: str, definition: str, *values: str) -> Case:
    """Carried as the very text that the database shows."""
    return Case(name, definition, values, pa.string(), "text")


def _numbers(seed: int, form: str, count: int) -> tuple[str, ...]:
    """Random bit patterns that are finite, as literals that stand for exactly these numbers."""
    source = random.Random(seed)
    size = struct.calcsize(form)
    found = (struct.unpack(form, source.randbytes(size))[0] for _ in range(count * 2))
    return tuple(
        f"{number!r}e0" if "e" not in repr(number) else repr(number) for number in found if abs(number) < 1e300
    )


_NINES = "9" * 45 + "." + "9" * 20

CASES: Final = (
    _integer("tinyint", -128, 127, pa.int32()),
    _integer("tinyint unsigned", 0, 255, pa.int32()),
    _integer("boolean", 0, 1, pa.int32()),
    _integer("smallint", -(2**15), 2**15 - 1, pa.int32()),
    _integer("smallint unsigned", 0, 2**16 - 1, pa.int32()),
    _integer("mediumint", -(2**23), 2**23 - 1, pa.int32()),
    _integer("mediumint unsigned", 0, 2**24 - 1, pa.int32()),
    _integer("int", -(2**31), 2**31 - 1, pa.int32()),
    _integer("int unsigned", 0, 2**32 - 1, pa.int64()),
    _integer("bigint", -(2**63), 2**63 - 1, pa.int64()),
    _integer("bigint unsigned", 0, 2**64 - 1, pa.decimal128(20, 0)),
    Case("zerofill", "int(10) unsigned zerofill", ("42", "4294967295"), pa.int64(), oracle="CAST({c} + 0 AS CHAR)"),
    Case("decimal", "decimal", ("-9999999999", "9999999999"), pa.decimal128(10, 0)),
    Case("decimal(18,2)", "decimal(18,2)", ("-9999999999999999.99", "0.01", "0"), pa.decimal128(18, 2)),
    Case(
        "decimal(38,10)",
        "decimal(38,10)",
        ("-" + "9" * 28 + "." + "9" * 10, "9" * 28 + "." + "9" * 10, "0.0000000001", "-0.0000000001", "0"),
        pa.decimal128(38, 10),
        told=lambda value: format(value, "f"),
    ),
    Case(
        "decimal(20,12)", "decimal(20,12)", ("12345678.123456789012",), pa.decimal128(20, 12), told=lambda v: f"{v:f}"
    ),
    Case(
        "decimal(38,38)", "decimal(38,38)", ("0." + "9" * 38,), pa.decimal128(38, 38), told=lambda value: f"{value:f}"
    ),
    _shown("decimal(39,0)", "decimal(39,0)", "9" * 39, "-" + "9" * 39),
    _shown("decimal(65,20)", "decimal(65,20)", _NINES, "-" + _NINES, "0." + "0" * 19 + "1", "0"),
    Case(
        "double",
        "double",
        (
            "1.7976931348623157e308",
            "2.2250738585072014e-308",
            "5e-324",
            "0.1e0",
            "-0e0",
            "-1e-7",
            *_numbers(7, "<d", 60),
        ),
        pa.float64(),
        oracle="double",
        told=float.hex,
    ),
    Case(
        "double(10,2)", "double(10,2)", ("0.1", "12345678.99", "-0.01"), pa.float64(), oracle="double", told=float.hex
    ),
    Case(
        "float",
        "float",
        ("3.4028234663852886e38", "1.1754943508222875e-38", "0.1e0", "16777217", "1234567.9e0", *_numbers(8, "<f", 60)),
        pa.float32(),
        oracle="double",
        told=float.hex,
    ),
    Case("float(7,2)", "float(7,2)", ("12345.67", "0.1", "-99999.99"), pa.float32(), oracle="double", told=float.hex),
    Case("bit(1)", "bit(1)", ("b'0'", "b'1'"), pa.bool_(), oracle="BIN({c})", told=lambda value: str(int(value))),
    Case("bit(2)", "bit(2)", ("b'11'", "b'0'"), pa.int64(), oracle="BIN({c})", told=lambda value: f"{value:b}"),
    Case("bit(63)", "bit(63)", (str(2**63 - 1), "0"), pa.int64(), oracle="BIN({c})", told=lambda value: f"{value:b}"),
    Case(
        "bit(64)",
        "bit(64)",
        (str(2**64 - 1), str(2**63), "0"),
        pa.decimal128(20, 0),
        oracle="BIN({c})",
        told=lambda value: f"{int(value):b}",
    ),
    Case("year", "year", ("1901", "2155", "0"), pa.int32(), oracle="CAST({c} + 0 AS CHAR)"),
    Case(
        "date",
        "date",
        ("'1000-01-01'", "'9999-12-31'", "'1970-01-01'", "'0001-01-01'", "'2024-02-29'"),
        pa.date32(),
        told=date.isoformat,
    ),
    Case(
        "datetime",
        "datetime",
        ("'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'", "'1986-05-04 00:00:00'"),
        pa.timestamp("us"),
        oracle=f"DATE_FORMAT({{c}}, '{_MICROSECONDS}')",
        told=_moment,
    ),
    Case(
        "datetime(6)",
        "datetime(6)",
        ("'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.5'", "'0001-01-01'"),
        pa.timestamp("us"),
        oracle=f"DATE_FORMAT({{c}}, '{_MICROSECONDS}')",
        told=_moment,
    ),
    Case(
        "datetime(3)",
        "datetime(3)",
        ("'2026-01-31 12:00:00.123'",),
        pa.timestamp("us"),
        oracle=f"DATE_FORMAT({{c}}, '{_MICROSECONDS}')",
        told=_moment,
    ),
    Case(
        "timestamp(6)",
        "timestamp(6) NULL",
        ("'1970-01-01 00:00:01.000001'", "'2038-01-19 03:14:07.999999'", "'2024-07-01 12:00:00'"),
        pa.timestamp("us", "UTC"),
        # the instant itself, which no session's time zone changes
        oracle="UNIX_TIMESTAMP({c})",
        told=lambda value: f"{value.timestamp():.6f}",
    ),
    _shown("time", "time", "'838:59:59'", "'-838:59:59'", "'00:00:00'", "'23:59:59'"),
    _shown("time(6)", "time(6)", "'838:59:59.999999'", "'-00:00:00.000001'", "'24:00:00.5'"),
    _text("char", "char(40)", "''", "'a'", "' b'", f"'{RARE}'"),
    _text(
        "varchar", "varchar(200)", "''", "' '", "'a '", f"'{RARE}'", "CONCAT('a', CHAR(0), CHAR(10), CHAR(9), '\\\\')"
    ),
    _text("tinytext", "tinytext", "''", f"'{RARE}'"),
    _text("text", "text", f"REPEAT('{RARE}', 2000)"),
    _text("mediumtext", "mediumtext", f"REPEAT('{RARE}', 5000)"),
    _text("longtext", "longtext", f"REPEAT('{RARE}', 20000)", "''"),
    _text("utf8mb3", "varchar(40) character set utf8mb3", "'中㐀'", "''"),
    _text("ucs2", "varchar(40) character set ucs2", "'中㐀'"),
    _text("utf16", "varchar(40) character set utf16", f"'{RARE}'"),
    _text("ascii", "varchar(40) character set ascii", "'plain'"),
    _text("big5", "varchar(40) character set big5", "'中華'"),
    _text("sjis", "varchar(40) character set sjis", "'日本'"),
    _text("json", "json", '\'{"名": [1, 2.50, null, "𠮷"]}\'', "'null'", '\'{ "a":1,  "a":2 }\''),
    _text("enum", "enum('', 'a''b', '中\\\\文', 'c,d', ')')", "'a''b'", "'中\\\\文'", "''", "'c,d'", "')'"),
    _text("set", "set('一', '二', 'x y')", "''", "'一'", "'一,x y'", "'一,二,x y'"),
    _text("gbk table", "varchar(40)", "'桂平市覃塘区'", "'镕'", "'¤'", "''", table="CHARACTER SET gbk"),
    _text("gbk enum", "enum('男', '女')", "'男'", "'女'", table="CHARACTER SET gbk"),
    _text("latin1 table", "varchar(40)", "'café ÿ€'", "_latin1 X'8190A0FF'", table="CHARACTER SET latin1"),
    _bytes("binary", "binary(4)", "X'00'", "X'FFFFFFFF'", "''"),
    _bytes("varbinary", "varbinary(300)", ALL_BYTES, "''", "X'00'", "X'FE'", "X'FB'"),
    _bytes("tinyblob", "tinyblob", "X'FF00'", "''"),
    _bytes("blob", "blob", ALL_BYTES, f"REPEAT({ALL_BYTES}, 200)"),
    _bytes("mediumblob", "mediumblob", f"REPEAT({ALL_BYTES}, 400)"),
    _bytes("longblob", "longblob", f"REPEAT({ALL_BYTES}, 1000)"),
    _bytes("point", "point", "ST_GeomFromText('POINT(109.6 23.1)', 4326)"),
    _bytes("geometry", "geometry", "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"),
    _bytes("multipoint", "multipoint", "ST_GeomFromText('MULTIPOINT(0 0,1 1e-9)')"),
    _shown("uuid", "uuid", "'123e4567-e89b-12d3-a456-426655440000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
    _shown("inet6", "inet6", "'::1'", "'2001:db8::ff00:42:8329'", "'::ffff:192.0.2.1'"),
    _shown("inet4", "inet4", "'0.0.0.0'", "'255.255.255.255'"),
)

ZERO_DATES: Final = (
    Case(
        "zero date",
        "date",
        ("'0000-00-00'", "'2024-00-10'", "'2024-02-00'", "'2024-02-29'"),
        pa.string(),
        "text",
        as_text=True,
    ),
    Case(
        "zero datetime",
        "datetime(6)",
        ("'0000-00-00'", "'2024-00-10 01:02:03.000004'"),
        pa.string(),
        "text",
        as_text=True,
    ),
    Case(
        "zero timestamp",
        "timestamp NULL",
        ("'0000-00-00'", "'2024-02-29 01:02:03'"),
        pa.string(),
        "text",
        oracle=_IN_UTC,
        as_text=True,
    ),
)

TEXT_BY_CHOICE: Final = (
    Case("int as text", "int(5) unsigned zerofill", ("7", "123456"), pa.string(), "text", as_text=True),
    Case("decimal as text", "decimal(12,4)", ("-0.1000", "12345678.9"), pa.string(), "text", as_text=True),
    Case(
        "bit as text", "bit(64)", (str(2**64 - 1),), pa.string(), "text", oracle="CAST({c} + 0 AS CHAR)", as_text=True
    ),
    Case(
        "float as text",
        "float",
        ("0.1", "16777217"),
        pa.string(),
        "text",
        oracle="double",
        told=lambda v: float(v).hex(),
        as_text=True,
    ),
    Case("blob as text", "blob", (ALL_BYTES, "''"), pa.string(), "text", oracle="LOWER(HEX({c}))", as_text=True),
    Case(
        "gbk as text",
        "varchar(20)",
        ("'桂平市'",),
        pa.string(),
        "text",
        _UTF8,
        _hex_of_text,
        "CHARACTER SET gbk",
        as_text=True,
    ),
)

CARRIED_AS_TEXT: Final = tuple(case.name for case in CASES if case.carried == "text")
