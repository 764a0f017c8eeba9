"""A running agent and the centre: each command's effect, and what outlives the process. Real processes over real TLS."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from forebay_wire.canary import stream_of
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.daemon.agent import PEOPLE, AgentProcess
from tests.daemon.centre import Centre
from tests.daemon.scripted import Script, ScriptedCollector
from tests.receiving.batches import DEPARTMENT

HOUSES = StreamName(DEPARTMENT, "civil", "houses")
SOURCE = control_pb2.Scope(source="civil")
STREAM = control_pb2.Scope(stream=PEOPLE.to_proto())


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
        made.table("houses")
        made.capture("people", "houses")
        made.insert(1, 10)
        made.insert(1, 10, table="houses")
        made.start()
        made.until(lambda: made.stream()["durable_seq"] > 0 and made.stream(HOUSES)["durable_seq"] > 0)
        yield made


def ids(script: Script, stream: StreamName = PEOPLE, epoch: int = 0) -> list[int]:
    return sorted({row["id"] for row in script.rows(stream, epoch)})


def test_a_paused_stream_is_not_captured_over_a_restart_and_goes_on_when_resumed(
    agent: AgentProcess, centre: Centre, script: Script
) -> None:
    answer = centre.ask(pause=control_pb2.Pause(scope=STREAM, reason="年度结账"))
    assert (answer.last.code, answer.last.effect.startswith(f"{PEOPLE} is paused")) == ("", True)
    agent.insert(11, 5)
    agent.insert(11, 5, table="houses")
    agent.until(lambda: len(ids(script, HOUSES)) == 15)
    beat = centre.until(lambda beat: any(state.paused for state in beat.streams), after=0)
    (told,) = [state for state in beat.streams if state.paused]
    assert (told.stream.table, told.state, told.code) == ("people", "waiting", "")
    assert "年度结账" in told.reason
    assert agent.end() == 0
    agent.start()
    agent.insert(16, 5, table="houses")
    agent.until(lambda: len(ids(script, HOUSES)) == 20)
    assert ids(script) == list(range(1, 11))
    assert agent.stream()["paused"]
    assert "paused" in agent.command("status").stdout
    answer = centre.ask(resume=control_pb2.Resume(scope=STREAM))
    assert "is resumed" in answer.last.effect
    agent.until(lambda: ids(script) == list(range(1, 16)))
    agent.until(lambda: not agent.stream()["paused"])


def test_what_is_in_the_outbox_is_still_sent_when_everything_is_paused(
    agent: AgentProcess, centre: Centre, script: Script
) -> None:
    script.answers = False
    agent.insert(11, 5)
    agent.until(lambda: agent.status()["outbox"]["batches"] > 0)
    assert centre.ask(pause=control_pb2.Pause(reason="x")).last.code == ""
    assert centre.until(lambda beat: beat.paused)
    agent.insert(16, 5)
    script.answers = True
    assert centre.ask(resend=_resend()).last.seq > 0
    agent.until(lambda: agent.status()["outbox"]["batches"] == 0)
    assert ids(script) == list(range(1, 16))


def test_a_resume_takes_back_one_pause_and_says_what_stays(agent: AgentProcess, centre: Centre, script: Script) -> None:
    for scope in (SOURCE, STREAM):
        assert centre.ask(pause=control_pb2.Pause(scope=scope, reason=str(scope.source or "one"))).last.code == ""
    effect = centre.ask(resume=control_pb2.Resume(scope=SOURCE)).last.effect
    assert "source civil is resumed" in effect
    assert f"1 of its streams stay paused: {PEOPLE} is paused by the centre: one" in effect
    agent.insert(11, 1, table="houses")
    agent.until(lambda: len(ids(script, HOUSES)) == 11)
    effect = centre.ask(resume=control_pb2.Resume(scope=SOURCE)).last.effect
    assert "was not paused by itself" in effect


def test_commands_for_what_is_not_configured_or_not_known_are_answered_plainly(
    agent: AgentProcess, centre: Centre
) -> None:
    other = StreamName(DEPARTMENT, "tax", "secrets").to_proto()
    for command in (
        {"pause": control_pb2.Pause(scope=control_pb2.Scope(source="tax"))},
        {"pause": control_pb2.Pause(scope=control_pb2.Scope(stream=other))},
        {"resume": control_pb2.Resume(scope=control_pb2.Scope(source="tax"))},
        {"take_snapshot": control_pb2.TakeSnapshot(stream=other)},
        {"resend": control_pb2.Resend(stream=other)},
    ):
        answer = centre.ask(**command).last
        assert answer.code == "FB-STREAM-UNKNOWN", command
        assert "tax" in answer.reason
        assert answer.effect
    assert centre.ask().last.code == "FB-COMMAND-UNKNOWN"


def test_what_is_paused_is_neither_drained_nor_read_and_that_is_said(agent: AgentProcess, centre: Centre) -> None:
    centre.ask(pause=control_pb2.Pause(scope=STREAM, reason="x"))
    answer = centre.ask(drain=control_pb2.Drain(timeout_seconds=20)).last
    assert (answer.code, str(PEOPLE) in answer.reason, str(HOUSES) in answer.reason) == ("FB-PAUSED", True, False)
    answer = centre.ask(source_digest=control_pb2.SourceDigest(stream=PEOPLE.to_proto())).last
    assert answer.code == "FB-PAUSED"
    houses = centre.ask(drain=control_pb2.Drain(timeout_seconds=20, stream=HOUSES.to_proto())).last
    assert (houses.code, "durable" in houses.effect) == ("", True)


def test_a_snapshot_begins_the_next_epoch_at_once(agent: AgentProcess, centre: Centre, script: Script) -> None:
    answer = centre.ask(take_snapshot=control_pb2.TakeSnapshot(stream=PEOPLE.to_proto())).last
    assert (answer.code, answer.epoch) == ("", 2)
    assert "epoch 2 begins with a new snapshot" in answer.effect
    agent.until(lambda: ids(script, epoch=2) == list(range(1, 11)))
    resets = agent.command("outbox", "--resets").stdout
    assert "the centre" in resets
    ranged = control_pb2.TakeSnapshot(stream=PEOPLE.to_proto(), from_key="[1]", to_key="[5]")
    answer = centre.ask(take_snapshot=ranged).last
    assert (answer.code, "mode log" in answer.reason) == ("FB-COMMAND-UNFIT", True)


def _resend(from_seq: int = 1) -> control_pb2.Resend:
    return control_pb2.Resend(stream=PEOPLE.to_proto(), from_seq=from_seq)


def test_a_resend_brings_again_what_the_outbox_holds_and_says_from_where(
    agent: AgentProcess, centre: Centre, script: Script
) -> None:
    agent.until(lambda: agent.status()["outbox"]["batches"] == 0)
    answer = centre.ask(resend=_resend()).last
    assert (answer.code, answer.seq) == ("", 0)
    assert "nothing is left to send again" in answer.effect
    script.answers = False
    for number in range(3):
        agent.insert(20 + number, 1)
        agent.until(lambda number=number: 20 + number in ids(script))  # type: ignore[misc]
    came = len(script.came)
    first = script.taken[PEOPLE][-3].seq
    script.answers = True
    agent.until(lambda: agent.status()["outbox"]["batches"] >= 3)
    answer = centre.ask(resend=_resend()).last
    assert (answer.code, answer.seq <= first) == ("", True)
    assert f"from epoch 1 seq {answer.seq} on" in answer.effect
    assert "durable at the centre and not here any more" in answer.effect
    agent.until(lambda: agent.status()["outbox"]["batches"] == 0)
    assert ids(script) == [*range(1, 11), 20, 21, 22]
    assert (len(script.came), script.connections) == (came, 1), "the mark said that they had come"


def test_a_reload_reads_the_files_at_once_and_says_what_is_wrong(
    agent: AgentProcess, centre: Centre, script: Script
) -> None:
    good = centre.heartbeats[-1].configuration_hash
    file = agent.home / "sources.d" / "civil.toml"
    content = file.read_text()
    file.write_text(content.replace('name = "houses"', 'name = "houses"\nnonsense = 1\npriority = 0'))
    answer = centre.ask(reload=control_pb2.Reload()).last
    assert answer.code == "FB-CONFIG"
    assert ("nonsense" in answer.reason, "priority" in answer.reason) == (True, True), "not all of it is told"
    assert centre.until(lambda beat: "nonsense" in beat.configuration_refusal).configuration_hash == good
    file.write_text(content + "# mended\n")
    answer = centre.ask(reload=control_pb2.Reload()).last
    assert (answer.code, "1 sources, 2 tables" in answer.effect) == ("", True)
    now = centre.until(lambda beat: not beat.configuration_refusal).configuration_hash
    assert now != good
    assert now[:12] in answer.effect


def test_heartbeats_tell_only_what_changed_until_all_is_asked_for(agent: AgentProcess, centre: Centre) -> None:
    agent.until(lambda: agent.status()["outbox"]["batches"] == 0)
    idle = centre.until(lambda beat: beat.since > 0 and not beat.streams)
    assert idle.ByteSize() < 400
    before = len(centre.heartbeats)
    agent.insert(11, 1)
    changed = centre.until(lambda beat: bool(beat.streams), after=before)
    assert [state.stream.table for state in changed.streams] == ["people"]
    before = len(centre.heartbeats)
    assert centre.ask(report_all=control_pb2.ReportAll()).last.code == ""
    full = centre.until(lambda beat: beat.since == 0, after=before)
    assert {state.stream.table for state in full.streams} == {"people", "houses"}
    before = len(centre.heartbeats)
    agent.capture("people")
    assert centre.until(lambda beat: bool(beat.gone), after=before).gone[0].table == "houses"
    before = len(centre.heartbeats)
    centre.cut()
    again = centre.until(lambda beat: beat.number == 1, after=before)
    assert (again.since, [state.stream.table for state in again.streams]) == (0, ["people"])


def test_diagnostics_hold_what_helps_and_neither_secrets_nor_rows(
    agent: AgentProcess, centre: Centre, script: Script
) -> None:
    """One table holds a value that cannot be carried, so that an error speaks of its row."""
    with closing(sqlite3.connect(agent.home / "civil.db")) as connection, connection:
        connection.execute("CREATE TABLE odd (id TEXT PRIMARY KEY, text TEXT, n INTEGER NOT NULL)")
        connection.execute("INSERT INTO odd VALUES ('row-key-91377', CAST(x'ff91377fe0' AS TEXT), 913771)")
        connection.execute("INSERT INTO people VALUES (913772, 'row-value-91377', 913773)")
    agent.capture("people", "houses", "odd")
    secret = agent.home / "secret"
    secret.write_text("hunter2-91377")
    secret.chmod(0o600)
    (agent.home / "sources.d" / "tax.toml").write_text(
        'kind = "postgresql"\nhost = "127.0.0.1"\nport = 1\nuser = "forebay"\ndatabase = "tax"\n# hunter3-91377\n'
        'password = { file = "../secret" }\n[[table]]\nname = "t"\nmode = "snapshot"\n'
    )
    odd = StreamName(DEPARTMENT, "civil", "odd")
    agent.until(lambda: agent.stream(odd)["code"] == "FB-VALUE-UNREPRESENTABLE")
    agent.until(lambda: 913772 in ids(script))
    agent.until(lambda: agent.stream(StreamName(DEPARTMENT, "tax", "t"))["code"] == "FB-SOURCE-UNREACHABLE")
    assert "row-key-91377" in agent.stream(odd)["reason"] + agent.log.read_text(), "the test proves nothing"
    answer = centre.ask(collect_diagnostics=control_pb2.CollectDiagnostics())
    assert (answer.last.code, "without secrets and rows" in answer.last.effect) == ("", True)
    raw = zstandard.ZstdDecompressor().decompress(answer.data, max_output_size=64 << 20)
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        files = {entry.name.split("/")[1]: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    whole = b"\n".join(files.values())
    for hidden in (b"91377", b"BEGIN", b"PRIVATE"):
        assert hidden not in whole, next(name for name, content in files.items() if hidden in content)
    identity = (agent.state / "identity" / "agent.key").read_bytes().splitlines()[1]
    assert identity not in whole
    assert json.loads(files["versions.json"])["forebay-agent"]
    streams = {stream["stream"]: stream for stream in json.loads(files["status.json"])["streams"]}
    assert (streams[str(odd)]["code"], streams[str(odd)]["reason"]) == (
        "FB-VALUE-UNREPRESENTABLE",
        "withheld: it may quote a value",
    )
    assert "Connection refused" in streams[f"{DEPARTMENT}/tax/t"]["reason"]
    sources = {source["name"]: source for source in json.loads(files["configuration.json"])["sources"]}
    assert sources["tax"]["password"].endswith("secret")
    assert {entry["stream"] for entry in json.loads(files["outbox.json"])["streams"]} >= {str(PEOPLE), str(odd)}
    assert json.loads(files["health.json"])["memory_total_bytes"] > 0
    assert b"capture waits" in files["journal.txt"]
    assert b"source civil" in files["threads.txt"]


def test_a_paused_agent_says_so_and_a_second_pause_changes_its_reason(agent: AgentProcess, centre: Centre) -> None:
    for reason in ("one", "two"):
        assert centre.ask(pause=control_pb2.Pause(reason=reason)).last.code == ""
    agent.until(lambda: "two" in agent.status()["paused"])
    assert centre.until(lambda beat: beat.paused)
    assert agent.command("status").stdout.count("paused by the centre: two") >= 1
    centre.ask(resume=control_pb2.Resume())
    assert centre.until(lambda beat: not beat.paused)


def test_the_canary_of_a_source_that_is_paused_as_a_whole_rests_too(
    agent: AgentProcess, centre: Centre, script: Script
) -> None:
    """For a while the DBA has the database to themselves."""
    file = agent.home / "sources.d" / "civil.toml"
    file.write_text(re.sub(r"\[canary\]\n.*\n", '[canary]\nevery = "1s"\n', file.read_text()))
    canary = stream_of(DEPARTMENT, "civil")
    agent.until(lambda: len(script.seqs(canary)) > 2)
    assert centre.ask(pause=control_pb2.Pause(scope=SOURCE, reason="the DBA works on it")).last.code == ""
    sung, number = script.seqs(canary), centre.heartbeats[-1].number
    centre.until(lambda beat: beat.number > number + 15)
    assert len(script.seqs(canary)) <= len(sung) + 1, "it was on its way"
    assert centre.ask(resume=control_pb2.Resume(scope=SOURCE)).last.code == ""
    agent.until(lambda: len(script.seqs(canary)) > len(sung) + 2)
