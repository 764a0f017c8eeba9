"""How an agent stands: one table of cases, each with one thing the matter, and which of several counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from forebay_collector.ledger import AgentRecord, Hold, StreamRecord
from forebay_collector.ledger.canaries import CanaryRecord
from forebay_collector.ledger.offers import APPLIED, FAILED, OfferRecord
from forebay_collector.load.backlog import Backlog
from forebay_collector.service.standing import AgentFacts, AgentView, agent_view
from forebay_collector.service.stream_standing import Colour
from forebay_wire.canary import stream_of
from forebay_wire.stream import StreamName

SECOND: Final = 1_000_000
NOW: Final = 1_800_000_000 * SECOND
NAME: Final = StreamName("市监局", "登记库", "public.企业")
OTHER: Final = StreamName("市监局", "登记库", "public.许可")

RECORD: Final = AgentRecord(
    name="scjg-01",
    department="市监局",
    serial="1",
    expires_at=NOW + 300 * 86_400 * SECOND,
    enrolled_at=NOW - 86_400 * SECOND,
    revoked_at=0,
    last_seen_at=NOW - 10 * SECOND,
    version="1.0",
    hostname="appliance",
    instance="i",
    health={
        "cpu_percent": 3.0,
        "outbox": {"bytes": 10, "cap_bytes": 100, "batches": 1, "full": False},
        "clock_offset_us": 20_000,
        "configuration_hash": "abc",
        "offer_revision": 0,
    },
    connected_since=NOW - 3_600 * SECOND,
    heartbeat_ms=15_000,
    two_places_at=0,
)
SAID: Final = {
    "stream": str(NAME),
    "state": "streaming",
    "mode": "log",
    "guarantee": "every change",
    "epoch": 1,
    "sealed_seq": 9,
    "code": "",
    "reason": "",
    "remedy": "",
}
STREAM: Final = StreamRecord(7, NAME, "scjg-01", epoch=1, durable_seq=8, loaded_epoch=1, loaded_seq=8)
CANARY: Final = CanaryRecord("scjg-01", "登记库", "row", NOW - 60 * SECOND, NOW - 58 * SECOND, 2 * SECOND, "", "")
OFFER: Final = OfferRecord("scjg-01", 3, 1, True, APPLIED, "", (), "c", NOW, NOW, "")
WELL: Final = AgentFacts(RECORD, [SAID], {str(NAME): STREAM}, {}, [CANARY], OFFER)


def healthy(**more: Any) -> AgentFacts:
    """What is well, but for these entries of the agent's health."""
    return replace(WELL, record=replace(RECORD, health={**RECORD.health, **more}))


def said(**more: Any) -> AgentFacts:
    """What is well, but for what the agent says of its stream."""
    return replace(WELL, streams=[{**SAID, **more}])


def recorded(**more: Any) -> AgentFacts:
    return replace(WELL, record=replace(RECORD, **more))


def backlog(seconds: float) -> AgentFacts:
    return replace(WELL, backlogs={7: Backlog(2, 20, int(NOW - seconds * SECOND), NOW)})


def canary(**more: Any) -> AgentFacts:
    return replace(WELL, canaries=[replace(CANARY, **more)])


HELD = replace(STREAM, hold=Hold("FB-LOAD-NO", "a value does not fit", NOW, 1, 9))

CASES: Final[dict[str, tuple[AgentFacts, Colour, list[str]]]] = {
    "all is well": (WELL, Colour.GREEN, []),
    "one heartbeat is missing": (recorded(last_seen_at=NOW - 30 * SECOND), Colour.GREEN, []),
    "two heartbeats are missing": (recorded(last_seen_at=NOW - 30 * SECOND - 1), Colour.RED, ["FB-AGENT-SILENT"]),
    "its interval is its own": (
        recorded(heartbeat_ms=5_000, last_seen_at=NOW - 11 * SECOND),
        Colour.RED,
        ["FB-AGENT-SILENT"],
    ),
    "held here": (replace(WELL, records={str(NAME): HELD}), Colour.RED, ["FB-LOAD-NO"]),
    "held at the agent": (said(state="held", code="FB-X", reason="no key"), Colour.RED, ["FB-X"]),
    "two places": (recorded(two_places_at=NOW - 3_600 * SECOND), Colour.RED, ["FB-IDENTITY-TWO-PLACES"]),
    "two places, long ago": (recorded(two_places_at=NOW - 25 * 3_600 * SECOND), Colour.GREEN, []),
    "two places, enrolled anew since": (
        recorded(two_places_at=NOW - 3_600 * SECOND, enrolled_at=NOW - 60 * SECOND),
        Colour.GREEN,
        [],
    ),
    "waits with a reason": (said(state="waiting", code="FB-DB", reason="unreachable"), Colour.YELLOW, ["FB-DB"]),
    "waits by itself": (said(state="waiting"), Colour.GREEN, []),
    "columns wait": (said(columns_waiting=["phone"]), Colour.YELLOW, ["FB-COLUMNS-WAIT"]),
    "the log is kept a day": (said(log_hours_left=24.0), Colour.GREEN, []),
    "the log is kept for hours": (said(log_hours_left=23.9), Colour.YELLOW, ["FB-LOG-HOURS"]),
    "loads within minutes": (backlog(299), Colour.GREEN, []),
    "loads late": (backlog(301), Colour.YELLOW, ["FB-STREAM-LATE"]),
    "outbox fills": (healthy(outbox={"bytes": 71, "cap_bytes": 100}), Colour.YELLOW, ["FB-OUTBOX-FILLING"]),
    "outbox is full": (
        healthy(outbox={"bytes": 99, "cap_bytes": 100, "full": True}),
        Colour.YELLOW,
        ["FB-OUTBOX-FULL"],
    ),
    "clock behind": (healthy(clock_offset_us=-6 * SECOND), Colour.YELLOW, ["FB-CLOCK"]),
    "clock ahead": (healthy(clock_offset_us=6 * SECOND), Colour.YELLOW, ["FB-CLOCK"]),
    "configuration refused": (healthy(configuration_refusal="a.toml: no"), Colour.YELLOW, ["FB-CONFIG-REFUSED"]),
    "offer refused": (replace(WELL, offer=replace(OFFER, state=FAILED)), Colour.YELLOW, ["FB-OFFER-FAILED"]),
    "certificate ends": (recorded(expires_at=NOW + 13 * 86_400 * SECOND), Colour.YELLOW, ["FB-CERTIFICATE-ENDS"]),
    "renewal refused": (healthy(renewal_refusal="no"), Colour.YELLOW, ["FB-CERTIFICATE-RENEWAL"]),
    "canary on its way": (canary(made_at=NOW - 299 * SECOND, loaded_at=0), Colour.GREEN, []),
    "canary is not back": (canary(made_at=NOW - 301 * SECOND, loaded_at=0), Colour.YELLOW, ["FB-CANARY-LATE"]),
    "canary was never made": (canary(made_at=0, loaded_at=0), Colour.GREEN, []),
    "canary not permitted": (canary(code="FB-CANARY", reason="no right"), Colour.YELLOW, ["FB-CANARY"]),
    "never seen": (recorded(last_seen_at=0), Colour.GREY, ["FB-AGENT-NEW"]),
    "paused": (healthy(paused=True), Colour.GREY, ["FB-AGENT-PAUSED"]),
    "a paused stream": (said(paused=True, state="waiting"), Colour.GREEN, []),
    "revoked": (recorded(revoked_at=NOW), Colour.REVOKED, ["FB-AGENT-REVOKED"]),
}


OF_OTHERS: Final = {"FB-LOAD-NO", "FB-X", "FB-DB", "FB-CANARY"}
"""codes of these cases that a loader, a capture or a canary would say"""


def codes(view: AgentView) -> list[str]:
    return [why.code for why in view.why]


@pytest.mark.parametrize("case", CASES)
def test_every_trouble_has_its_colour_and_its_code(case: str) -> None:
    facts, colour, expected = CASES[case]
    view = agent_view(facts, NOW)
    assert (view.state, codes(view)) == (colour, expected)
    assert all(why.reason for why in view.why)


@pytest.mark.parametrize(
    ("facts", "colour", "expected"),
    [
        (replace(healthy(paused=True, clock_offset_us=9 * SECOND), records={str(NAME): HELD}), Colour.RED, 3),
        (healthy(paused=True, clock_offset_us=9 * SECOND), Colour.GREY, 2),
        (replace(recorded(revoked_at=1, last_seen_at=1), records={str(NAME): HELD}), Colour.REVOKED, 1),
        (replace(recorded(last_seen_at=0, expires_at=0), records={str(NAME): HELD}), Colour.GREY, 1),
    ],
    ids=["red over paused", "paused over yellow", "revoked over red", "never seen over all but revoked"],
)
def test_the_worst_counts_and_all_of_it_is_told(facts: AgentFacts, colour: Colour, expected: int) -> None:
    view = agent_view(facts, NOW)
    assert view.state is colour
    assert len(view.why) == expected


def test_a_silent_agent_is_not_connected_whatever_the_ledger_was_left_with() -> None:
    assert agent_view(WELL, NOW).connected_since == RECORD.connected_since
    assert agent_view(WELL, NOW + 60 * SECOND).connected_since == 0


def test_a_stream_that_the_agent_tells_no_more_of_is_shown_and_is_no_trouble() -> None:
    view = agent_view(replace(WELL, records={str(NAME): STREAM, str(OTHER): replace(STREAM, name=OTHER)}), NOW)
    assert view.state is Colour.GREEN
    assert [(stream.name, stream.colour, stream.state) for stream in view.streams] == [
        (str(NAME), Colour.GREEN, "streaming"),
        (str(OTHER), Colour.GREY, "not told of"),
    ]


def test_a_canarys_stream_is_listed_only_while_it_is_held() -> None:
    name = stream_of("市监局", "登记库")
    of_canary = replace(STREAM, name=name)
    assert len(agent_view(replace(WELL, records={str(NAME): STREAM, str(name): of_canary}), NOW).streams) == 1
    held = replace(HELD, name=name)
    view = agent_view(replace(WELL, records={str(NAME): STREAM, str(name): held}), NOW)
    assert [stream.name for stream in view.streams] == [str(NAME), str(name)]
    assert view.state is Colour.RED


def test_of_many_streams_in_trouble_the_first_are_told_and_the_others_counted() -> None:
    many = [
        {**SAID, "stream": f"市监局/登记库/public.t{number:03}", "state": "held", "code": "FB-X", "reason": "no"}
        for number in range(40)
    ]
    view = agent_view(replace(WELL, streams=many, records={}), NOW)
    assert len(view.why) == 11
    assert view.why[-1].reason == "and 30 more streams"


def test_what_waits_in_the_outbox_is_what_is_sealed_and_not_durable() -> None:
    (stream,) = agent_view(WELL, NOW).streams
    assert stream.outbox_batches == 1
    (reset,) = agent_view(said(epoch=2, sealed_seq=4), NOW).streams
    assert reset.outbox_batches == 4


def test_the_canarys_round_trip_is_the_figure_of_liveness() -> None:
    (shown,) = agent_view(WELL, NOW).canaries
    assert (shown.round_trip_us, shown.late_s) == (2 * SECOND, 0.0)
    (late,) = agent_view(canary(made_at=NOW - 400 * SECOND, loaded_at=0), NOW).canaries
    assert (late.round_trip_us, late.late_s) == (2 * SECOND, 400.0)


def test_every_code_is_documented() -> None:
    told = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text("utf-8")
    own = {code for _, _, expected in CASES.values() for code in expected if code not in OF_OTHERS}
    assert len(own) > 15
    assert {code for code in own if f"`{code}`" not in told} == set()
