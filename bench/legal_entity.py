"""The benchmark's table: `legal_entity`, 14 columns of what a market regulator keeps, about 230 bytes a row as Arrow.

DuckDB makes the rows from a fixed hash of their number (the same rows each time) and writes one CSV file; each database
loads it with its own bulk loader.
"""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path
from typing import Final

import duckdb

TABLE: Final = "legal_entity"
COLUMNS: Final = (
    ("id", "BIGINT", "BIGINT", "INTEGER"),
    ("uscc", "CHAR(18)", "VARCHAR(18)", "TEXT"),
    ("name", "VARCHAR(120)", "VARCHAR(120)", "TEXT"),
    ("legal_person", "VARCHAR(60)", "VARCHAR(60)", "TEXT"),
    ("entity_type", "VARCHAR(40)", "VARCHAR(40)", "TEXT"),
    ("registered_capital", "DECIMAL(18,2)", "NUMERIC(18,2)", "REAL"),
    ("currency", "CHAR(3)", "VARCHAR(3)", "TEXT"),
    ("established", "DATE", "DATE", "TEXT"),
    ("approved_at", "DATETIME(6)", "TIMESTAMP", "TEXT"),
    ("status", "TINYINT", "SMALLINT", "INTEGER"),
    ("is_listed", "TINYINT(1)", "SMALLINT", "INTEGER"),
    ("address", "VARCHAR(200)", "VARCHAR(200)", "TEXT"),
    ("phone", "VARCHAR(20)", "VARCHAR(20)", "TEXT"),
    ("updated_at", "DATETIME(6)", "TIMESTAMP", "TEXT"),
)
NAMES: Final = tuple(column[0] for column in COLUMNS)

_ROWS: Final = """
COPY (
  SELECT
    i AS id,
    '91450800MA' || upper(substr(md5(i::VARCHAR), 1, 8)) AS uscc,
    '贵港市' || ['港北', '港南', '覃塘', '平南', '桂平'][1 + i % 5] || substr(md5((i * 7)::VARCHAR), 1, 6)
      || ['粮油贸易', '建筑劳务', '农机服务', '羽绒制品', '物流运输'][1 + (hash(i) % 5)::BIGINT] || '有限责任公司' AS name,
    ['覃', '韦', '黄', '梁', '欧阳', '陈'][1 + (hash(i + 1) % 6)::BIGINT] || ['伟', '芳', '秀英', '建国', '泽宇'][1 + (hash(i + 2) % 5)::BIGINT]
      AS legal_person,
    ['有限责任公司(自然人独资)', '个体工商户', '农民专业合作社', '股份有限公司'][1 + (hash(i + 3) % 4)::BIGINT] AS entity_type,
    (hash(i + 4) % 1000000000) / 100.0 AS registered_capital,
    'CNY' AS currency,
    strftime(DATE '1996-01-01' + (hash(i + 5) % 10000)::INTEGER, '%Y-%m-%d') AS established,
    strftime(TIMESTAMP '2010-01-01' + to_microseconds((hash(i + 6) % 500000000000000)::BIGINT), '%Y-%m-%d %H:%M:%S.%f')
      AS approved_at,
    hash(i + 7) % 4 AS status,
    hash(i + 8) % 2 AS is_listed,
    '广西贵港市' || ['港北区荷城路', '港南区江南大道', '桂平市西山镇', '平南县大安镇'][1 + (hash(i + 9) % 4)::BIGINT]
      || (hash(i + 10) % 900)::VARCHAR || '号' AS address,
    CASE WHEN hash(i + 11) % 4 = 0 THEN NULL ELSE '0775-' || (4000000 + hash(i + 12) % 999999)::VARCHAR END AS phone,
    strftime(TIMESTAMP '2026-01-01' + to_microseconds(i * 1000000), '%Y-%m-%d %H:%M:%S.%f') AS updated_at
  FROM range(1, $rows + 1) t(i)
) TO '$file' (FORMAT CSV, HEADER false, NULLSTR '\\N')
"""


def write_csv(file: Path, rows: int) -> None:
    """Writes the rows; an existing file of the same name is taken as it is."""
    if file.exists():
        return
    scratch = file.with_suffix(".part")
    duckdb.sql(_ROWS.replace("$rows", str(rows)).replace("$file", str(scratch)))
    scratch.rename(file)


def create_statements(dialect: str) -> list[str]:
    place = {"mariadb": 1, "postgresql": 2, "sqlite": 3}[dialect]
    lines = [f"{column[0]} {column[place]}" + (" PRIMARY KEY" if column[0] == "id" else "") for column in COLUMNS]
    suffix = " DEFAULT CHARSET=utf8mb4" if dialect == "mariadb" else ""
    return [f"CREATE TABLE {TABLE} ({', '.join(lines)}){suffix}"]


def load_mariadb(connection, file: Path) -> None:  # type: ignore[no-untyped-def]
    """`connection`: pymysql with local_infile."""
    cursor = connection.cursor()
    cursor.execute(create_statements("mariadb")[0])
    cursor.execute(
        f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {TABLE} CHARACTER SET utf8mb4 "
        "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' LINES TERMINATED BY '\\n'"
    )
    cursor.execute(f"ANALYZE TABLE {TABLE}")
    connection.commit()


def load_postgresql(connection, file: Path) -> None:  # type: ignore[no-untyped-def]
    """`connection`: psycopg with autocommit."""
    connection.execute(create_statements("postgresql")[0])
    with (
        connection.cursor().copy(f"COPY {TABLE} FROM STDIN (FORMAT csv, NULL '\\N')") as copy,
        file.open("rb") as source,
    ):
        while block := source.read(1 << 20):
            copy.write(block)
    connection.execute(f"VACUUM ANALYZE {TABLE}")


def load_sqlite(database: Path, file: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(create_statements("sqlite")[0])
    with file.open(newline="", encoding="utf-8") as source:
        rows = ([None if value == "\\N" else value for value in row] for row in csv.reader(source))
        connection.executemany(f"INSERT INTO {TABLE} VALUES ({', '.join('?' * len(COLUMNS))})", rows)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
