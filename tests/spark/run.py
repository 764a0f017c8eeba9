"""Loads tables, reads them with Spark, plain pyiceberg and DuckDB before and after compaction, compares row by row.

Ends with one line: `spark ok: tables=… rows=… …`, exit 0; or `spark FAILED: …`, exit 1.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

from forebay_collector.platform.iceberg import IcebergPlatform, Upkeep
from forebay_collector.platform.iceberg.names import history_of, mirror_of
from forebay_wire.stream import StreamName
from tests.contract.platform_batches import Row, batch, schema
from tests.contract.platform_model import Model
from tests.spark.engine import NotReady, Spark
from tests.spark.values import lines

_PLAIN: Final = StreamName("market", "enterprise", "main.enterprise")
_ANEW: Final = StreamName("market", "enterprise", "main.anew")
_ODD: Final = StreamName("市监局", "ent-db", "库.企业 年报_changes")
_NARROW: Final = {
    "id": pa.int32(),
    "name": pa.string(),
    "capital": pa.decimal128(9, 2),
    "ratio": pa.float32(),
    "listed": pa.bool_(),
    "founded": pa.date32(),
    "at": pa.timestamp("us"),
    "seen": pa.timestamp("us", tz="UTC"),
    "scan": pa.binary(),
    "old": pa.decimal128(38, 10),
}
_WIDE: Final = {
    **_NARROW,
    "id": pa.int64(),
    "capital": pa.decimal128(18, 2),
    "ratio": pa.float64(),
    "电话/no.": pa.string(),
}
_OTHER: Final = {
    "id": pa.string(),
    "电话/no.": pa.int32(),
    "capital": pa.decimal128(18, 2),
    "old": pa.string(),
}
_LOADS: Final = 30
_ROWS: Final = 3_000


def _values(chance: random.Random, key: int) -> dict[str, Any]:
    moment = dt.datetime(1000, 1, 1) + dt.timedelta(microseconds=chance.randrange(2**57))
    return {
        "id": key,
        "name": chance.choice(["𠮷野家", "贵港市荷城路", "", "x" * 300]),
        "capital": Decimal(chance.randrange(-(10**8), 10**8)).scaleb(-2),
        "ratio": chance.randrange(1000) / 8,
        "listed": chance.random() < 0.5,
        "founded": moment.date(),
        "at": moment,
        "seen": dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=chance.randrange(10**12)),
        "scan": chance.randbytes(chance.randrange(9)),
        "old": None if chance.random() < 0.3 else Decimal(chance.randrange(10**30)).scaleb(-10),
        "电话/no.": chance.choice([None, "0775-1"]),
    }


def _load(platform: IcebergPlatform, stream: StreamName, seed: int) -> Model:
    chance = random.Random(seed)
    model = Model()
    for seq in range(1, _LOADS + 1):
        described = schema(_NARROW if seq < 12 else _WIDE)
        keys = range(_ROWS) if seq == 1 else [chance.randrange(_ROWS + 500) for _ in range(chance.choice([1, 50, 400]))]
        rows: list[Row] = []
        for key in keys:
            op = "r" if seq == 1 else chance.choice("uuucd")
            values = _values(chance, key)
            rows.append((op, values, ["name"]) if op == "u" and chance.random() < 0.2 else (op, values))
        load = [batch(seq, rows, described, last=seq == 1)]
        platform.apply(stream, load)
        model.take(load)
    return model


def _take_anew(platform: IcebergPlatform, stream: StreamName, model: Model, seqs: range) -> None:
    """Part of a second epoch, in other columns and with another type of key, whose snapshot ends with seq 9."""
    described = schema(_OTHER)
    for seq in seqs:
        rows: list[Row] = []
        for key in range(seq * 100, seq * 100 + 300):
            values = {"id": f"文{key}", "电话/no.": key, "capital": Decimal(key).scaleb(-2), "old": str(seq)}
            rows.append(("r", values) if key % 5 else ("d", values))
        load = [batch(seq, rows, described, epoch=2, last=seq == 9, snapshot=1)]
        platform.apply(stream, load)
        model.take(load)


def _pyiceberg(folder: Path, tables: list[tuple[str, ...]]) -> list[list[str]]:
    catalog = SqlCatalog("forebay", uri=f"sqlite:///{folder / 'catalog.db'}")
    try:
        return [lines(catalog.load_table(table).scan().to_arrow().to_pylist()) for table in tables]
    finally:
        catalog.close()


def _duckdb(platform: IcebergPlatform, tables: list[tuple[str, ...]]) -> list[list[str]]:
    queries = [f'SELECT * FROM "{".".join(table[:-1])}"."{table[-1]}"' for table in tables]
    return [lines(platform.sql(query).read_all().to_pylist()) for query in queries]


def _compare(expected: list[list[str]], found: list[list[str]], who: str) -> None:
    for number, (mine, theirs) in enumerate(zip(expected, found, strict=True)):
        if mine != theirs:
            lost, extra = sorted(set(mine) - set(theirs)), sorted(set(theirs) - set(mine))
            example = f"only in pyiceberg: {lost[:1]}, only there: {extra[:1]}"
            raise AssertionError(
                f"{who}, table {number}: {len(theirs)} rows, {len(mine)} expected, {len(extra)} differ; {example}"
            )


def run(folder: Path) -> str:
    """-> what to print after `spark ok:`. Raises AssertionError, NotReady, RuntimeError."""
    spark = Spark.ready()
    home = folder / "platform"
    # whatever can be rewritten is
    upkeep = Upkeep(deleted_share=0.0, small_rows=10_000, merge_files=2, grace_s=0)
    platform = IcebergPlatform(home, upkeep=upkeep)
    try:
        models = {stream: _load(platform, stream, seed) for seed, stream in enumerate((_PLAIN, _ODD))}
        models[_ANEW] = _load(platform, _ANEW, 2)
        _take_anew(platform, _ANEW, models[_ANEW], range(1, 7))
        tables = [identify(stream).identifier for stream in models for identify in (mirror_of, history_of)]
        files = sum(table.files for table in platform.tables())
        before = _pyiceberg(home, tables)
        sizes = [size for model in models.values() for size in (len(model.shown.rows), len(model.history))]
        if [len(rows) for rows in before] != sizes:
            raise AssertionError(f"pyiceberg: {[len(rows) for rows in before]} rows, {sizes} expected")
        _compare(before, _duckdb(platform, tables), "DuckDB before compaction")
        _compare(before, spark.rows(home, tables, folder / "before"), "Spark before compaction")
        for stream in models:
            while platform.maintain(stream):
                pass
        compacted = sum(table.files for table in platform.tables())
        if compacted >= files:
            raise AssertionError(f"compaction left {compacted} of {files} files")
        _compare(before, _pyiceberg(home, tables), "pyiceberg after compaction")
        _compare(before, _duckdb(platform, tables), "DuckDB after compaction")
        _compare(before, spark.rows(home, tables, folder / "after"), "Spark after compaction")
        _take_anew(platform, _ANEW, models[_ANEW], range(7, 12))
        shown = _pyiceberg(home, tables)
        if len(shown[-2]) != len(models[_ANEW].shown.rows) or shown[-2] == before[-2]:
            raise AssertionError(f"pyiceberg: {len(shown[-2])} rows of the table that was taken anew")
        _compare(shown, _duckdb(platform, tables), "DuckDB after a table was taken anew")
        _compare(shown, spark.rows(home, tables, folder / "anew"), "Spark after a table was taken anew")
    finally:
        platform.close()
    return f"tables={len(tables)} rows={sum(sizes)} files={files} compacted={compacted} missing=0 extra=0 different=0"


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="forebay-spark-") as folder:
        try:
            print(f"spark ok: {run(Path(folder))}")
        except (AssertionError, NotReady, RuntimeError) as failure:
            print(f"spark FAILED: {failure}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
