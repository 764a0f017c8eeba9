"""`python -m tests.faults`: faults of every kind strike a running fleet; then nothing is lost, doubled, different or stuck.

The seed fixes workload and schedule; it is printed and replays. docs/faults.md tells how to read a failure.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from forebay_collector.demo.processes import DemoFailed
from tests.faults.kinds import FAULTS
from tests.faults.play import Plan, play
from tests.faults.timeline import Timeline


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="how long faults strike (default 10)")
    parser.add_argument("--seed", type=int, default=None, help="replays the run of that seed")
    parser.add_argument("--only", action="append", choices=sorted(FAULTS), help="only this kind; may be given again")
    parser.add_argument("--regressions", action="store_true", help="plays the runs of seeds.txt, which failed once")
    arguments = parser.parse_args()
    if arguments.regressions:
        return max(_run(plan) for plan in regressions())
    seed = random.SystemRandom().randrange(10**8) if arguments.seed is None else arguments.seed
    return _run(Plan(seed, arguments.minutes * 60, tuple(arguments.only or ())))


def regressions() -> list[Plan]:
    """What `seeds.txt` holds."""
    lines = Path(__file__).with_name("seeds.txt").read_text("utf-8").splitlines()
    plans = []
    for line in lines:
        if line.strip() and not line.startswith("#"):
            seed, minutes, *only = line.split(maxsplit=2)
            kinds = tuple(name.strip() for name in only[0].split(",")) if only else ()
            plans.append(Plan(int(seed), float(minutes) * 60, kinds))
    return plans


def _run(plan: Plan) -> int:
    head = f"seed={plan.seed} minutes={plan.seconds / 60:g}"
    print(f"faults: {head}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="forebay-faults-"))
    folder.chmod(0o755)  # the servers' own users go through it
    try:
        line = play(folder, plan, Timeline())
    except Exception as failure:
        if not isinstance(failure, DemoFailed):
            traceback.print_exc()
        print(f"kept in {folder}; replay with SEED={plan.seed}", file=sys.stderr)
        print(f"faults FAILED: {head} {failure!r}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print(f"faults ok: {head} {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
