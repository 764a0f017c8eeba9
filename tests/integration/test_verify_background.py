"""In the background every table is covered, part by part; a round goes on over restarts, and what differs is put down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from forebay_collector.ledger import Ledger
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.platform.iceberg import IcebergPlatform
from forebay_collector.service import background
from forebay_collector.service.background import Background
from forebay_collector.settings import VerifySettings
from forebay_wire.stream import StreamName
from tests.integration.test_verify import ROWS, STREAM, Town

NAME = StreamName.parse(STREAM)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path, key="id")
    try:
        made.found()
        made.verify()
        yield made
    finally:
        made.end()


def test_a_round_covers_the_table_in_parts_goes_on_after_a_restart_and_tells_what_differs(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MOST_ROWS", 700)
    settings = VerifySettings(rows_per_second=100_000, cover=timedelta(hours=1))
    ledger = Ledger.open(town.folder / "data" / "ledger.db")
    platform = IcebergPlatform(town.folder / "data" / "platform")
    try:
        assert not Background(ledger, lambda: platform, settings).step(), "a new stream's first round is not due yet"
        (row,) = [row for row in ledger.coverage.listing() if row.stream == NAME]
        ledger.coverage.put(type(row)(row.stream_id, NAME))
        through = []
        while True:
            assert Background(ledger, lambda: platform, settings).step()  # each as after a restart
            (row,) = [row for row in ledger.coverage.listing() if row.stream == NAME]
            assert row.code == "", row.reason
            if row.round == 2:
                break
            through.append(row.part_after)
        assert through == ["699", "1399"]
        assert row.covered_at > 0
        assert row.next_at > row.covered_at
        newest = ledger.verifications.listing(stream=NAME)[0]
        assert (newest.asked_by, newest.state) == ("background", VerificationState.EQUAL)
        assert newest.result["source"] == newest.result["platform"]
        assert newest.result["source"]["rows"] == ROWS
        _, whole = town.verify()
        assert whole["source"]["digest"] == newest.result["source"]["digest"]

        town.change("UPDATE enterprise SET name = '改名' WHERE id = 1500")
        ledger.coverage.put(type(row)(row.stream_id, NAME, round=2, part_after="1399"))
        assert Background(ledger, lambda: platform, settings).step()
        newest = ledger.verifications.listing(stream=NAME)[0]
        assert newest.state is VerificationState.DIFFERENT
        assert newest.result["different"] == [{"id": "1500"}]
        assert newest.counts == {"missing": 0, "extra": 0, "different": 1}
        told = json.loads(town.run("verify", "--coverage", "--json").stdout)
        assert [each["round"] for each in told if each["stream"] == STREAM] == [3]
    finally:
        platform.close()
        ledger.close()
