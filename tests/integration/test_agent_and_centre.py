"""Both ends as they are: what people at the centre order by the service layer, done by an agent's process, in the ledger."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard

from forebay_agent import identity
from forebay_collector.errors import CommandFailed
from forebay_collector.founding import init
from forebay_collector.service import commands, configuration, fleet
from forebay_collector.service.actor import Actor
from forebay_collector.service.commands import CommandView, Scope
from forebay_collector.service.standing import AgentView
from forebay_wire.stream import StreamName
from tests.daemon.agent import PEOPLE, AgentProcess
from tests.receiving.batches import DEPARTMENT
from tests.receiving.collector import InProcess, enrolled

AGENT = "scjg-01"
OPS = Actor.local("李四")
HOUSES = StreamName(DEPARTMENT, "civil", "houses")


class Centre:
    """A collector that receives, and an actor who asks; an AgentProcess may enrol with it."""

    def __init__(self, running: InProcess) -> None:
        self.running = running

    def enrol(self, state: Path) -> None:
        given = enrolled(self.running.settings, self.running.ledger)
        identity.prepare(state, given.key)
        identity.finish(
            state,
            agent=AGENT,
            department=DEPARTMENT,
            addresses=(self.running.address,),
            certificate=given.certificate,
            authority=given.authority,
        )

    def ended(self, number: str) -> CommandView:
        return commands.wait(self.running.ledger, OPS, number, timedelta(seconds=60))

    def view(self) -> AgentView:
        return fleet.agent(self.running.ledger, OPS, AGENT)

    def rows(self, stream: StreamName = PEOPLE) -> int:
        return sum(batch.rows for batch in self.running.ledger.batches.listing(stream=stream))


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as running:
        yield Centre(running)


@pytest.fixture
def agent(tmp_path: Path, centre: Centre) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", centre) as made:  # type: ignore[arg-type]
        made.table("houses")
        made.capture("people", "houses")
        made.insert(1, 10)
        made.start()
        made.until(lambda: centre.rows() >= 10)
        yield made


def test_a_pause_and_its_resume_are_done_and_seen(agent: AgentProcess, centre: Centre) -> None:
    ledger = centre.running.ledger
    done = centre.ended(commands.pause(ledger, OPS, AGENT, Scope(stream=PEOPLE), "年度结账"))
    assert (done.state, done.effect.startswith(f"{PEOPLE} is paused")) == ("done", True)
    agent.insert(11, 5)
    agent.insert(1, 5, table="houses")
    agent.until(lambda: centre.rows(HOUSES) >= 5)
    agent.until(lambda: any("年度结账" in stream.reason for stream in centre.view().streams))
    before = centre.rows()
    assert "is resumed" in centre.ended(commands.resume(ledger, OPS, AGENT, Scope(stream=PEOPLE), "done")).effect
    agent.until(lambda: centre.rows() >= before + 5)
    with pytest.raises(CommandFailed, match="FB-STREAM-UNKNOWN"):
        centre.ended(commands.pause(ledger, OPS, AGENT, Scope(source="tax"), "x"))


def test_an_offer_is_applied_and_one_that_widens_is_refused_with_reasons_in_the_ledger(
    agent: AgentProcess, centre: Centre
) -> None:
    ledger = centre.running.ledger
    before = centre.view().configuration_hash
    made = configuration.offer(
        ledger, OPS, [AGENT], {"source.civil.table.people.masks.text": "mobile", "log.level": "debug"}, "tighten"
    )
    agent.until(lambda: configuration.rollout(ledger, OPS, made).state == "done")
    (one,) = configuration.rollout(ledger, OPS, made).offers
    assert one.state == "applied"
    agent.until(lambda: centre.view().offer_revision == one.revision)
    assert centre.view().configuration_hash not in ("", before)
    assert configuration.effective(ledger, OPS, AGENT).settings == configuration.rollout(ledger, OPS, made).settings
    widening = configuration.offer(ledger, OPS, [AGENT], {"source.civil.table.people.columns": ["secret"]}, "widen")
    agent.until(lambda: configuration.rollout(ledger, OPS, widening).state == "stopped")
    (refused,) = configuration.rollout(ledger, OPS, widening).offers
    assert (refused.state, "is not the centre's to set" in refused.reason) == ("failed", True)
    agent.until(lambda: centre.view().offer_revision == one.revision)
    assert agent.end() == 0
    agent.start()
    agent.until(lambda: bool(centre.view().connected_since))
    agent.until(lambda: centre.view().offer_revision == one.revision)


def test_snapshots_reloads_diagnostics_and_resends_are_answered_in_words(agent: AgentProcess, centre: Centre) -> None:
    ledger = centre.running.ledger
    done = centre.ended(commands.reload(ledger, OPS, AGENT, "edited"))
    assert "1 sources, 2 tables" in done.effect
    done = centre.ended(commands.snapshot(ledger, OPS, PEOPLE, "compare"))
    assert (done.epoch, "epoch 2 begins" in done.effect) == (2, True)
    agent.until(lambda: {batch.epoch for batch in ledger.batches.listing(stream=PEOPLE)} == {1, 2})
    done = centre.ended(commands.resend(ledger, OPS, PEOPLE, 2, 1, "lost"))
    assert "sent again" in done.effect or "nothing is left" in done.effect
    done = centre.ended(commands.diagnostics(ledger, OPS, AGENT, "slow"))
    packed = b"".join(commands.data(ledger, OPS, done.id))
    raw = zstandard.ZstdDecompressor().decompress(packed, max_output_size=64 << 20)
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        assert "forebay-agent/status.json" in tar.getnames()


def test_the_centre_has_every_streams_newest_state_though_heartbeats_tell_only_what_changed(
    agent: AgentProcess, centre: Centre
) -> None:
    agent.insert(1, 3, table="houses")
    agent.until(lambda: agent.stream(HOUSES)["durable_seq"] > 0)
    for number in range(3):
        sealed = agent.stream()["sealed_seq"]
        agent.insert(100 + number, 1)
        agent.until(lambda sealed=sealed: agent.stream()["sealed_seq"] > sealed)  # type: ignore[misc]

    def agree() -> bool:
        there = {str(stream.name): stream for stream in centre.view().streams}
        return all(
            str(name) in there and there[str(name)].sealed_seq == agent.stream(name)["sealed_seq"]
            for name in (PEOPLE, HOUSES)
        )

    agent.until(agree)
    agent.capture("people")
    # what was received of it stays; its agent tells of it no more
    agent.until(lambda: [str(each.name) for each in centre.view().streams if each.mode] == [str(PEOPLE)])
