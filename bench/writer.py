"""One writer, as a process of its own: so many single-row transactions a second on one connection, evenly spaced.

`--kind insert` copies rows 1, 2, 3 … of `legal_entity` into the table; `update` changes two columns of rows in an order
given by a fixed seed. With `--out`, writes pairs of 64-bit numbers: the row's id, and when its commit returned
(CLOCK_MONOTONIC, nanoseconds: one clock for all processes).
"""

from __future__ import annotations

import argparse
import array
import random
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pymysql

from bench.legal_entity import TABLE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("dialect", "user", "database", "password-file", "table"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kind", choices=("insert", "update"), default="insert")
    parser.add_argument("--rows", type=int, required=True, help="transactions; for updates the ids to choose from")
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    run = _connected(asked)
    insert = f"INSERT INTO {asked.table} SELECT * FROM {TABLE} WHERE id = %s"
    update = f"UPDATE {asked.table} SET phone = %s, status = 1 - status WHERE id = %s"
    chosen = random.Random(4711)
    told = array.array("q")
    began = time.monotonic()
    number = 0
    # updates go on until the parent ends this process
    while asked.kind == "update" or number < asked.rows:
        number += 1
        wait = began + number / asked.rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        if asked.kind == "update":
            run(update, (f"0775-{number}", chosen.randint(1, asked.rows)))
            continue
        run(insert, (number,))
        told.extend((number, time.monotonic_ns()))
    if asked.out is not None:
        asked.out.write_bytes(told.tobytes())


def _connected(asked: argparse.Namespace) -> Callable[[str, tuple[object, ...]], object]:
    password = Path(asked.password_file).read_text("utf-8")
    if asked.dialect == "mariadb":
        connection = pymysql.connect(
            host="127.0.0.1",
            port=asked.port,
            user=asked.user,
            password=password,
            database=asked.database,
            autocommit=True,
            ssl_disabled=True,
        )
        return connection.cursor().execute
    session = psycopg.connect(
        host="127.0.0.1",
        port=asked.port,
        user=asked.user,
        password=password,
        dbname=asked.database,
        autocommit=True,
    )
    return lambda statement, values: session.execute(statement.encode(), values)


if __name__ == "__main__":
    main()
