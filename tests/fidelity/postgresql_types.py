"""PostgreSQL's types with their extremes, what each is carried as, and how the database is asked for the truth."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

ALL_BYTES: Final = bytes(range(256)).hex()
WIDE: Final = "贵港市港北区㐀𠮷𬱖😀"


_AS_SHOWN: Final = "CASE WHEN {c} IS NOT NULL THEN format('%s', {c}) END"


@dataclass(frozen=True, slots=True)
class Case:
    """One type. values: SQL expressions. oracle: SQL that tells a value {c} exactly as text; told: the same of ours.
    made: statements that must run before. as_text: the column is named in `as_text`."""

    name: str
    definition: str
    values: tuple[str, ...]
    arrow: pa.DataType = pa.string()  # noqa: RUF009 - types are values
    oracle: str = "{c}::text"
    told: Callable[[Any], str] = str
    made: tuple[str, ...] = ()
    as_text: bool = False

    @property
    def carried(self) -> str:
        return "text" if self.arrow == pa.string() and self.oracle in ("{c}::text", _AS_SHOWN) else "exact"


def _moment(value: datetime) -> str:
    return value.replace(tzinfo=None).isoformat(" ", "microseconds")


def _moment_utc(value: datetime) -> str:
    assert value.utcoffset() == datetime.now(UTC).utcoffset()
    return _moment(value)


def _hex(value: str) -> str:
    return value.encode().hex()


def _integer(name: str, bits: int, arrow: pa.DataType) -> Case:
    values = (f"'{-(2 ** (bits - 1))}'::{name}", "-1", "0", "1", str(2 ** (bits - 1) - 1))
    return Case(name, name, values, arrow, "{c}::text || ''")


def _decimal(definition: str, precision: int, scale: int, *values: str) -> Case:
    nines = "9" * (precision - scale) + ("." + "9" * scale if scale else "")
    all_values = (nines, f"-{nines}", "0", *values)
    return Case(definition, definition, all_values, pa.decimal128(precision, scale), "{c}::text || ''", "{:f}".format)


_TO_MICROSECOND: Final = "to_char({c}, 'YYYY-MM-DD HH24:MI:SS.US')"
_TEXT_VALUES: Final = ("''", f"'{WIDE}'", "' '", "'a  '", "E'tab\\tline\\nreturn\\r\\\\quote'''", "'NULL'", "'\\N'")
_NAN64: Final = ("'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "1.7976931348623157e308", "5e-324", "0.1", "1e23")
_NAN32: Final = ("'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "3.4028235e38", "1e-45", "0.1", "16777217")

EXACT: Final = (
    Case("boolean", "boolean", ("true", "false"), pa.bool_(), "{c}::int::text", lambda value: str(int(value))),
    _integer("smallint", 16, pa.int32()),
    _integer("integer", 32, pa.int32()),
    _integer("bigint", 64, pa.int64()),
    Case(
        "real",
        "real",
        _NAN32,
        pa.float32(),
        "encode(float4send({c}), 'hex')",
        lambda value: struct.pack("!f", value).hex(),
    ),
    Case(
        "double precision",
        "double precision",
        _NAN64,
        pa.float64(),
        "encode(float8send({c}), 'hex')",
        lambda value: struct.pack("!d", value).hex(),
    ),
    _decimal("numeric(38,10)", 38, 10, "0.0000000001", "-0.0000000001", "1", "10000", "0.0001", "123456789.987654321"),
    _decimal("numeric(38,38)", 38, 38, "0.00000000000000000000000000000000000001"),
    _decimal("numeric(38,0)", 38, 0, "1", "10000000000000000", "1e37"),
    _decimal("numeric(18,2)", 18, 2, "0.01", "1000000", "100.10"),
    _decimal("numeric(1,0)", 1, 0, "5"),
    _decimal("numeric(5)", 5, 0, "10000", "12000"),
    Case(
        "numeric(2,-3)",
        "numeric(2,-3)",
        ("99000", "-99000", "0", "1000"),
        pa.decimal128(5, 0),
        "{c}::text || ''",
        "{:f}".format,
    ),
    Case(
        "numeric(3,5)",
        "numeric(3,5)",
        ("0.00999", "-0.00999", "0.00001", "0"),
        pa.decimal128(5, 5),
        "{c}::text || ''",
        "{:f}".format,
    ),
    Case(
        "date",
        "date",
        ("'0001-01-01'", "'1000-01-01'", "'1582-10-10'", "'1986-05-04'", "'2000-02-29'", "'9999-12-31'"),
        pa.date32(),
        "to_char({c}, 'YYYY-MM-DD')",
        lambda value: value.isoformat(),
    ),
    Case(
        "timestamp",
        "timestamp",
        (
            "'0001-01-01 00:00:00'",
            "'1000-01-01 00:00:00.000001'",
            "'1986-05-04 00:30:00'",
            "'1999-12-31 23:59:59.999999'",
            "'9999-12-31 23:59:59.999999'",
        ),
        pa.timestamp("us"),
        _TO_MICROSECOND,
        _moment,
    ),
    Case("timestamp(0)", "timestamp(0)", ("'2024-02-29 12:34:56'",), pa.timestamp("us"), _TO_MICROSECOND, _moment),
    Case(
        "timestamptz",
        "timestamptz",
        (
            "'0001-01-01 00:00:00+00'",
            "'1900-01-01 00:00:00+08:05:43'",
            "'1986-05-04 02:30:00 Asia/Shanghai'",
            "'2024-10-27 02:30:00.000001+01'",
            "'9999-12-31 23:59:59.999999+00'",
        ),
        pa.timestamp("us", tz="UTC"),
        _TO_MICROSECOND.replace("{c}", "{c} AT TIME ZONE 'UTC'"),
        _moment_utc,
    ),
    Case("text", "text", _TEXT_VALUES, oracle="encode(textsend({c}), 'hex')", told=_hex),
    Case("varchar", "varchar", _TEXT_VALUES, oracle="encode(varcharsend({c}), 'hex')", told=_hex),
    Case("varchar(12)", "varchar(12)", (f"'{WIDE}'", "''"), oracle="encode(varcharsend({c}), 'hex')", told=_hex),
    Case(
        "char(18)",
        "char(18)",
        ("'91450800MA5K000150'", "'x'", "''", "'𠮷 '"),
        oracle="encode(bpcharsend({c}), 'hex')",
        told=_hex,
    ),
    Case("bpchar", "bpchar", ("'x  '", "''"), oracle="encode(bpcharsend({c}), 'hex')", told=_hex),
    Case("name", "name", ("'贵港'", "''"), oracle="encode(namesend({c}), 'hex')", told=_hex),
    Case(
        "bytea",
        "bytea",
        (f"'\\x{ALL_BYTES}'", "''", "'\\x00'", "'\\xff00'"),
        pa.binary(),
        "encode({c}, 'hex')",
        lambda value: value.hex(),
    ),
    Case(
        "domain over numeric",
        "amount",
        ("99999999.99", "-0.01"),
        pa.decimal128(10, 2),
        "{c}::text || ''",
        "{:f}".format,
        made=("CREATE DOMAIN money_amount AS numeric(10,2)", "CREATE DOMAIN amount AS money_amount CHECK (VALUE <> 7)"),
    ),
    Case(
        "domain over char",
        "uscc",
        ("'91450800MA5K000150'", "'short'"),
        oracle="encode(bpcharsend({c}), 'hex')",
        told=_hex,
        made=("CREATE DOMAIN uscc AS char(18)",),
    ),
    Case(
        "generated",
        "integer GENERATED ALWAYS AS (id * 2) STORED",
        ("DEFAULT", "DEFAULT"),
        pa.int32(),
        "{c}::text || ''",
    ),
)

_BIGGEST: Final = "repeat('9', 45) || '.' || repeat('9', 20)"
AS_TEXT: Final = (
    Case(
        "numeric",
        "numeric",
        ("'NaN'", "'Infinity'", "'-Infinity'", "0", "1.10", "1e1000", "1e-1000", f"('1' || {_BIGGEST})::numeric"),
    ),
    Case("numeric(65,20)", "numeric(65,20)", (f"({_BIGGEST})::numeric", "'NaN'", "0", "-1.5")),
    Case("numeric(39,0)", "numeric(39,0)", ("repeat('9', 39)::numeric", "0")),
    Case("uuid", "uuid", ("'00000000-0000-0000-0000-000000000000'", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'")),
    Case("time", "time", ("'00:00'", "'24:00'", "'23:59:59.999999'")),
    Case("time(0)", "time(0)", ("'12:34:56'",)),
    Case("timetz", "timetz", ("'00:00+15:59'", "'24:00-15:59'", "'12:00:00.000001+08:05:43'")),
    Case(
        "interval",
        "interval",
        ("'0'", "'1 year 2 mons -3 days 04:05:06.000007'", "'-178000000 years'", "'838:59:59'", "'-1 microsecond'"),
    ),
    Case("inet", "inet", ("'10.0.0.1'", "'10.0.0.1/8'", "'::1'", "'fe80::1/64'", "'255.255.255.255'")),
    Case("cidr", "cidr", ("'10.0.0.0/8'", "'2001:db8::/32'")),
    Case("macaddr", "macaddr", ("'08:00:2b:01:02:03'", "'ff:ff:ff:ff:ff:ff'")),
    Case("macaddr8", "macaddr8", ("'08:00:2b:01:02:03:04:05'",)),
    Case("money", "money", ("'0'", "'-92233720368547758.08'", "'92233720368547758.07'")),
    Case("bit(1)", "bit(1)", ("B'0'", "B'1'")),
    Case("bit(64)", "bit(64)", (f"B'{'1' * 64}'", f"B'{'0' * 63}1'")),
    Case("varbit", "bit varying", ("B''", "B'101'")),
    Case("json", "json", ("""'{"b": 1, "a" :2, "a":3,  "n": 1.10, "u": "\\u8d35"}'""", "'null'", "'\"𠮷\"'", "' 1 '")),
    Case("jsonb", "jsonb", ("""'{"b": 1, "a": 2, "n": 1.10, "中": "😀"}'""", "'null'", "'[]'", "'1e100'")),
    Case("jsonpath", "jsonpath", ("'$.a[*] ? (@ > 1)'",)),
    Case("xml", "xml", ("'<a b=\"1\">贵港</a>'", "'<?xml version=\"1.0\"?><a/>'", "''"), oracle=_AS_SHOWN),
    Case("enum", "mood", ("'高兴'", "'sad''s'"), made=("CREATE TYPE mood AS ENUM ('高兴', 'sad''s')",)),
    Case(
        "composite",
        "pair",
        ("ROW(1, 'a\"b,c')", "ROW(NULL, '')", "ROW(1, NULL)"),
        made=("CREATE TYPE pair AS (n int, s text)",),
    ),
    Case("integer[]", "integer[]", ("'{}'", "'{1,NULL,-2147483648}'", "'[0:1]={1,2}'", "'{{1,2},{3,4}}'")),
    Case("text[]", "text[]", ("ARRAY['', NULL, 'NULL', 'a,b', 'q\"', E'\\\\', '{}', '𠮷 ']",)),
    Case("numeric[]", "numeric[]", ("'{NaN,1.10,-Infinity}'",)),
    Case("double precision[]", "double precision[]", ("'{0.1,1e23,NaN,5e-324}'",)),
    Case("timestamptz[]", "timestamptz[]", ("'{infinity,\"2024-01-01 00:00:00+08\"}'",)),
    Case("bytea[]", "bytea[]", ("ARRAY['\\x00ff'::bytea]",)),
    Case("int4range", "int4range", ("'empty'", "'[1,5]'", "'(,)'", "'[2147483646,)'")),
    Case("int8range", "int8range", ("'[1,9223372036854775807)'",)),
    Case("numrange", "numrange", ("'[1.10,NaN]'",)),
    Case("daterange", "daterange", ("'[0044-03-15 BC,infinity]'",)),
    Case("tsrange", "tsrange", ("'[-infinity,\"2024-01-01 00:00:00.000001\")'",)),
    Case("tstzrange", "tstzrange", ("'[\"2024-01-01 00:00:00+08\",)'",)),
    Case("int4multirange", "int4multirange", ("'{[1,3),[5,9)}'", "'{}'")),
    Case("point", "point", ("'(0.1,-1e300)'", "'(NaN,Infinity)'")),
    Case("line", "line", ("'{1,2,3}'",)),
    Case("lseg", "lseg", ("'[(0,0),(0.1,1)]'",)),
    Case("box", "box", ("'(1,1),(0,0)'",)),
    Case("path", "path", ("'((0,0),(1,1))'", "'[(0,0),(1,1)]'")),
    Case("polygon", "polygon", ("'((0,0),(1,1),(1,0))'",)),
    Case("circle", "circle", ("'<(0.1,0),2>'",)),
    Case("tsvector", "tsvector", ("'''a b'':1A 贵港:2'",)),
    Case("tsquery", "tsquery", ("'a & !b | ''c d'''",)),
    Case("oid", "oid", ("0", "4294967295")),
    Case("regclass", "regclass", ("'pg_catalog.pg_class'", "0")),
    Case("regtype", "regtype", ("'integer'",)),
    Case("regproc", "regproc", ("'pg_catalog.now'",)),
    Case("regprocedure", "regprocedure", ("'pg_catalog.now()'",)),
    Case("regoper", "regoper", ("'pg_catalog.||/'",)),
    Case("regoperator", "regoperator", ("'pg_catalog.+(integer,integer)'",)),
    Case("regrole", "regrole", ("'pg_read_all_stats'",)),
    Case("regnamespace", "regnamespace", ("'pg_catalog'",)),
    Case("regconfig", "regconfig", ("'pg_catalog.simple'",)),
    Case("regdictionary", "regdictionary", ("'pg_catalog.simple'",)),
    Case("regcollation", "regcollation", ("'pg_catalog.\"C\"'",)),
    Case('"char"', '"char"', ("'a'", "''", "'\\377'")),
    Case("xid", "xid", ("'4294967295'",)),
    Case("xid8", "xid8", ("'18446744073709551615'",)),
    Case("cid", "cid", ("'4294967295'",)),
    Case("tid", "tid", ("'(4294967295,65535)'",)),
    Case("pg_lsn", "pg_lsn", ("'0/0'", "'FFFFFFFF/FFFFFFFF'")),
    Case("pg_snapshot", "pg_snapshot", ("'10:20:10,14'",)),
    Case("txid_snapshot", "txid_snapshot", ("'10:20:10,14'",)),
    Case("int2vector", "int2vector", ("'1 2 -3'",)),
    Case("oidvector", "oidvector", ("'1 4294967295'",)),
    Case("aclitem", "aclitem", ("'pg_read_all_stats=r/pg_read_all_stats'",)),
    Case("refcursor", "refcursor", ("'portal'",)),
    Case("gtsvector", "gtsvector", ()),
    Case("domain over array", "ints", ("'{1,2}'",), made=("CREATE DOMAIN ints AS int[]",)),
    Case("hstore", "hstore", ('\'a=>NULL, "b c"=>"d\\""\'',), made=("CREATE EXTENSION hstore",)),
    Case("citext", "citext", ("'MiXed 贵港'", "''"), made=("CREATE EXTENSION citext",)),
    Case("ltree", "ltree", ("'a.b.c'",), made=("CREATE EXTENSION ltree",)),
)

BY_CHOICE: Final = (
    Case("date as text", "date", ("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'"), as_text=True),
    Case(
        "timestamp as text",
        "timestamp",
        ("'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'"),
        as_text=True,
    ),
    Case("timestamptz as text", "timestamptz", ("'infinity'", "'1986-05-04 12:00:00+09'"), as_text=True),
    Case("numeric(10,2) as text", "numeric(10,2)", ("'NaN'", "1.10"), as_text=True),
    Case("boolean as text", "boolean", ("true", "false"), as_text=True),
    Case("bytea as text", "bytea", (f"'\\x{ALL_BYTES}'", "''"), as_text=True),
    Case("double as text", "double precision", _NAN64, as_text=True),
    Case("real as text", "real", _NAN32, as_text=True),
)

INTERNAL: Final = frozenset(
    {
        "pg_node_tree",
        "pg_ndistinct",
        "pg_dependencies",
        "pg_mcv_list",
        "pg_brin_bloom_summary",
        "pg_brin_minmax_multi_summary",
    }
)
"""types that take no input: they live in the system's own catalogues"""
