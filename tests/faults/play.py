"""One run: the fleet starts, writers write, two lanes strike, invariants are watched; then all is healed and judged."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay_collector.demo.processes import DemoFailed
from tests.faults import judge, schedule
from tests.faults.fault import Fault
from tests.faults.fleet import Fleet
from tests.faults.invariants import Watch
from tests.faults.kinds import FAULTS
from tests.faults.schedule import Strike
from tests.faults.timeline import Timeline

_STRIKE_SECONDS: Final = 8.0
"""how long a fault waits for its proof beyond its time"""
_KEEP_S: Final = 0.5
_SAY_AGAIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """seconds: how long faults strike. only: names of kinds; empty: all."""

    seed: int
    seconds: float
    only: Sequence[str] = ()


def play(folder: Path, plan: Plan, timeline: Timeline) -> str:
    """-> the line that says how it went. Raises DemoFailed."""
    run = Run(folder, plan, timeline)
    try:
        return run.play()
    finally:
        run.close()


class Run:
    def __init__(self, folder: Path, plan: Plan, timeline: Timeline) -> None:
        self._plan = plan
        self._timeline = timeline
        self._failure: BaseException | None = None
        self._over = threading.Event()
        self._struck: Counter[str] = Counter()
        self._unproven: Counter[str] = Counter()
        self._excused: list[tuple[str, float, float]] = []
        self._fleet = Fleet(folder, plan.seed)
        self._watch = Watch(self._fleet, self._fail)
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._healed = threading.Event()

    def play(self) -> str:
        began = time.monotonic()
        self._fleet.start()
        self._timeline.say("the fleet runs")
        self._keeper.start()
        stuck = judge.settle(self._fleet, self._check)
        if stuck:
            raise DemoFailed(f"not quiet before any fault: {'; '.join(stuck)}")
        self._timeline.say("snapshots are whole: writers and faults begin")
        for writer in self._fleet.writers.values():
            writer.start()
        self._watch.start()
        deadline = time.monotonic() + self._plan.seconds
        lanes = [
            threading.Thread(target=self._lane, args=(lane, deadline), name=f"lane {lane}", daemon=True)
            for lane in range(len(schedule.LANES))
        ]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            while lane.is_alive():
                lane.join(0.5)
                self._check()
        for writer in self._fleet.writers.values():
            writer.stop()
        self._timeline.say("all is healed, writers have stopped")
        verdict = self._judged()
        self._timeline.say(f"judged: {verdict}")
        transactions = sum(writer.transactions for writer in self._fleet.writers.values())
        told = f"transactions={transactions} rows={verdict.rows} versions={verdict.versions} looks={self._watch.looks}"
        line = f"struck={self._struck.total()} {verdict} {told} seconds={time.monotonic() - began:.0f}"
        if not verdict.good:
            raise DemoFailed(f"{line}: {'; '.join(verdict.told)}")
        kinds = sorted(self._kinds)
        return f"{line}\nstruck: " + ", ".join(f"{name} {self._struck[name]}" for name in kinds)

    def close(self) -> None:
        self._over.set()
        self._watch.stop()
        self._keeper.join(30)
        self._fleet.stop()

    @property
    def _kinds(self) -> dict[str, type[Fault]]:
        only = set(self._plan.only)
        return {name: kind for name, kind in FAULTS.items() if not only or name in only}

    def _judged(self) -> judge.Verdict:
        stuck = judge.settle(self._fleet, self._check)
        self._check()
        self._watch.stop()
        verdict = judge.judge(self._fleet, self._is_excused)
        verdict.count("stuck", list(stuck), "after healing")
        return verdict

    def _lane(self, lane: int, deadline: float) -> None:
        kinds = {name: kind.on for name, kind in self._kinds.items()}
        try:
            if not any(place in on for on in kinds.values() for place in schedule.LANES[lane]):
                return
            for strike in schedule.strikes(self._plan.seed, lane, kinds):
                if self._over.wait(strike.pause_s) or time.monotonic() > deadline:
                    return
                self._strike(strike)
        except BaseException as error:
            self._fail(error)

    def _strike(self, strike: Strike) -> None:
        fault = FAULTS[strike.name](self._fleet, strike.place, random.Random(strike.seed))
        began = time.monotonic()
        self._timeline.say(f"{strike.name} at {strike.place} begins, for {strike.hold_s} s")
        proof = ""
        fault.inject()
        try:
            while not self._over.is_set():
                proof = fault.struck() or proof
                held = time.monotonic() - began
                if held > strike.hold_s and (proof or held > strike.hold_s + _STRIKE_SECONDS):
                    break
                time.sleep(0.1)
        finally:
            fault.heal()
        if fault.cuts_history:
            self._excused.append((strike.place, began - fault.cuts_history, time.monotonic()))
        (self._struck if proof else self._unproven)[strike.name] += 1
        took = time.monotonic() - began
        self._timeline.say(f"{strike.name} at {strike.place} healed after {took:.1f} s: {proof or 'it met nothing'}")

    def _keep(self) -> None:
        said: dict[tuple[str, int], float] = {}
        try:
            while not self._over.wait(_KEEP_S):
                for ended in self._fleet.keep():
                    if time.monotonic() - said.get(ended, 0.0) > _SAY_AGAIN_S:
                        self._timeline.say(f"{ended[0]} ended by itself with {ended[1]}, started again")
                        said[ended] = time.monotonic()
        except BaseException as error:
            self._fail(error)

    def _is_excused(self, place: str, at: float) -> bool:
        return any(where == place and began <= at <= ended for where, began, ended in self._excused)

    def _check(self) -> None:
        """Raises what broke."""
        if self._failure is not None:
            raise self._failure
        for writer in self._fleet.writers.values():
            if writer.failure is not None:
                raise DemoFailed(f"{writer.name}: {writer.failure!r}")

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._over.set()
