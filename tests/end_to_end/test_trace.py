"""`trace` of a hundred rows of the demo, drawn by lot, each checked against the history that its source kept itself."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from forebay_collector.archive import LocalArchive
from forebay_collector.custody.trace import Trace, Version
from forebay_collector.demo.compare import _masked, _plain
from forebay_collector.demo.departments import Department
from forebay_collector.demo.fleet import Fleet, Site
from forebay_collector.ledger import Ledger
from forebay_collector.platform.iceberg import IcebergPlatform
from forebay_collector.service import custody
from forebay_collector.service.actor import Actor
from forebay_collector.settings import DataFolder
from forebay_wire.stream import StreamName
from tests.end_to_end.conftest import SMALL_ENTERPRISES, SMALL_LOW_INCOME, assert_equal
from tests.end_to_end.marks import begun, until

ROWS = 100
SEED = 20261128
SOMEONE = Actor.local("someone")
SiteOf = Callable[[Department], Site]
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Change:
    """One change, as the source kept it. row: None: it was deleted. at: microseconds."""

    row: tuple[object, ...] | None
    at: int


def keep_history(site: Site) -> None:
    """From now on the source writes down every change of its table by triggers of its own, beginning with what there is."""
    names = [site.database.quote(name) for name in site.department.columns]
    table, listed = site.department.table, ", ".join(names)
    now = "strftime('%s', 'now') * 1000000 + strftime('%f', 'now') * 1000000 % 1000000"
    with contextlib.closing(site.database.connect()) as connection:
        connection.execute(f"CREATE TABLE own_history (n INTEGER PRIMARY KEY, gone, at, {listed})")
        connection.execute(f"INSERT INTO own_history SELECT NULL, 0, 0, {listed} FROM {table} ORDER BY 1")
        for event, image, gone in (("INSERT", "NEW", 0), ("UPDATE", "NEW", 0), ("DELETE", "OLD", 1)):
            values = ", ".join(f"{image}.{name}" for name in names)
            connection.execute(
                f"CREATE TRIGGER own_{event} AFTER {event} ON {table} BEGIN "
                f"INSERT INTO own_history SELECT NULL, {gone}, {now}, {values}; END"
            )


def history_of(site: Site) -> dict[str, list[Change]]:
    """By the key's value as text, oldest first; values as the platform is to have them."""
    department = site.department
    with contextlib.closing(site.database.connect()) as connection:
        rows = connection.execute("SELECT * FROM own_history ORDER BY n").fetchall()
    found: dict[str, list[Change]] = {}
    for _, gone, at, *values in rows:
        row = tuple(
            _masked(department.masks.get(name), _plain(value))
            for name, value in zip(department.columns, values, strict=True)
        )
        found.setdefault(str(values[0]), []).append(Change(None if gone else row, int(at)))
    return found


def state_of(version: Version, department: Department) -> tuple[object, ...] | None:
    return None if version.op == "d" else tuple(_plain(version.values[name]) for name in department.columns)


def check(site: Site, traced: Trace, kept: list[Change]) -> None:
    """Each version is a state that the row had, in the order in which it had them, captured after it was so; the newest is the
    last; and every hand is named, in order of time."""
    place = 0
    for version in reversed(traced.versions):
        state = state_of(version, site.department)
        place = next((n for n in range(place, len(kept)) if kept[n].row == state), -1)
        assert place >= 0, (version, kept)
        assert version.custody == "whole", version
        whats = [hand.what for hand in version.hands]
        assert whats == ["captured and sealed", "received, archived, recorded", "loaded"], version
        assert [hand.who for hand in version.hands] == [site.department.agent, "collector", "loader"]
        times = [hand.at for hand in version.hands]
        assert times == sorted(times)
        assert times[0] >= kept[place].at - 1_000, version
        assert version.position
    assert kept[place].row == kept[-1].row, (traced, kept)
    assert traced.present == (kept[-1].row is not None)
    assert traced.found == len(traced.versions)


def test_a_hundred_rows_drawn_by_lot_are_traced_to_what_their_sources_kept(fleet: Fleet, site_of: SiteOf) -> None:
    sites = [site_of(SMALL_ENTERPRISES), site_of(SMALL_LOW_INCOME)]
    for site in sites:
        keep_history(site)
    fleet.start()
    until(lambda: begun(fleet))
    for site in sites:
        site.writer.start()
    until(lambda: all(site.writer.changes > 400 for site in sites))
    for site in sites:
        site.writer.stop()
    assert_equal(fleet, 240)
    fleet.stop()
    data, chance = DataFolder(fleet.data), random.Random(SEED)
    ledger, platform = Ledger.open(data.ledger), IcebergPlatform(data.platform)
    archive = LocalArchive(data.archive, writes=False)
    try:
        several = deleted = 0
        for site in sites:
            department, kept = site.department, history_of(site)
            stream = StreamName(department.name, department.source, f"main.{department.table}")
            # what came and went between two looks: whether it was seen is the mode's to promise
            lasting = [key for key in sorted(kept) if kept[key][-1].row is not None or not kept[key][0].at]
            changed = [key for key in lasting if len(kept[key]) > 1]
            drawn = chance.sample(changed, min(ROWS // 4, len(changed)))
            drawn += chance.sample([key for key in lasting if key not in drawn], ROWS // 2 - len(drawn))
            assert len(drawn) == ROWS // 2
            for key in drawn:
                traced = custody.trace(ledger, archive, platform, SOMEONE, stream, {department.key: key})
                check(site, traced, kept[key])
                several += len(traced.versions) > 1
                deleted += not traced.present
        assert several > 5
        assert deleted > 0
    finally:
        archive.close()
        platform.close()
        ledger.close()
