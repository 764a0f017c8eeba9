"""Every type of MariaDB, its extremes, what the kernel may make of it, and the SQL that tells what the database holds."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from forebay_agent.kernel import binlog_table as kernel

RARE: Final = "𠮷㐀𬱖😀e\u0301中"
SHOWN: Final = "CAST({c} AS CHAR)"
NUMBER: Final = "CAST({c} + 0 AS CHAR)"
MOMENT: Final = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {c})"


def _single(value: Any) -> float:
    return float(struct.unpack("<f", struct.pack("<f", float(value)))[0])


_TOLD: Final[dict[int, Callable[[Any], Any]]] = {
    kernel.INT32: str,
    kernel.INT64: str,
    kernel.DECIMAL: lambda value: format(value, "f"),
    kernel.FLOAT: float,
    kernel.DOUBLE: float,
    kernel.BOOL: lambda value: str(int(value)),
    kernel.DATE: date.isoformat,
    kernel.TIMESTAMP: str,
    kernel.BYTES: lambda value: value.hex().upper(),
}
_SQL: Final = {
    kernel.FLOAT: "{c} * 1e0",
    kernel.DOUBLE: "{c} * 1e0",
    kernel.BYTES: "HEX({c})",
    kernel.HEX: "LOWER(HEX({c}))",
}


@dataclass(frozen=True, slots=True)
class Want:
    """A target, further fields of the WireColumn, and the SQL that tells of column {c} what must come out."""

    target: int
    sql: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def oracle(self) -> str:
        return (self.sql or _SQL.get(self.target, SHOWN)).replace("{c}", "c")

    def told(self, value: Any) -> Any:
        """What came out, as the oracle tells it."""
        if value is None:
            return None
        return _TOLD.get(self.target, lambda text: text.decode())(value)

    def said(self, text: str | None) -> Any:
        """What the oracle said, to be compared with."""
        if text is None or self.target not in (kernel.FLOAT, kernel.DOUBLE):
            return text
        return _single(text) if self.target == kernel.FLOAT else float(text)


@dataclass(frozen=True, slots=True)
class Case:
    """definition: of the column. values: SQL literals; NULL is added. setup: statements before the table is made."""

    definition: str
    values: tuple[str, ...]
    wants: tuple[Want, ...]
    table: str = ""
    setup: tuple[str, ...] = ()


def _integer(name: str, low: int, high: int, *targets: int) -> Case:
    unsigned = {"unsigned": "unsigned" in name}
    wants = [Want(target, options=unsigned) for target in targets]
    wants.append(Want(kernel.DECIMAL, options={"precision": 20, **unsigned}))
    wants.append(Want(kernel.TEXT, options=unsigned))
    return Case(name, (str(low), str(high), "0", "1", str(high // 3), str(low // 3)), tuple(wants))


def _decimal(precision: int, scale: int) -> Case:
    digits = ("1234567890" * 7)[:precision]
    texts = [digits, "9" * precision, "1".rjust(precision, "0"), "0" * precision, "1".ljust(precision, "0")]
    texts += [f"1{'0' * 8}".rjust(precision, "0")[:precision], "8".rjust(precision // 2 + 1, "0").ljust(precision, "0")]
    values = [f"{text[: precision - scale] or '0'}.{text[precision - scale :]}" for text in texts]
    wants = [Want(kernel.TEXT)]
    if precision <= 38:
        wants.append(Want(kernel.DECIMAL, options={"precision": precision, "scale": scale}))
    return Case(
        f"decimal({precision},{scale})", tuple(v for value in values for v in (value, f"-{value}")), tuple(wants)
    )


def _text(definition: str, *values: str, table: str = "") -> Case:
    return Case(definition, values, (Want(kernel.BYTES), Want(kernel.HEX)), table)


def _times(name: str, targets: tuple[Want, ...], values: tuple[str, ...]) -> list[Case]:
    return [Case(f"{name}({places}) NULL", values, targets) for places in range(7)]


_NUMBERS: Final = (kernel.INT32, kernel.INT64)
_BIT: Final = (Want(kernel.DECIMAL, NUMBER, {"precision": 20}), Want(kernel.TEXT, NUMBER))
_DATETIME: Final = (Want(kernel.TEXT), Want(kernel.TIMESTAMP, MOMENT))
_LABELS: Final = ("", "a'b", "中\\文", "c,d", ")")
_MANY: Final = tuple(f"label {number}" for number in range(300))
_SET: Final = tuple(f"s{number}" for number in range(64))
_OLD: Final = ("SET GLOBAL mysql56_temporal_format = OFF",)
_ALL_BYTES: Final = "X'" + bytes(range(256)).hex() + "'"


def _labelled(kind: str, labels: tuple[str, ...], *values: str) -> Case:
    quoted = ", ".join("'" + label.replace("\\", "\\\\").replace("'", "''") + "'" for label in labels)
    wants = (
        Want(kernel.TEXT, options={"labels": tuple(label.encode() for label in labels)}),
        Want(kernel.DECIMAL, "CAST({c} AS UNSIGNED)", {"precision": 20}),
    )
    return Case(f"{kind}({quoted})", values, wants)


CASES: Final = (
    _integer("tinyint", -128, 127, *_NUMBERS),
    _integer("tinyint unsigned", 0, 255, *_NUMBERS),
    _integer("smallint", -(2**15), 2**15 - 1, *_NUMBERS),
    _integer("smallint unsigned", 0, 2**16 - 1, *_NUMBERS),
    _integer("mediumint", -(2**23), 2**23 - 1, *_NUMBERS),
    _integer("mediumint unsigned", 0, 2**24 - 1, *_NUMBERS),
    _integer("int", -(2**31), 2**31 - 1, *_NUMBERS),
    _integer("int unsigned", 0, 2**32 - 1, kernel.INT64),
    _integer("bigint", -(2**63), 2**63 - 1, kernel.INT64),
    _integer("bigint unsigned", 0, 2**64 - 1),
    Case("tinyint(1)", ("0", "1"), (Want(kernel.BOOL), Want(kernel.INT32))),
    Case("int(5) unsigned zerofill", ("0", "7", "123456"), (Want(kernel.TEXT, options={"unsigned": True, "zerofill": 5}),)),
    Case("bigint(20) zerofill", ("0", str(2**64 - 1)), (Want(kernel.TEXT, options={"unsigned": True, "zerofill": 20}),)),
    Case("decimal(12,4) zerofill", ("0", "1.5", "12345678.9999"), (Want(kernel.TEXT, options={"zerofill": 13}),)),
    Case("year", ("0", "1901", "2000", "2155"), (Want(kernel.INT32, NUMBER), Want(kernel.TEXT))),
    *(_decimal(*size) for size in ((10, 0), (1, 0), (1, 1), (9, 9), (18, 2), (18, 9), (20, 12), (30, 15), (38, 0), (38, 10))),
    *(_decimal(*size) for size in ((38, 38), (39, 0), (40, 38), (65, 0), (65, 20), (65, 30), (65, 38), (56, 29))),
    Case("float", ("0.1", "-3.4028234663852886e38", "16777217", "1.1754943508222875e-38", "0"), (Want(kernel.FLOAT),)),
    Case("float", ("0.1", "-3.4028234663852886e38", "0"), (Want(kernel.DOUBLE),)),
    Case("double", ("0.1e0", "-1.7976931348623157e308", "5e-324", "-0e0", "123456.789"), (Want(kernel.DOUBLE),)),
    Case("bit(1)", ("b'0'", "b'1'"), (Want(kernel.BOOL, NUMBER), *_BIT)),
    Case("bit(7)", ("b'0'", "b'1111111'"), (Want(kernel.INT32, NUMBER), *_BIT)),
    Case("bit(8)", ("b'0'", "b'11111110'"), (Want(kernel.INT64, NUMBER), Want(kernel.BYTES, "LPAD(HEX(c), 2, '0')"), *_BIT)),
    Case("bit(63)", ("b'0'", str(2**63 - 1)), (Want(kernel.INT64, NUMBER), *_BIT)),
    Case("bit(64)", ("b'0'", str(2**64 - 1), str(2**63)), _BIT),
    Case("date", ("'0001-01-01'", "'9999-12-31'", "'1970-01-01'", "'2024-02-29'", "'1582-10-15'"), (Want(kernel.DATE), Want(kernel.TEXT))),
    Case("date", ("'0000-00-00'", "'2024-00-10'", "'2024-02-00'", "'2024-02-30'"), (Want(kernel.TEXT),)),
    *_times("time", (Want(kernel.TEXT),), ("'838:59:59.999999'", "'-838:59:59.999999'", "'00:00:00'", "'-00:00:00.5'", "'-12:34:56.789012'", "'100:00:00'", "'99:59:59.000001'", "'-00:00:01'")),
    *_times("datetime", _DATETIME, ("'0001-01-01'", "'9999-12-31 23:59:59'", "'2024-02-29 12:34:56.789012'", "'1969-12-31 23:59:59.000001'")),
    *_times("datetime", (Want(kernel.TEXT),), ("'0000-00-00'", "'2024-00-10 01:02:03.123456'", "'2024-02-30 23:59:59'")),
    *_times("timestamp", _DATETIME, ("'1970-01-01 00:00:01'", "'2038-01-19 03:14:07.999999'", "'2024-02-29 12:34:56.789012'", "'2000-03-01 00:00:00'")),
    *_times("timestamp", (Want(kernel.TEXT),), ("'0000-00-00'", "'2001-12-31 23:59:59.9'")),
    Case("time", ("'838:59:59'", "'-838:59:59'", "'00:00:00'", "'-01:02:03'"), (Want(kernel.TEXT),), setup=_OLD),
    Case("datetime", ("'1000-01-01'", "'9999-12-31 23:59:59'"), _DATETIME, setup=_OLD),
    Case("datetime", ("'0000-00-00'", "'2024-02-30 01:02:03'"), (Want(kernel.TEXT),), setup=_OLD),
    Case("timestamp NULL", ("'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"), _DATETIME, setup=_OLD),
    Case("timestamp NULL", ("'0000-00-00'", "'2020-02-29 01:02:03'"), (Want(kernel.TEXT),), setup=_OLD),
    _text("char(40)", "''", "'a'", "' b '", f"'{RARE}'"),
    _text("char(200)", "''", f"REPEAT('{RARE}', 20)"),
    _text("char(255)", "REPEAT('𠮷', 255)"),
    _text("varchar(60)", "''", "' '", "'a '", f"'{RARE}'"),
    _text("varchar(64)", "''", "REPEAT('𠮷', 64)"),
    _text("varchar(16000)", "''", "REPEAT('𠮷', 16000)"),
    _text("tinytext", "''", f"'{RARE}'", "REPEAT('x', 255)"),
    _text("text", f"REPEAT('{RARE}', 2000)", "''"),
    _text("mediumtext", f"REPEAT('{RARE}', 9000)", "''"),
    _text("longtext", f"REPEAT('{RARE}', 20000)", "''"),
    _text("json", '\'{"名": [1, 2.50, null, "𠮷"]}\''),
    _text("char(10) character set utf16", "'ab '", f"'{RARE}'", "''"),
    _text("varchar(40) character set ucs2", "'中㐀'", "''"),
    _text("varchar(40)", "'桂平市覃塘区'", "'镕'", table="CHARACTER SET gbk"),
    _text("char(40)", "'café ÿ€'", table="CHARACTER SET latin1"),
    _text("varbinary(300)", _ALL_BYTES, "''", "X'00'", "X'2000'"),
    _text("tinyblob", "X'FF00'", "''"),
    _text("blob", _ALL_BYTES, f"REPEAT({_ALL_BYTES}, 200)"),
    _text("mediumblob", f"REPEAT({_ALL_BYTES}, 400)"),
    _text("longblob", f"REPEAT({_ALL_BYTES}, 1000)"),
    _text("geometry", "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"),
    _text("point", "ST_GeomFromText('POINT(109.6 23.1)', 4326)"),
    Case("binary(5)", ("X'00'", "X'0102'", "''", "X'FFFFFFFFFF'", "X'0000000001'", "X'2020'"), (Want(kernel.BYTES, options={"padded": True}), Want(kernel.HEX, options={"padded": True}))),
    Case("binary(255)", (_ALL_BYTES[:-3] + "'", "''"), (Want(kernel.BYTES, options={"padded": True}),)),
    _labelled("enum", _LABELS, "''", "'a''b'", "'中\\\\文'", "')'", "'not one'"),
    _labelled("enum", _MANY, "'label 0'", "'label 255'", "'label 299'"),
    _labelled("set", ("一", "二", "x y"), "''", "'一'", "'一,x y'", "'一,二,x y'"),
    _labelled("set", ("a", "", "b"), "1", "2", "3", "5", "6", "7"),
    _labelled("set", ("", "a", "b"), "1", "2", "3", "5", "6", "7"),
    _labelled("set", _SET, "''", "'s0'", "'s63'", "'s0,s31,s32,s63'", str(2**64 - 1)),
    _labelled("set", _SET[:17], "'s16'", "'s0,s8,s16'"),
    Case("uuid", ("'123e4567-e89b-12d3-a456-426655440000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'01890a5d-ac96-774b-bcce-b302099a8057'", "'00000000-0000-0000-0000-000000000000'", "'123e4567-e89b-12d3-3456-426655440000'"), (Want(kernel.UUID),)),
    Case("inet4", ("'0.0.0.0'", "'255.255.255.255'", "'10.0.0.0'", "'1.2.3.4'"), (Want(kernel.INET4),)),
    Case("inet6", tuple(f"'{text}'" for text in ("::", "::1", "1::", "2001:db8::ff00:42:8329", "::ffff:192.0.2.1", "::192.0.2.1", "::ffff:0:1", "1:0:2:0:3:0:4:0", "1:0:0:2:0:0:0:3", "1:0:0:2:3:0:0:4", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0:1:1:1:1:1:1:1", "1:1:1:1:1:1:1:0", "::1:0:0", "::1:2")), (Want(kernel.INET6),)),
)  # fmt: skip
