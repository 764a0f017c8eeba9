"""What the mirror costs: a snapshot of `legal_entity` loaded, then rounds of 100,000 and of 1,000 random keys replaced.

Only `apply` and `maintain` are timed; the batches are made before. CPU seconds are the whole process's.
`python -m bench.mirror [--rows N] [--rounds N]`
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from forebay_collector.platform.contract import OpenedBatch
from forebay_collector.platform.iceberg import IcebergPlatform
from forebay_wire.schema import TableSchema, column
from forebay_wire.stream import StreamName

STREAM: Final = StreamName("market", "bench", "main.legal_entity")
BATCH_ROWS: Final = 50_000
GROUP_BATCHES: Final = 4
BULK_KEYS: Final = 100_000
FEW_KEYS: Final = 1_000
_TYPES: Final = {
    "id": pa.int64(),
    "uscc": pa.string(),
    "name": pa.string(),
    "legal_person": pa.string(),
    "entity_type": pa.string(),
    "registered_capital": pa.decimal128(18, 2),
    "currency": pa.string(),
    "established": pa.date32(),
    "approved_at": pa.timestamp("us"),
    "status": pa.int32(),
    "is_listed": pa.bool_(),
    "address": pa.string(),
    "phone": pa.string(),
    "updated_at": pa.timestamp("us"),
}
_SCHEMA: Final = TableSchema.of([column(name, kind, str(kind)) for name, kind in _TYPES.items()], ["id"])
_ROWS: Final = """
SELECT
  i AS id,
  '91450800MA' || upper(substr(md5(i::VARCHAR), 1, 8)) AS uscc,
  '贵港市' || ['港北', '港南', '覃塘', '平南', '桂平'][1 + i % 5] || substr(md5((i * 7)::VARCHAR), 1, 6)
    || ['粮油贸易', '建筑劳务', '农机服务', '羽绒制品', '物流运输'][1 + (hash(i) % 5)::BIGINT] || '有限责任公司' AS name,
  ['覃', '韦', '黄', '梁', '欧阳', '陈'][1 + (hash(i + 1) % 6)::BIGINT]
    || ['伟', '芳', '秀英', '建国', '泽宇'][1 + (hash(i + 2) % 5)::BIGINT] AS legal_person,
  ['有限责任公司(自然人独资)', '个体工商户', '农民专业合作社', '股份有限公司'][1 + (hash(i + 3) % 4)::BIGINT] AS entity_type,
  ((hash(i + 4) % 1000000000) / 100.0)::DECIMAL(18, 2) AS registered_capital,
  'CNY' AS currency,
  (DATE '1996-01-01' + (hash(i + 5) % 10000)::INTEGER)::DATE AS established,
  TIMESTAMP '2010-01-01' + to_microseconds((hash(i + 6) % 500000000000000)::BIGINT) AS approved_at,
  (hash(i + 7) % 4)::INTEGER AS status,
  hash(i + 8) % 2 = 1 AS is_listed,
  '广西贵港市' || ['港北区荷城路', '港南区江南大道', '桂平市西山镇', '平南县大安镇'][1 + (hash(i + 9) % 4)::BIGINT]
    || (hash(i + 10) % 900)::VARCHAR || '号' AS address,
  CASE WHEN hash(i + 11) % 4 = 0 THEN NULL ELSE '0775-' || (4000000 + hash(i + 12) % 999999)::VARCHAR END AS phone,
  TIMESTAMP '2026-01-01' + to_microseconds(i * 1000000) AS updated_at,
  $op AS _op, '0000-' || i AS _position, NULL::TIMESTAMPTZ AS _committed_at, NULL::VARCHAR[] AS _absent
FROM ($keys) t(i)
"""


@dataclass(slots=True)
class Timing:
    """Seconds of each call."""

    commit: list[float] = field(default_factory=list)
    maintain: list[float] = field(default_factory=list)

    def told(self) -> dict[str, float]:
        return {
            "commit_median_s": round(statistics.median(self.commit), 3),
            "commit_max_s": round(max(self.commit), 3),
            "maintain_median_s": round(statistics.median(self.maintain), 3),
            "maintain_max_s": round(max(self.maintain), 3),
        }


def run(rows: int, rounds: int) -> dict[str, Any]:
    """Loads `rows` rows, then replaces keys `rounds` times, printing each round. Checks the mirror's count and keys."""
    with tempfile.TemporaryDirectory(prefix="forebay-mirror-") as folder:
        platform = IcebergPlatform(Path(folder))
        try:
            return _run(platform, rows, rounds)
        finally:
            platform.close()


def _run(platform: IcebergPlatform, rows: int, rounds: int) -> dict[str, Any]:
    connection = duckdb.connect(config={"threads": 2})
    seq = 0
    loaded = cpu = 0.0
    for group in _groups(connection, rows):
        batches = [_batch(seq + number, part) for number, part in enumerate(group, 1)]
        seq += len(batches)
        began, cpu_began = time.perf_counter(), _cpu()
        platform.apply(STREAM, batches)
        platform.maintain(STREAM)
        loaded += time.perf_counter() - began
        cpu += _cpu() - cpu_began
    print(f"snapshot: {rows} rows in {loaded:.2f} s, {rows / loaded:,.0f} rows/s, {cpu / rows * 1e6:.2f} CPU s/M rows")
    bulk, few = Timing(), Timing()
    for number in range(1, rounds + 1):
        for keys, timing in ((min(BULK_KEYS, rows // 2), bulk), (min(FEW_KEYS, rows // 2), few)):
            picked = f"SELECT range + 1 FROM range({rows}) USING SAMPLE reservoir({keys} ROWS) REPEATABLE ({number})"
            parts = _made(connection, picked, "u", keys)
            batches = [_batch(seq + place, part) for place, part in enumerate(parts, 1)]
            seq += len(batches)
            began = time.perf_counter()
            platform.apply(STREAM, batches)
            committed = time.perf_counter()
            platform.maintain(STREAM)
            timing.commit.append(committed - began)
            timing.maintain.append(time.perf_counter() - committed)
        print(
            f"round {number}: bulk {bulk.commit[-1]:.3f} + {bulk.maintain[-1]:.3f} s, "
            f"few {few.commit[-1]:.3f} + {few.maintain[-1]:.3f} s",
            flush=True,
        )
    counted = platform.sql("SELECT count(*), count(DISTINCT id), max(_seq) FROM legal_entity").read_all().to_pylist()
    held = list(counted[0].values())
    if held[:2] != [rows, rows]:
        raise RuntimeError(f"the mirror holds {held[0]} rows of {held[1]} keys; {rows} expected")
    return {
        "case": "mirror",
        "rows": rows,
        "rounds": rounds,
        "rows_per_s": round(rows / loaded),
        "cpu_s_per_million_rows": round(cpu / rows * 1e6, 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "files": {table.kind: table.files for table in platform.tables()},
        "bulk": {"keys": min(BULK_KEYS, rows // 2), **(bulk.told() if rounds else {})},
        "few": {"keys": min(FEW_KEYS, rows // 2), **(few.told() if rounds else {})},
    }


def _groups(connection: duckdb.DuckDBPyConnection, rows: int) -> Iterator[list[pa.RecordBatch]]:
    step = BATCH_ROWS * GROUP_BATCHES
    for start in range(0, rows, step):
        keys = f"SELECT range + 1 FROM range({start}, {min(rows, start + step)})"
        yield _made(connection, keys, "r", BATCH_ROWS)


def _made(connection: duckdb.DuckDBPyConnection, keys: str, op: str, batch_rows: int) -> list[pa.RecordBatch]:
    query = _ROWS.replace("$op", f"'{op}'").replace("$keys", keys)
    made = connection.sql(query).to_arrow_table().cast(_SCHEMA.arrow)
    return [
        made.slice(start, batch_rows).combine_chunks().to_batches()[0] for start in range(0, made.num_rows, batch_rows)
    ]


def _batch(seq: int, rows: pa.RecordBatch) -> OpenedBatch:
    return OpenedBatch(1, seq, _SCHEMA, rows)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.rows, arguments.rounds)))


if __name__ == "__main__":
    main()
