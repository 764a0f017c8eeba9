"""One run: the fleet starts, writers write, two lanes strike, invariants are watched; then all is healed and judged."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay_collector.demo.processes import DemoFailed
from tests.faults import judge, schedule
from tests.faults.clock import CLOCK
from tests.faults.fault import Fault
from tests.faults.fleet import Fleet
from tests.faults.intent import Table
from tests.faults.invariants import Watch
from tests.faults.kinds import FAULTS
from tests.faults.schedule import Strike
from tests.faults.tally import Tally
from tests.faults.timeline import Timeline

_KEEP_S: Final = 0.5
_SAY_AGAIN_S: Final = 10.0
_SECONDS_EACH: Final = 900.0
_STOOD_STILL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """seconds: how long faults strike. only: names of kinds; empty: all."""

    seed: int
    seconds: float
    only: Sequence[str] = ()

    @property
    def kinds(self) -> dict[str, type[Fault]]:
        return {name: kind for name, kind in FAULTS.items() if not self.only or name in self.only}

    @property
    def at_least(self) -> int:
        """How often each kind has to strike: a run that is long enough and meets one less shows too little."""
        return int(self.seconds / _SECONDS_EACH)


def play(folder: Path, plan: Plan, timeline: Timeline, tally: Tally) -> str:
    """-> the line that says how it went. Raises DemoFailed. Every strike is noted in `tally`."""
    run = Run(folder, plan, timeline, tally)
    try:
        return run.play()
    finally:
        run.close()


class Run:
    def __init__(self, folder: Path, plan: Plan, timeline: Timeline, tally: Tally) -> None:
        self._plan = plan
        self._timeline = timeline
        self._failure: BaseException | None = None
        self._over = threading.Event()
        self._person = threading.Lock()
        self._tally = tally
        self._excused: list[tuple[Table, float, float]] = []
        self._fleet = Fleet(folder, plan.seed)
        self._watch = Watch(self._fleet, self._fail)
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def play(self) -> str:
        began = CLOCK.now
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
        deadline = CLOCK.now + self._plan.seconds
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
        line = f"struck={self._tally.struck} {verdict} {told} seconds={CLOCK.now - began:.0f}"
        if not verdict.good:
            raise DemoFailed(f"{line}: {'; '.join(verdict.told)}")
        if seldom := self._tally.below(self._plan.at_least):
            raise DemoFailed(f"{line}: struck fewer than {self._plan.at_least} times: {', '.join(seldom)}")
        return line

    def close(self) -> None:
        self._over.set()
        self._watch.stop()
        self._keeper.join(30)
        self._fleet.stop()

    def _judged(self) -> judge.Verdict:
        stuck = judge.settle(self._fleet, self._check)
        self._check()
        self._watch.stop()
        verdict = judge.judge(self._fleet, self._is_excused)
        verdict.count("stuck", list(stuck), "after healing")
        return verdict

    def _lane(self, lane: int, deadline: float) -> None:
        kinds = {name: kind.on for name, kind in self._plan.kinds.items()}
        try:
            if not any(place in on for on in kinds.values() for place in schedule.LANES[lane]):
                return
            for strike in schedule.strikes(self._plan.seed, lane, kinds):
                if self._over.wait(strike.pause_s) or CLOCK.now > deadline:
                    return
                with self._person if FAULTS[strike.name].by_hand else contextlib.nullcontext():
                    if CLOCK.now > deadline:  # the person was busy
                        return
                    self._strike(strike)
        except BaseException as error:
            self._fail(error)

    def _strike(self, strike: Strike) -> None:
        fault = FAULTS[strike.name](self._fleet, strike.place, random.Random(strike.seed))
        began = CLOCK.now
        self._timeline.say(f"{strike.name} at {strike.place} begins, for {strike.hold_s} s")
        proof = ""
        fault.inject()
        try:
            while not self._over.is_set():
                proof = fault.struck() or proof
                held = CLOCK.now - began
                if held > strike.hold_s and (proof or held > strike.hold_s + fault.proof_s):
                    break
                time.sleep(0.1)
        finally:
            fault.heal()
        self._excused += [(table, until, CLOCK.now) for table, until in fault.captured.items()]
        self._tally.note(strike.name, strike.place, proof)
        took = CLOCK.now - began
        self._timeline.say(f"{strike.name} at {strike.place} healed after {took:.1f} s: {proof or 'it met nothing'}")

    def _keep(self) -> None:
        said: dict[tuple[str, int], float] = {}
        missed = CLOCK.missed
        try:
            while not self._over.wait(_KEEP_S):
                if (still := CLOCK.missed - missed) > _STOOD_STILL_S:
                    self._timeline.say(f"the machine stood still for {still:.0f} s, which count nowhere")
                missed += still
                for ended in self._fleet.keep():
                    if CLOCK.now - said.get(ended, 0.0) > _SAY_AGAIN_S:
                        self._timeline.say(f"{ended[0]} ended by itself with {ended[1]}, started again")
                        said[ended] = CLOCK.now
        except BaseException as error:
            self._fail(error)

    def _is_excused(self, table: Table, at: float) -> bool:
        return any(which == table and until <= at <= ended for which, until, ended in self._excused)

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
