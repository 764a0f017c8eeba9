"""The end: what the writers meant, against what the sources and the platform hold. Everything is counted, nothing is excused
but what a remedy says by itself: changes between a gap of the log and the snapshot that closed it have no history."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.faults.clock import CLOCK
from tests.faults.departments import Department
from tests.faults.fleet import Fleet
from tests.faults.intent import COLUMNS, Intent, Table
from tests.faults.lake import Change, Lake, opened, shaped

QUIET_SECONDS: Final = 240.0
_LOOKS: Final = 3


@dataclass(slots=True)
class Verdict:
    """Counts over all tables; told: the first of each, in words."""

    rows: int = 0
    versions: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    doubled: int = 0
    lost: int = 0
    stuck: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.missing or self.extra or self.different or self.doubled or self.lost or self.stuck)

    def count(self, what: str, found: list[object], where: str) -> None:
        if found:
            setattr(self, what, getattr(self, what) + len(found))
            self.told.append(f"{where}: {what} {len(found)}, the first: {found[:3]}")

    def __str__(self) -> str:
        names = ("missing", "extra", "different", "doubled", "lost", "stuck")
        return " ".join(f"{name}={getattr(self, name)}" for name in names)


def settle(fleet: Fleet, check: Callable[[], None], seconds: float = QUIET_SECONDS) -> list[str]:
    """Waits until nothing waits anywhere and every mirror is as meant. -> what is stuck, in words."""
    deadline = CLOCK.now + seconds
    looks = 0
    while True:
        check()
        waits = _waits(fleet)
        looks = 0 if waits else looks + 1
        if looks == _LOOKS:
            return []
        if CLOCK.now > deadline:
            return waits
        time.sleep(0.5)


def judge(fleet: Fleet, excused: Callable[[Table, float], bool]) -> Verdict:
    """excused: whether a version that was committed at that moment may lack in the table's history."""
    verdict = Verdict()
    with opened(fleet.data) as lake:
        for department, intent in _intents(fleet):
            where = department.stream(intent.table)
            meant = {key: shaped(row) for key, row in intent.rows(masked=False).items()}
            source = department.execute(f"SELECT {', '.join(COLUMNS)} FROM {department.sql_name(intent.table)}")
            held = {int(row[0]): shaped(tuple(row)) for row in source}
            verdict.count(
                "different", [key for key in meant | held if meant.get(key) != held.get(key)], f"{where} source"
            )
            judge_mirror(verdict, where, intent, lake.mirror(department, intent.table))
            judge_history(verdict, where, intent, lake.history(department, intent.table), excused)
    return verdict


def judge_mirror(verdict: Verdict, where: str, intent: Intent, mirror: list[tuple[object, ...]]) -> None:
    meant = {key: shaped(row) for key, row in intent.rows(masked=True).items()}
    verdict.rows += len(meant)
    counted = Counter(row[0] for row in mirror)
    held = {row[0]: row for row in mirror}
    verdict.count("missing", [key for key in meant if key not in held], where)
    verdict.count("extra", [key for key in held if key not in meant], where)
    verdict.count("extra", [key for key, count in counted.items() if count > 1], f"{where} twice")
    verdict.count("different", [key for key, row in meant.items() if key in held and held[key] != row], where)


def judge_history(
    verdict: Verdict, where: str, intent: Intent, history: list[Change], excused: Callable[[Table, float], bool]
) -> None:
    """A history holds every place once, every version that was committed (of logs and triggers), once in each epoch but for
    copies, and leads to the mirror."""
    table = intent.table
    places = Counter((change.epoch, change.seq, change.number) for change in history)
    verdict.count("doubled", [place for place, count in places.items() if count > 1], f"{where} history")
    told = Counter((change.epoch, *change.row[:2]) for change in history if change.op in ("c", "u"))
    if table.mode != "cursor":
        verdict.count("doubled", [version for version, count in told.items() if count > 1], f"{where} history")
    held = {change.row[:2] for change in history if change.op != "d"}
    invented = [version for version in held if not intent.may_hold(*version)]  # type: ignore[arg-type]
    verdict.count("extra", list(invented), f"{where} history")
    committed = intent.log
    verdict.versions += len(committed)
    if table.mode != "cursor":
        lost = [
            (each.key, each.version)
            for each in committed
            if (each.key, each.version) not in held and not excused(table, each.at)
        ]
        verdict.count("lost", list(lost), f"{where} history")


def _waits(fleet: Fleet) -> list[str]:
    found = []
    for place, department in fleet.departments.items():
        states = fleet.status(place)
        for table in department.tables:
            each = states.get(department.stream(table))
            if each is None:
                found.append(f"{department.stream(table)}: the agent does not tell of it")
            elif each["state"] != "streaming" or each["loaded_seq"] != each["sealed_seq"] or not each["sealed_seq"]:
                found.append(
                    f"{each['stream']}: {each['state']} {each['epoch']} sealed={each['sealed_seq']}"
                    f" durable={each['durable_seq']} loaded={each['loaded_seq']} {each['code']} {each['reason']}"
                )
    if found:
        return found
    with opened(fleet.data) as lake:
        for department, intent in _intents(fleet):
            with contextlib.suppress(OSError):
                if not _is_equal(lake, department, intent):
                    found.append(f"{department.stream(intent.table)}: source and platform are not equal")
    return found


def _is_equal(lake: Lake, department: Department, intent: Intent) -> bool:
    meant = sorted(shaped(row) for row in intent.rows(masked=True).values())
    return sorted(lake.mirror(department, intent.table)) == meant


def _intents(fleet: Fleet) -> list[tuple[Department, Intent]]:
    return [(department, intent) for department in fleet.departments.values() for intent in department.intents]
