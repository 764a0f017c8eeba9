"""A collector with a stream that is loaded, one that is held and one of another department, and its console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay_collector.ledger.agents import put_certificate
from forebay_collector.platform.contract import PlatformError
from forebay_wire.stream import StreamName
from tests.consoling.console import Served
from tests.consoling.people import account
from tests.loading.stage import AGENT, Moody, Stage
from tests.receiving.batches import DEPARTMENT, STREAM, chained
from tests.receiving.collector import enrolled

HELD = StreamName(DEPARTMENT, "db", "main.permit")
OTHER = StreamName("民政局", "救助库", "public.低保")
REFUSAL = "column amount: 'ten' is not a number"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    opened = Stage(tmp_path / "collector")
    enrolled(opened.settings, opened.ledger, AGENT)
    opened.receive(chained(3))
    opened.receive(chained(3, HELD))
    opened.receive(chained(2, OTHER), agent="mzj-01")
    opened.loader().load_step(STREAM)
    refuses = PlatformError(REFUSAL, code="FB-TEST-REFUSES", permanent=True)
    opened.loader(Moody(opened.platform, lambda batch: refuses if batch.seq == 2 else None)).load_step(HELD)
    with opened.ledger.database.write() as connection:
        put_certificate(connection, "mzj-01", OTHER.department, "1f", 2**55, 1, hostname="m", version="0")
    yield opened
    opened.close()


@pytest.fixture
def served(stage: Stage) -> Iterator[Served]:
    for name, roles, departments in (
        ("ops", ["operator", "approver"], None),
        ("seer", ["viewer"], None),
        ("admin", ["administrator"], None),
        ("auditor", ["auditor"], None),
        ("mz", ["operator"], ["民政局"]),
    ):
        account(stage.ledger, name, roles, departments)
    with Served(stage) as running:
        yield running
