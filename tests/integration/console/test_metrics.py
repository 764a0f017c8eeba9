"""The collector's `/metrics`: who may ask, what is served, and that it is what is listed and what is so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from forebay_collector import __version__
from forebay_collector.errors import ConfigurationError
from forebay_collector.ledger import chain, verifications
from forebay_collector.ledger.canaries import CanaryRecord
from forebay_collector.ledger.heartbeats import Beat, StreamSaid
from forebay_collector.ledger.proposals import Column, Decided, ProposalRecord
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.metrics.exposition import KEPT_S
from forebay_collector.metrics.host import MetricsHost
from forebay_collector.metrics.tally import Tally
from forebay_collector.service import identity, tokens, users
from forebay_collector.settings import MetricsSettings
from tests.consoling.console import Served
from tests.consoling.people import ROOT
from tests.integration.console.conftest import HELD, OTHER
from tests.loading.stage import AGENT, Stage
from tests.monitoring import listing
from tests.monitoring.served import Page
from tests.receiving.batches import DEPARTMENT, STREAM, chained
from tests.servers.ports import closed_port

SECOND = 1_000_000
OURS = {"agent": AGENT, "department": DEPARTMENT}
LABELS = {**OURS, "source": STREAM.source, "stream": str(STREAM)}
HELD_LABELS = {**OURS, "source": HELD.source, "stream": str(HELD)}


def no_death(name: str, error: BaseException) -> None:
    raise AssertionError(f"{name} died") from error


def host(stage: Stage, tally: Tally | None = None, **metrics: str) -> MetricsHost:
    settings = replace(stage.settings, metrics=MetricsSettings(**metrics))
    told: dict[str, Any] = {"roles": ["receive", "load"], "workers": [], "connections": lambda: 2, "died": no_death}
    return MetricsHost(settings, stage.ledger, tally or Tally(), **told)


@contextmanager
def at_the_console(stage: Stage) -> Iterator[str]:
    """-> the address of /metrics at a console's."""
    made = host(stage)
    with Served(stage, beside=[made.route()]) as served:
        yield f"{served.address}/metrics"
    made.stop()


def page_of(made: MetricsHost) -> Page:
    answer = httpx.get(f"{made.address}/metrics", timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(answer.text)


@pytest.fixture
def own(stage: Stage) -> Iterator[MetricsHost]:
    """At an address of its own on the loopback, looking anew each time."""
    made = host(stage, listen=f"127.0.0.1:{closed_port()}")
    made.start()
    yield made
    made.stop()


def beat(stage: Stage, **health: Any) -> None:
    """What its agent says of itself, of its two streams and of a canary."""
    now = stage.ledger.database.clock()
    said = {"epoch": 1, "state": "streaming", "sealed_seq": 5, "rows_captured": 15, "code": "", "log_hours_left": 36.0}
    told = {
        "outbox": {"batches": 2, "bytes": 300, "cap_bytes": 1_000, "full": False},
        "clock_offset_us": -8 * SECOND,
        "agent_rss_bytes": 90_000_000,
        "agent_cpu_seconds": 12.5,
        **health,
    }
    streams = {
        str(STREAM): StreamSaid("", json.dumps({"stream": str(STREAM), **said})),
        str(HELD): StreamSaid("", json.dumps({"stream": str(HELD), **said, "paused": True, "state": "waiting"})),
    }
    canary = CanaryRecord(AGENT, STREAM.source, "row", now - 400 * SECOND, now - 900 * SECOND, 2_500_000, "", "")
    stage.ledger.heartbeats.write(
        [Beat(AGENT, now, json.dumps(told), streams, [], True, [canary], None, None, opening=False)]
    )


def test_what_is_served_is_what_is_listed_and_what_is_so(stage: Stage, own: MetricsHost) -> None:
    beat(stage)
    stage.ledger.approvals.propose(
        AGENT,
        [
            ProposalRecord(
                *(STREAM, AGENT, (Column("id", "bigint", "int64", ""),), ("id",), "log", "", "每日", "", "", 0, 0, 0),
                Decided(),
            )
        ],
        complete=True,
        automatic=False,
    )
    number = stage.ledger.streams.get(STREAM)
    assert number is not None
    with stage.ledger.database.write() as connection:
        at = stage.ledger.database.clock()
        asked = verifications.ask(connection, number.id, asked_by="ops", via="cli", why="", at=at)
        verifications.end(connection, asked, VerificationState.DIFFERENT, at)
    told = page_of(own)
    told.assert_is(listing.of_collector())

    def of_agent(name: str) -> float | None:
        return told.value(f"forebay_collector_agent_{name}", **OURS)

    def of_stream(name: str, **labels: str) -> float | None:
        return told.value(f"forebay_collector_stream_{name}", **(labels or LABELS))

    heard = of_agent("last_heartbeat_timestamp_seconds")
    assert heard is not None
    assert abs(heard - time.time()) < 60
    assert (of_agent("outbox_bytes"), of_agent("outbox_capacity_bytes"), of_agent("outbox_full")) == (300, 1_000, 0)
    assert (of_agent("clock_offset_seconds"), of_agent("cpu_seconds_total")) == (-8, 12.5)
    assert told.value("forebay_collector_agent_state", **OURS, state="red") == 1, "a stream of it is held"
    assert (of_stream("batches_sealed_total"), of_stream("batches_durable_total")) == (5, 3)
    assert (of_stream("batches_loaded_total"), of_stream("outbox_batches")) == (3, 2)
    assert (of_stream("quarantined_batches"), of_stream("quarantined_batches", **HELD_LABELS)) == (0, 1)
    assert (of_stream("backlog_batches"), of_stream("backlog_batches", **HELD_LABELS)) == (0, 2)
    assert of_stream("log_remaining_seconds") == 36 * 3_600
    assert (of_stream("update_cycle_seconds"), of_stream("update_cycle_seconds", **HELD_LABELS)) == (86_400, None)
    assert (of_stream("verification_differs"), of_stream("verification_differs", **HELD_LABELS)) == (1, None)
    assert of_stream("last_change_timestamp_seconds") == 1_700_000_000, "its batches say so"
    assert told.value("forebay_collector_stream_state", **HELD_LABELS, state="held") == 1
    canary = {**OURS, "source": STREAM.source}
    assert told.value("forebay_collector_canary_round_trip_seconds", **canary) == 2.5
    late = told.value("forebay_collector_canary_late_seconds", **canary)
    assert late is not None
    assert late >= 400
    assert told.value("forebay_collector_upload_connections") == 2
    assert told.value("forebay_collector_info", version=__version__, roles="load,receive") == 1


def test_the_audit_head_that_is_told_is_the_chains(stage: Stage, own: MetricsHost) -> None:
    with stage.ledger.database.read() as connection:
        head = chain.head(connection)
    told = page_of(own)
    assert told.value("forebay_collector_audit_entries_total") == head.entries
    digest = told.value("forebay_collector_audit_head_digest")
    assert digest is not None
    assert int(digest).to_bytes(6, "big") == head.digest[:6]


def test_the_archives_size_is_what_its_files_take_as_batches_come_and_go(stage: Stage) -> None:
    tally = Tally()
    made = host(stage, tally, listen=f"127.0.0.1:{closed_port()}")
    made.start()
    try:
        more = chained(4, OTHER)[2:]
        stage.receive(more, agent="mzj-01")
        tally.count_durable(sum(batch.size for batch in more), [0.01, 0.02])
        over = stage.ledger.batches.expirable(stage.ledger.database.clock() + 1, 1)
        for batch in over:
            stage.archive.delete(batch.stream, batch.epoch, batch.seq)
        stage.ledger.batches.mark_expired(over)
        tally.count_removed(sum(batch.bytes for batch in over))
        kept = sum(one.bytes for one in stage.ledger.batches.listing(limit=100) if not one.expired_at)
        until(lambda: page_of(made).value("forebay_collector_archive_bytes") == kept)
        assert page_of(made).value("forebay_collector_durable_ack_seconds_bucket", le="0.01") == 1
        assert page_of(made).value("forebay_collector_durable_ack_seconds_count") == 2
    finally:
        made.stop()


def test_at_the_console_only_a_token_opens_and_it_opens_what_its_departments_are(stage: Stage) -> None:
    users.create(stage.ledger, ROOT, "prometheus", ["viewer"], None)
    users.create(stage.ledger, ROOT, "theirs", ["auditor"], [OTHER.department])
    every = tokens.make_token(stage.ledger, ROOT, "scrapes", roles=["viewer"], account="prometheus")
    theirs = tokens.make_token(stage.ledger, ROOT, "scrapes", roles=["auditor"], account="theirs")
    with at_the_console(stage) as address:

        def ask(token: str = "", scheme: str = "Bearer") -> httpx.Response:
            headers = {"authorization": f"{scheme} {token}"} if token else {}
            return httpx.get(address, headers=headers, timeout=60)

        for refused in (ask(), ask("fba1_wrong"), ask(every.text[:-1]), ask(every.text, "Basic"), ask("\x7f")):
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")
            assert DEPARTMENT not in refused.text
        told = ask(every.text)
        assert told.status_code == 200
        assert told.headers["content-encoding"] == "gzip", "a page this long is packed for whoever takes it so"
        Page(told.text).assert_is(listing.of_collector())
        narrow = Page(ask(theirs.text).text)
        assert DEPARTMENT not in narrow.text
        assert narrow.of("forebay_collector_agent_info", department=OTHER.department) == [1.0]
        assert not [
            name
            for name, _ in narrow.values
            if not name.startswith(("forebay_collector_agent_", "forebay_collector_stream_"))
        ]
        tokens.revoke_token(stage.ledger, ROOT, every.id)
        assert ask(every.text).status_code == 401
        assert httpx.post(address, timeout=60).status_code == 405


def test_a_token_that_has_expired_opens_nothing(stage: Stage) -> None:
    users.create(stage.ledger, ROOT, "prometheus", ["viewer"], None)
    short = tokens.make_token(
        stage.ledger, ROOT, "scrapes", roles=["viewer"], account="prometheus", life=timedelta(seconds=2)
    )
    with at_the_console(stage) as address:
        headers = {"authorization": f"Bearer {short.text}"}
        assert httpx.get(address, headers=headers, timeout=60).status_code == 200
        until(lambda: httpx.get(address, headers=headers, timeout=60).status_code == 401)


def test_an_address_that_others_reach_needs_a_certificate(stage: Stage) -> None:
    with pytest.raises(ConfigurationError) as refused:
        host(stage, listen="0.0.0.0:0")
    assert refused.value.key == "metrics.listen"
    assert host(stage).address == "", "and without one nothing listens"


def test_a_revoked_agent_is_named_and_nothing_else_of_it_is_told(stage: Stage, own: MetricsHost) -> None:
    beat(stage)
    identity.revoke(stage.ledger, ROOT, AGENT, "stolen")
    told = page_of(own)
    assert told.value("forebay_collector_agent_state", **OURS, state="revoked") == 1
    names = {name for name, labels in told.values if ("agent", AGENT) in labels}
    assert names == {"forebay_collector_agent_info", "forebay_collector_agent_state"}


def test_a_look_at_the_fleet_serves_whoever_asks_for_a_few_seconds(stage: Stage, own: MetricsHost) -> None:
    began = time.monotonic()
    assert page_of(own).value("forebay_collector_agent_outbox_bytes", **OURS) is None
    beat(stage)
    if time.monotonic() - began < KEPT_S / 2:
        assert page_of(own).value("forebay_collector_agent_outbox_bytes", **OURS) is None
    until(lambda: page_of(own).value("forebay_collector_agent_outbox_bytes", **OURS) == 300)


def test_names_that_hold_quotes_and_backslashes_stay_names(stage: Stage, own: MetricsHost) -> None:
    beat(stage)
    odd = 'a"b\\c'
    now = stage.ledger.database.clock()
    stage.ledger.heartbeats.write(
        [
            Beat(
                AGENT,
                now,
                "{}",
                {},
                [],
                True,
                [CanaryRecord(AGENT, odd, "row", now, now, 1, "", "")],
                None,
                None,
                opening=False,
            )
        ]
    )
    told = page_of(own)
    assert told.value("forebay_collector_canary_made_timestamp_seconds", **OURS, source=odd) is not None


def until(holds: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold"
        time.sleep(0.1)
