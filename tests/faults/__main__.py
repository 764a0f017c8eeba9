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
from collections.abc import Sequence
from pathlib import Path

from forebay_collector.demo.processes import DemoFailed
from tests.faults.disks import keep_mounts_private
from tests.faults.kinds import FAULTS
from tests.faults.play import Plan, play
from tests.faults.tally import Tally
from tests.faults.timeline import Timeline


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="how long faults strike (default 10)")
    parser.add_argument("--seed", type=int, action="append", help="replays the run of that seed; may be given again")
    parser.add_argument("--only", action="append", choices=sorted(FAULTS), help="only this kind; may be given again")
    parser.add_argument("--regressions", action="store_true", help="plays the runs of seeds.txt, which failed once")
    arguments = parser.parse_args()
    keep_mounts_private()
    if arguments.regressions:
        return _run_all(regressions())
    seeds = arguments.seed or [random.SystemRandom().randrange(10**8)]
    return _run_all([Plan(seed, arguments.minutes * 60, tuple(arguments.only or ())) for seed in seeds])


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


def _run_all(plans: Sequence[Plan]) -> int:
    whole, failed = Tally(()), []
    for plan in plans:
        tally = Tally(plan.kinds)
        if not _run(plan, tally):
            failed.append(plan.seed)
        whole.add(tally)
    if len(plans) > 1:
        print("\n".join(whole.lines()))
        told = f"FAILED with seeds {', '.join(map(str, failed))}" if failed else "ok"
        print(f"faults of {len(plans)} runs {told}: struck={whole.struck}")
    return 1 if failed else 0


def _run(plan: Plan, tally: Tally) -> bool:
    """Whether all held."""
    head = f"seed={plan.seed} minutes={plan.seconds / 60:g}"
    print(f"faults: {head}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="forebay-faults-"))
    folder.chmod(0o755)  # the servers' own users go through it
    try:
        line = play(folder, plan, Timeline(), tally)
    except Exception as failure:
        if not isinstance(failure, DemoFailed):
            traceback.print_exc()
        print("\n".join(tally.lines()))
        print(f"kept in {folder}; replay with SEED={plan.seed}", file=sys.stderr)
        print(f"faults FAILED: {head} {failure!r}", flush=True)
        return False
    shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(tally.lines()))
    print(f"faults ok: {head} {line}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
