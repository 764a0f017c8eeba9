"""Twelve offers to a running agent, of which four are invalid and two would widen; the last good one outlives the process."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.daemon.agent import PEOPLE, AgentProcess
from tests.daemon.centre import Answer, Centre
from tests.daemon.scripted import Script, ScriptedCollector
from tests.receiving.batches import DEPARTMENT

HOUSES = StreamName(DEPARTMENT, "civil", "houses")
MASK = {"source.civil.table.people.masks.text": "mobile"}


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def centre() -> Centre:
    return Centre(heartbeat_ms=300)


@pytest.fixture
def collector(tmp_path: Path, script: Script, centre: Centre) -> Iterator[ScriptedCollector]:
    with ScriptedCollector(tmp_path / "authority", script, centre) as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path, collector: ScriptedCollector) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", collector) as made:
        file = made.home / "agent.toml"
        file.write_text(file.read_text() + 'bandwidth = "2MiB/s"\n')
        made.table("houses")
        made.capture("people", "houses")
        made.insert(1, 10)
        made.start()
        made.until(lambda: made.stream()["durable_seq"] > 0)
        yield made


class Offers:
    """Made to one agent, one revision after the other."""

    def __init__(self, centre: Centre) -> None:
        self.centre = centre
        self.revision = 0

    def __call__(self, settings: dict[str, Any] | str, *, revision: int = 0) -> Answer:
        self.revision = revision or self.revision + 1
        text = settings if isinstance(settings, str) else json.dumps(settings, ensure_ascii=False)
        return self.centre.ask(offer=control_pb2.Offer(revision=self.revision, settings=text))


@pytest.fixture
def offer(centre: Centre) -> Offers:
    return Offers(centre)


def texts(script: Script, stream: StreamName = PEOPLE) -> dict[int, str]:
    """The newest text of each key that arrived."""
    return {row["id"]: row["text"] for row in script.rows(stream)}


def test_twelve_offers_of_which_four_are_invalid_and_two_would_widen(
    agent: AgentProcess, centre: Centre, script: Script, offer: Offers
) -> None:
    good = [
        {"source.civil.poll_interval": "200ms", "log.level": "debug"},
        {"collector.bandwidth": "1MiB/s", "collector.windows": ["00:00-12:00", "12:00-00:00"]},
        {"source.civil.table.houses.paused": True, "source.civil.table.people.priority": 1},
        {"agent.maintenance": [], "source.civil.batch_rows": 500},
        MASK,
        {**MASK, "collector.heartbeat": "1s"},
    ]
    invalid = [
        ("{nonsense", "is not JSON"),
        ({"source.civil.poll_interval": "soon", **MASK}, "source.civil.poll_interval: cannot be read"),
        ({"source.civil.table.people.masks.id": "mobile"}, "is key or cursor and cannot be masked"),
        ({"source.civil.table.people.exclude": ["no such column"], "log.level": "info"}, "does not have"),
    ]
    widening = [
        ({"collector.bandwidth": "3MiB/s"}, "collector.bandwidth: would raise the department's own ceiling"),
        ({"source.civil.table.people.columns": ["id", "text", "n", "secret"]}, "is not the centre's to set"),
    ]
    hashes = {centre.heartbeats[-1].configuration_hash}
    in_force = 0
    order: list[tuple[Any, str]] = [(each, "") for each in good]
    for place, refused in zip((1, 3, 4, 6, 8, 10), [*invalid, *widening], strict=True):
        order.insert(place, refused)
    assert len(order) == 12
    for settings, says in order:
        answer = offer(settings)
        beat = centre.until(lambda beat: beat.offer.revision == offer.revision)
        if not says:
            in_force = offer.revision
            assert (answer.last.code, answer.last.effect[:8]) == ("", "APPLIED:"), answer.last
            assert beat.offer.outcome == "APPLIED"
            assert beat.configuration_hash not in hashes
            hashes.add(beat.configuration_hash)
            effective = json.loads(answer.data)
            assert {source["name"] for source in effective["sources"]} == {"civil"}
        else:
            assert answer.last.code == "FB-OFFER-REFUSED"
            assert says in answer.last.reason
            assert "nothing was changed" in answer.last.effect
            assert f"revision {in_force} stays in force" in answer.last.effect
            assert (beat.offer.outcome, says in beat.offer.reason) == ("FAILED", True)
            assert beat.configuration_hash in hashes, "something was changed"
        assert beat.offer_revision == in_force
    agent.insert(11, 1)
    agent.until(lambda: 11 in texts(script))
    assert texts(script)[11] == "0***"

    assert agent.end() == 0
    told = agent.command("tables", "--json")
    (people,) = [row for row in json.loads(told.stdout) if row["stream"] == str(PEOPLE)]
    assert [column["mask"] for column in people["columns"]] == ["", "mobile", ""], "the offer is not shown"
    agent.insert(12, 1)
    before = len(centre.heartbeats)
    agent.start()
    beat = centre.until(lambda beat: beat.number == 1, after=before)
    assert (beat.offer_revision, beat.offer.revision, beat.offer.outcome) == (12, 12, "APPLIED")
    agent.until(lambda: 12 in texts(script))
    assert texts(script)[12] == "0***"
    assert f"offer      revision {in_force} of the centre is in force" in agent.command("status").stdout


def test_a_mask_takes_force_for_everything_that_is_sealed_after_it_is_applied(
    agent: AgentProcess, centre: Centre, script: Script, offer: Offers
) -> None:
    """Rows are written all the while; a row that was written after the answer must come masked, whatever was under way."""
    for round_ in range(4):
        first = 1_000 * (round_ + 1)
        agent.insert(first, 300)
        answer = offer(MASK if round_ % 2 == 0 else {}).last
        assert answer.code == "", answer.reason
        sealed = len(script.taken[PEOPLE])
        agent.insert(first + 500, 1)
        agent.until(lambda first=first: first + 500 in texts(script))  # type: ignore[misc]
        masked = texts(script)[first + 500] == "0***"
        assert masked == (round_ % 2 == 0)
        if masked:
            agent.until(lambda: set(texts(script).values()) == {"0***"})
            assert "cannot be unsent" in answer.effect
        assert len(script.taken[PEOPLE]) > sealed


def test_a_column_that_is_left_out_leaves_no_more(
    agent: AgentProcess, centre: Centre, script: Script, offer: Offers
) -> None:
    assert offer({"source.civil.table.people.exclude": ["text"]}).last.code == ""
    agent.insert(11, 1)
    agent.until(lambda: 11 in {row["id"] for row in script.rows(PEOPLE)})
    # the table is taken anew in its next epoch, so that the row may come with the snapshot and with the window after it
    assert not [row for row in script.rows(PEOPLE) if row["id"] == 11 and "text" in row]
    assert offer({"source.civil.table.people.exclude": ["id"]}).last.code == "FB-OFFER-REFUSED", "the primary key"
    assert offer({"source.civil.table.people.masks.n": "mobile"}).last.code == "FB-OFFER-REFUSED", "the cursor"


def test_older_and_changed_revisions_are_refused_and_a_repeated_one_is_answered_again(
    agent: AgentProcess, centre: Centre, offer: Offers
) -> None:
    assert offer(MASK, revision=5).last.code == ""
    assert offer(MASK, revision=5).last.effect.startswith("APPLIED: revision 5")
    assert "older than 5" in offer({}, revision=4).last.reason
    assert "other settings" in offer({}, revision=5).last.reason
    beat = centre.until(lambda beat: beat.offer_revision == 5)
    assert (beat.offer.revision, beat.offer.outcome) == (5, "FAILED"), "what became of the newest is not told"
    assert offer({}, revision=6).last.effect.endswith("the department's files alone hold")


def test_where_the_files_change_so_that_the_offer_does_not_fit_the_files_win(
    agent: AgentProcess, centre: Centre, script: Script, offer: Offers
) -> None:
    assert offer({"collector.bandwidth": "1MiB/s", "source.civil.table.houses.paused": True}).last.code == ""
    agent.until(lambda: agent.stream(HOUSES).get("paused", False))
    agent.insert(1, 3, table="houses")
    agent.capture("people", "houses")
    file = agent.home / "agent.toml"
    file.write_text(file.read_text().replace('"2MiB/s"', '"512KiB/s"'))
    beat = centre.until(lambda beat: beat.offer.outcome == "FAILED")
    assert (beat.offer_revision, beat.offer.revision) == (0, 1)
    assert "collector.bandwidth" in beat.offer.reason
    agent.until(lambda: len(texts(script, HOUSES)) == 3)
    assert "no offer of the centre is in force" in agent.command("status").stdout
    assert agent.end() == 0
    before = len(centre.heartbeats)
    agent.start()
    beat = centre.until(lambda beat: beat.number == 1, after=before)
    assert (beat.offer_revision, beat.offer.outcome) == (0, "FAILED")
    assert offer({"collector.bandwidth": "256KiB/s"}).last.code == ""


def test_a_damaged_offer_stops_the_agent_with_its_remedy(agent: AgentProcess, centre: Centre, offer: Offers) -> None:
    assert offer(MASK).last.code == ""
    assert agent.end() == 0
    file = agent.state / "offer.json"
    file.write_text(file.read_text().replace("mobile", "name"))
    refused = agent.command("run")
    assert refused.returncode == 3
    assert "offer.json is damaged" in refused.stderr
    assert "masks included" in refused.stderr


def test_bandwidth_and_windows_change_on_the_connection_that_there_is(
    agent: AgentProcess, centre: Centre, script: Script, offer: Offers
) -> None:
    connections, calls = script.connections, len(centre.hellos)
    later = (dt.datetime.now().astimezone().hour + 6) % 24
    closed = [f"{later:02}:00-{later:02}:30", f"{later:02}:30-{later:02}:31"]
    assert offer({"collector.windows": closed, "collector.bandwidth": "64KiB/s"}).last.code == ""
    agent.until(lambda: "sending waits for its daily time" in agent.status()["uplink"]["reason"])
    agent.insert(11, 1)
    beat = centre.until(lambda beat: any("daily time" in state.reason for state in beat.streams), after=0)
    assert [state.state for state in beat.streams if "daily time" in state.reason] == ["waiting"]
    assert 11 not in texts(script)
    assert offer({"collector.bandwidth": "1MiB/s"}).last.code == ""
    agent.until(lambda: 11 in texts(script))
    assert (script.connections, len(centre.hellos)) == (connections, calls)
