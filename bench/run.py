"""`make bench`: snapshots, log capture and the whole way, next to the databases' own clients and readers of their logs.

Every figure is taken in the same run on the same rows. Prints a table, and where the agent's time went; writes
build/bench.json, a list of objects with the fields of `bench.figures.Figure`.

snapshot              legal_entity into sealed batches, mode cursor; client: the database's own, to nowhere
snapshot_log          the same in mode log, chunk by chunk; snapshot_log_writes: while rows change
end_to_end            from the database to loaded
verify                the agent reads the table for verification; verify_again: the next run over the unchanged table
log_bulk, log_single  a backlog of transactions of 1000 rows, of one row; client: the server's own reader of its log
huge_transaction      one transaction of `--huge-rows` rows
commit_to_sealed      milliseconds from a commit to the outbox's, at 500 transactions a second
mirror                what the mirror costs: keys replaced
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench import databases, latency, legal_entity, log, mirror, snapshot, verify
from bench.databases import Loaded
from bench.figures import Figure, show, write

CASES: Final = (
    "snapshot",
    "end_to_end",
    "verify",
    "log_bulk",
    "log_single",
    "huge_transaction",
    "commit_to_sealed",
    "mirror",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--single-rows", type=int, default=0, help="of log_single; 0: 15 %% of --rows")
    parser.add_argument("--huge-rows", type=int, default=0, help="of huge_transaction; 0: 250 %% of --rows")
    parser.add_argument("--rounds", type=int, default=50, help="rounds of changed keys in the mirror")
    parser.add_argument(
        "--runs", type=int, default=3, help="runs of snapshots, log captures and clients; medians count"
    )
    parser.add_argument("--only", default="", help="one of mariadb, postgresql, sqlite, mirror")
    parser.add_argument("--case", action="append", choices=CASES, default=[], help="some cases only")
    asked = parser.parse_args()
    figures: list[Figure] = []
    failed: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="forebay-bench-"))
    folder.chmod(0o755)
    try:
        rows_file = folder / "rows.csv"
        legal_entity.write_csv(rows_file, asked.rows)
        for name in ("mariadb", "postgresql", "sqlite"):
            if asked.only in ("", name) and asked.case != ["mirror"]:
                with getattr(databases, name)(folder, rows_file) as loaded:
                    _database(folder, loaded, asked, figures, failed)
        if asked.only in ("", "mirror") and (not asked.case or "mirror" in asked.case):
            figures += _mirror(asked.rows, asked.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(figures)
    write(figures)
    print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


def _database(
    folder: Path, loaded: Loaded, asked: argparse.Namespace, figures: list[Figure], failed: list[str]
) -> None:
    """A case that fails is told at the end; the others are measured all the same."""
    for case in CASES:
        if case in (asked.case or CASES):
            try:
                figures += _measured(folder, loaded, asked, case)
            except (RuntimeError, TimeoutError) as error:
                failed.append(f"{case} {loaded.name}: {error}")


def _measured(folder: Path, loaded: Loaded, asked: argparse.Namespace, case: str) -> list[Figure]:
    rows, runs = asked.rows, asked.runs
    if case == "snapshot":
        return snapshot.snapshots(folder, loaded, rows, runs)
    if case == "end_to_end":
        return [snapshot.whole_way(folder, loaded, rows)]
    if case == "verify":
        return verify.verify(folder, loaded, rows, runs)
    if loaded.log is None:
        return []
    if case == "log_bulk":
        return [log.catching_up(folder, loaded, case, rows, log.BULK_ROWS, runs)]
    if case == "log_single":
        return [log.catching_up(folder, loaded, case, asked.single_rows or rows * 3 // 20, 1, runs)]
    if case == "huge_transaction":
        return [log.huge_transaction(folder, loaded, asked.huge_rows or rows * 5 // 2)]
    if case == "commit_to_sealed":
        return [latency.commit_to_sealed(folder, loaded, rows)]
    return []


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


if __name__ == "__main__":
    sys.exit(main())
