"""`make bench`: snapshot and end to end next to the databases' own clients, and the mirror's cost of changed keys.

Every figure is taken in the same run on the same rows. Prints a table and writes build/bench.json, a list of objects
with case, database, rows_per_s, client_rows_per_s, ratio, cpu_s_per_million_rows, peak_rss_mb, bytes_per_row.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
import pymysql

from bench import legal_entity, mirror
from bench.end_to_end import end_to_end
from bench.measure import Account, account
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

DATABASE = "bench"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result. 0: not measured for this case."""

    case: str
    database: str
    rows_per_s: float
    client_rows_per_s: float = 0.0
    ratio: float = 0.0
    cpu_s_per_million_rows: float = 0.0
    peak_rss_mb: float = 0.0
    bytes_per_row: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A database that holds the table. client: its own client reading the table to nowhere. access: for a source's file."""

    name: str
    client: Callable[[], Account]
    access: str
    table: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=50, help="rounds of changed keys in the mirror")
    parser.add_argument("--runs", type=int, default=3, help="runs of snapshot and client; the medians count")
    parser.add_argument("--only", default="", help="one of mariadb, postgresql, sqlite, mirror")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    folder = Path(tempfile.mkdtemp(prefix="forebay-bench-"))
    folder.chmod(0o755)
    try:
        rows_file = folder / "rows.csv"
        legal_entity.write_csv(rows_file, arguments.rows)
        for name, opened in (("mariadb", _mariadb), ("postgresql", _postgresql), ("sqlite", _sqlite)):
            if arguments.only in ("", name):
                with opened(folder, rows_file) as loaded:
                    figures += _database(folder, loaded, arguments.rows, arguments.runs)
        if arguments.only in ("", "mirror"):
            figures += _mirror(arguments.rows, arguments.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(figures)
    target = Path("build")
    target.mkdir(exist_ok=True)
    (target / "bench.json").write_text(json.dumps([asdict(figure) for figure in figures], indent=1), "utf-8")
    return 0


def _database(folder: Path, loaded: Loaded, rows: int, runs: int) -> list[Figure]:
    print(f"{loaded.name}: {rows} rows loaded, measuring", file=sys.stderr, flush=True)
    clients, snapshots = [], []
    for number in range(runs):
        clients.append(loaded.client())
        snapshots.append(_snapshot(folder / f"{loaded.name}-{number}", loaded))
    client = sorted(clients, key=lambda each: each.seconds)[runs // 2]
    told, spent = sorted(snapshots, key=lambda each: float(each[0]["seconds"]))[runs // 2]
    if told["rows"] != rows:
        raise RuntimeError(f"{loaded.name}: the snapshot sealed {told['rows']} of {rows} rows")
    client_speed = rows / client.seconds
    speed = rows / float(told["seconds"])
    bytes_per_row = float(told["bytes"]) / rows
    snapshot = Figure(
        "snapshot",
        loaded.name,
        speed,
        client_speed,
        speed / client_speed,
        spent.cpu_seconds / rows * 1e6,
        told["peak_mb"],
        bytes_per_row,
        f"client CPU {client.cpu_seconds / rows * 1e6:.2f} s/M",
    )
    home = folder / f"{loaded.name}-e2e"
    _configure(home / "agent", loaded)
    whole = end_to_end(home, home / "agent", rows)
    shutil.rmtree(home, ignore_errors=True)
    speed = rows / whole.seconds
    return [
        snapshot,
        Figure(
            "end_to_end",
            loaded.name,
            speed,
            client_speed,
            speed / client_speed,
            (whole.agent_cpu + whole.collector_cpu) / rows * 1e6,
            whole.agent_peak_mb,
            bytes_per_row,
            f"CPU s/M: agent {whole.agent_cpu / rows * 1e6:.2f}, collector {whole.collector_cpu / rows * 1e6:.2f}; "
            f"collector peak {whole.collector_peak_mb:.0f} MB",
        ),
    ]


def _snapshot(folder: Path, loaded: Loaded) -> tuple[dict[str, float], Account]:
    _configure(folder, loaded)
    spent = account([sys.executable, "-m", "bench.snapshot_process", str(folder)], keep=True)
    told: dict[str, float] = json.loads(spent.output)
    shutil.rmtree(folder, ignore_errors=True)
    return told, spent


def _configure(folder: Path, loaded: Loaded) -> None:
    (folder / "sources.d").mkdir(parents=True)
    (folder / "agent.toml").write_text('[agent]\nstate = "state"\n', "utf-8")
    (folder / "sources.d" / "bench.toml").write_text(
        f'{loaded.access}\n[[table]]\nname = "{loaded.table}"\nmode = "cursor"\ncursor = "id"\nunique_cursor = true\n',
        "utf-8",
    )


def _secret(folder: Path, name: str, value: str) -> Path:
    file = folder / f"{name}.password"
    file.touch(0o600)
    file.write_text(value, "utf-8")
    return file


@contextmanager
def _mariadb(folder: Path, rows: Path) -> Iterator[Loaded]:
    with MariaDB.start(folder / "mariadb", options=["--innodb-buffer-pool-size=1G"]) as server:
        with pymysql.connect(
            host="127.0.0.1", port=server.port, user=server.user, password=server.password, local_infile=True
        ) as connection:
            connection.cursor().execute(f"CREATE DATABASE {DATABASE}")
            connection.select_db(DATABASE)
            legal_entity.load_mariadb(connection, rows)
        secret = _secret(folder, "mariadb", server.password)
        command = ["mariadb", "--quick", "--batch", "-h127.0.0.1", f"-P{server.port}", f"-u{server.user}", DATABASE]
        query = f"SELECT * FROM {legal_entity.TABLE}"
        yield Loaded(
            "mariadb",
            lambda: account([*command, "-e", query], environment={"MYSQL_PWD": server.password}),
            f'kind = "mysql"\nhost = "127.0.0.1"\nport = {server.port}\ndatabase = "{DATABASE}"\nuser = "{server.user}"\n'
            f'password = {{ file = "{secret}" }}\ntls = "off"\n',
            f"{DATABASE}.{legal_entity.TABLE}",
        )


@contextmanager
def _postgresql(folder: Path, rows: Path) -> Iterator[Loaded]:
    with PostgreSQL.start(folder / "postgresql", options=["shared_buffers=512MB"]) as server:
        conninfo = f"host=127.0.0.1 port={server.port} user={server.user} dbname={server.database}"
        with psycopg.connect(conninfo, password=server.password, autocommit=True) as connection:
            legal_entity.load_postgresql(connection, rows)
        secret = _secret(folder, "postgresql", server.password)
        query = f"COPY (SELECT * FROM {legal_entity.TABLE}) TO STDOUT (FORMAT BINARY)"
        yield Loaded(
            "postgresql",
            lambda: account(["psql", "-q", conninfo, "-c", query], environment={"PGPASSWORD": server.password}),
            f'kind = "postgresql"\nhost = "127.0.0.1"\nport = {server.port}\ndatabase = "{server.database}"\n'
            f'user = "{server.user}"\npassword = {{ file = "{secret}" }}\ntls = "off"\n',
            f"public.{legal_entity.TABLE}",
        )


@contextmanager
def _sqlite(folder: Path, rows: Path) -> Iterator[Loaded]:
    file = folder / "bench.db"
    legal_entity.load_sqlite(file, rows)
    # there is no client library without Python here: the standard library's own cursor to nowhere
    script = (
        "import sqlite3, sys; cursor = sqlite3.connect(sys.argv[1]).execute(sys.argv[2])\n"
        "while cursor.fetchmany(10000): pass"
    )
    query = f"SELECT * FROM {legal_entity.TABLE}"
    yield Loaded(
        "sqlite",
        lambda: account([sys.executable, "-c", script, str(file), query]),
        f'kind = "sqlite"\npath = "{file}"\n',
        f"main.{legal_entity.TABLE}",
    )
    file.unlink()


def _mirror(rows: int, rounds: int) -> list[Figure]:
    result = mirror.run(rows, rounds)
    print(json.dumps(result, indent=1), file=sys.stderr)
    figures = []
    for what in ("bulk", "few"):
        part = result[what]
        seconds = part["commit_median_s"]
        note = f"{part['keys']} keys: commit median {seconds} s, max {part['commit_max_s']} s; maintain max {part['maintain_max_s']} s"
        cpu = result["cpu_s_per_million_rows"] if what == "bulk" else 0.0
        figures.append(
            Figure(
                "mirror",
                "iceberg",
                part["keys"] / seconds,
                cpu_s_per_million_rows=cpu,
                peak_rss_mb=result["peak_rss_mb"],
                note=note,
            )
        )
    return figures


def _print(figures: list[Figure]) -> None:
    print(
        f"{'case':14} {'database':11} {'rows/s':>9} {'client':>9} {'ratio':>6} {'CPU s/M':>8} {'peak MB':>8} {'B/row':>6}"
    )
    for each in figures:
        print(
            f"{each.case:14} {each.database:11} {each.rows_per_s:9,.0f} {each.client_rows_per_s:9,.0f} {each.ratio:6.2f} "
            f"{each.cpu_s_per_million_rows:8.2f} {each.peak_rss_mb:8.0f} {each.bytes_per_row:6.0f}  {each.note}"
        )


if __name__ == "__main__":
    sys.exit(main())
