"""The fault harness itself: its schedule is the seed's, and its judge sees what is wrong."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults import schedule
from tests.faults.__main__ import regressions
from tests.faults.commands import ended
from tests.faults.intent import Intent, Row, Table, pair
from tests.faults.judge import Verdict, judge_history, judge_mirror
from tests.faults.kinds import FAULTS
from tests.faults.lake import Change, shaped
from tests.faults.tally import Tally

TABLE = Table("mariadb", "enterprise", "log")
KINDS = {name: kind.on for name, kind in FAULTS.items()}


def first(seed: int, lane: int, count: int) -> list[schedule.Strike]:
    return list(itertools.islice(schedule.strikes(seed, lane, KINDS), count))


def test_the_schedule_is_a_pure_function_of_the_seed() -> None:
    assert first(7, 0, 60) == first(7, 0, 60)
    assert first(7, 0, 60) != first(8, 0, 60)
    assert [strike.name for strike in first(7, 0, 60)] != [strike.name for strike in first(7, 1, 60)]


@pytest.mark.parametrize("lane", range(len(schedule.LANES)))
def test_every_deck_deals_each_kind_once_at_a_place_of_its_lane(lane: int) -> None:
    possible = {name for name, on in KINDS.items() if set(on) & set(schedule.LANES[lane])}
    for deck in (
        first(3, lane, 2 * len(possible))[: len(possible)],
        first(3, lane, 2 * len(possible))[len(possible) :],
    ):
        assert {strike.name for strike in deck} == possible
        assert all(strike.place in schedule.LANES[lane] and strike.place in KINDS[strike.name] for strike in deck)


def test_every_kind_can_strike_somewhere() -> None:
    assert {name for lane in range(2) for name in (strike.name for strike in first(1, lane, 60))} == set(KINDS)


def test_the_seeds_that_failed_once_are_kept_and_can_be_read() -> None:
    kept = regressions()
    assert kept
    assert all(set(plan.only) <= set(FAULTS) and plan.seconds > 0 for plan in kept)


def written() -> tuple[Intent, list[Row], list[Change]]:
    """Keys 0 to 3 at version 2: what was meant, and a mirror and a history that hold it."""
    intent = Intent(TABLE)
    changes: list[Change] = []
    for seq, version in enumerate((1, 2), 1):
        versions = pair(0, version) | pair(2, version)
        intent.meant(versions)
        intent.committed(versions, float(seq), deleted=False)
        rows = [shaped(TABLE.masked(key, version)) for key in versions]
        changes += [Change(1, seq, number, "u" if seq > 1 else "c", row) for number, row in enumerate(rows)]
    return intent, [shaped(TABLE.masked(key, 2)) for key in range(4)], changes


def not_excused(table: Table, at: float) -> bool:
    return False


def test_what_is_as_it_was_meant_is_good() -> None:
    intent, mirror, history = written()
    verdict = Verdict()
    judge_mirror(verdict, "t", intent, mirror)
    judge_history(verdict, "t", intent, history, not_excused)
    assert verdict.good
    assert (verdict.rows, verdict.versions) == (4, 8)


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("missing", lambda rows: rows[1:]),
        ("extra", lambda rows: [*rows, shaped(TABLE.masked(99, 1))]),
        ("extra", lambda rows: [*rows, rows[0]]),
        ("different", lambda rows: [shaped(TABLE.masked(0, 1)), *rows[1:]]),
        ("different", lambda rows: [shaped(TABLE.row(0, 2)), *rows[1:]]),
    ],
    ids=["a row is gone", "a row nobody wrote", "a key twice", "an older version", "a mask is missing"],
)
def test_a_spoilt_mirror_is_seen(what: str, spoil: Callable[[list[Row]], list[Row]]) -> None:
    intent, mirror, _ = written()
    verdict = Verdict()
    judge_mirror(verdict, "t", intent, spoil(mirror))
    assert getattr(verdict, what) == 1
    assert not verdict.good


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("lost", lambda changes: changes[1:]),
        ("doubled", lambda changes: [*changes, changes[0]]),
        ("doubled", lambda changes: [*changes, replace(changes[0], seq=9)]),
        ("extra", lambda changes: [*changes, replace(changes[0], seq=9, row=shaped(TABLE.masked(0, 7)))]),
    ],
    ids=["a version is gone", "a place twice", "a version twice", "a version nobody wrote"],
)
def test_a_spoilt_history_is_seen(what: str, spoil: Callable[[list[Change]], list[Change]]) -> None:
    intent, _, history = written()
    verdict = Verdict()
    judge_history(verdict, "t", intent, spoil(history), not_excused)
    assert getattr(verdict, what) >= 1
    assert not verdict.good


def test_what_was_rolled_back_was_never_meant() -> None:
    intent, mirror, _ = written()
    intent.meant(pair(0, 3))
    intent.rolled_back(pair(0, 3), deleted=False)
    verdict = Verdict()
    judge_mirror(verdict, "t", intent, [shaped(TABLE.masked(0, 3)), *mirror[1:]])
    assert not intent.may_hold(0, 3)
    assert verdict.different == 1


def test_a_kind_that_met_nothing_counts_nowhere_and_one_that_never_struck_is_named() -> None:
    tally = Tally(["EIO", "kill -9", "partition"])
    tally.note("EIO", "collector", "3 calls failed")
    tally.note("kill -9", "sqlite", "")
    assert tally.struck == 1
    assert tally.below(1) == ["kill -9", "partition"]
    assert tally.below(2) == ["EIO", "kill -9", "partition"]
    assert [line.split()[:1] for line in tally.lines()] == [["kind"], ["EIO"], ["kill"], ["partition"]]


def test_the_tallies_of_several_runs_add_up() -> None:
    whole = Tally(())
    for place in ("mariadb", "sqlite"):
        tally = Tally(["EIO", "partition"])
        tally.note("EIO", place, "1 call failed")
        whole.add(tally)
    assert (whole.struck, whole.below(1), whole.below(2)) == (2, ["partition"], ["partition"])
    assert [line for line in whole.lines() if "mariadb 1, sqlite 1" in line]


def test_a_time_in_which_the_harness_stood_still_makes_nobody_late() -> None:
    told = _of_frozen_process(seconds=4)
    assert told["now"] < 4 <= told["now"] + told["missed"]


def _of_frozen_process(seconds: float) -> dict[str, float]:
    """What the clock of a process says that was stopped for so long."""
    script = (
        "import json, sys\nfrom tests.faults.clock import CLOCK\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "print(json.dumps({'now': CLOCK.now, 'missed': CLOCK.missed}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)
        process.stdin.write("\n")
        process.stdin.close()
        told: dict[str, float] = json.loads(process.stdout.read())
        return told


def test_a_command_that_takes_too_long_is_ended_and_one_that_does_not_is_given_its_input() -> None:
    assert ended(["cat"], 30, "前池").stdout == "前池"
    with pytest.raises(subprocess.TimeoutExpired):
        ended(["sleep", "60"], 0.5)
