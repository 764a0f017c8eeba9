"""`python -m tests.workloads`: pgbench, sysbench, and DDL under load, each captured in mode log and judged independently.

A seed fixes kills, statements and rows; it is printed and replays. What failed is kept in its folder.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from forebay_collector.demo.processes import DemoFailed
from tests.workloads import pgbench, sysbench
from tests.workloads.ddl import rounds

WORKLOADS: dict[str, list[tuple[str, Callable[[Path, int, float], str]]]] = {
    "pgbench": [("pgbench", pgbench.run)],
    "sysbench": [("sysbench", sysbench.run)],
    "ddl": [
        ("ddl postgresql", rounds.postgresql),
        ("ddl mariadb, binlog_row_metadata=FULL", rounds.mariadb_full),
        ("ddl mariadb, binlog_row_metadata=NO_LOG", rounds.mariadb_plain),
    ],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="how long each load runs (default 60)")
    parser.add_argument("--seed", type=int, default=None, help="replays the run of that seed")
    parser.add_argument("--only", choices=sorted(WORKLOADS), action="append", help="only this one; may be given again")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**8) if arguments.seed is None else arguments.seed
    print(f"workloads: seed={seed} seconds={arguments.seconds:g}", flush=True)
    failed = False
    for kind, runs in WORKLOADS.items():
        if arguments.only and kind not in arguments.only:
            continue
        for title, play in runs:
            print(f"{title}:", flush=True)
            failed |= not _play(play, seed, arguments.seconds, title)
    return 1 if failed else 0


def _play(play: Callable[[Path, int, float], str], seed: int, seconds: float, title: str) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="forebay-workload-"))
    folder.chmod(0o755)  # the servers' own users go through it
    began = time.monotonic()
    try:
        line = play(folder, seed, seconds)
    except DemoFailed as failure:
        print(f"kept in {folder}; replay with SEED={seed}", file=sys.stderr)
        print(f"{title} FAILED: seed={seed} {failure}", flush=True)
        return False
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{line} seed={seed} seconds={time.monotonic() - began:.0f}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
