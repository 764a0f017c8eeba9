"""A running collector keeps the audit for as long as its settings say, and no longer."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from forebay_collector.founding import init
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.audit import record
from forebay_collector.ledger.verdict import EXPIRED
from forebay_collector.pipeline import Pipeline, Role
from forebay_collector.platform.iceberg.platform import IcebergPlatform
from forebay_collector.settings import load_settings


def test_a_running_collector_removes_what_is_older_than_its_settings_say(tmp_path: Path) -> None:
    path = init(tmp_path / "collector", ["127.0.0.1:7443"]).data.settings
    path.write_text(path.read_text().replace('#retention = "365d"', 'retention = "180d"'))
    settings = load_settings(tmp_path / "collector")
    ledger = Ledger.open(settings.data.ledger)
    now = ledger.database.clock()
    with ledger.database.write() as connection:
        for days in (400, 182, 179, 1):
            record(connection, now - timedelta(days=days) // timedelta(microseconds=1), "x", f"{days} days ago", "y")
    died: list[BaseException] = []
    pipeline = Pipeline(
        settings,
        frozenset({Role.LOAD}),
        lambda: IcebergPlatform(settings.data.platform),
        lambda _name, error: died.append(error),
    )
    pipeline.start()
    try:
        until = time.monotonic() + 30
        while (kept := ledger.audit.listing())[0].action != EXPIRED and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        pipeline.stop()
    assert [entry.action for entry in kept] == [EXPIRED, "1 days ago", "179 days ago"]
    assert ledger.audit.verify().ok
    assert died == []
    ledger.close()
