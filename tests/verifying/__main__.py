"""`python -m tests.verifying`: differences planted in the platform are all found, named and repaired, under a workload.

MariaDB and PostgreSQL, one after the other. A seed fixes what is planted and changed; it is printed and replays.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from forebay_collector.demo.processes import DemoFailed
from tests.verifying import round as rounds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rate", type=int, default=1_000, help="changed rows a second (default 1000)")
    parser.add_argument("--differences", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None, help="replays the run of that seed")
    parser.add_argument("--only", choices=("mariadb", "postgresql"), action="append", help="only this one")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(10**8) if asked.seed is None else asked.seed
    print(f"verifying: seed={seed} rows={asked.rows} rate={asked.rate}", flush=True)
    failed = False
    for name in asked.only or ("mariadb", "postgresql"):
        folder = Path(tempfile.mkdtemp(prefix="forebay-verifying-"))
        folder.chmod(0o755)  # the servers' own users go through it
        try:
            line = getattr(rounds, name)(folder, asked.rows, asked.rate, asked.differences, seed)
        except DemoFailed as failure:
            print(f"{name} FAILED: seed={seed} {failure} (kept in {folder})", flush=True)
            failed = True
            continue
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{name}: {line}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
