"""Commands of people to agents, over real TLS: each kind with its effect, who may, and what stands in the audit."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf import text_format

from forebay_collector.cli import main
from forebay_collector.errors import AgentUnreachable, CommandFailed, NotKnown, NotPermitted, NotPossible
from forebay_collector.service import commands
from forebay_collector.service.actor import Actor, Role
from forebay_collector.service.commands import Scope
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.integration.controlled import OPS, TABLE, Controlled, answers, until
from tests.loading.stage import AGENT
from tests.receiving.batches import DEPARTMENT

VIEWER = Actor("看客", frozenset({Role.VIEWER}))
OTHERS = Actor("民政", frozenset({Role.OPERATOR}), frozenset({"民政局"}), "console")
OURS = Actor("市监", frozenset({Role.OPERATOR}), frozenset({DEPARTMENT}), "console")
WAITS = timedelta(seconds=10)

Ask = Callable[[Controlled, Actor], str]
KINDS: dict[str, tuple[Ask, str]] = {
    "pause": (
        lambda control, who: commands.pause(control.ledger, who, AGENT, Scope(source="db"), "why"),
        'pause { scope { source: "db" } reason: "why" }',
    ),
    "resume": (
        lambda control, who: commands.resume(control.ledger, who, AGENT, Scope(stream=TABLE), "why"),
        'resume { scope { stream { department: "市监局" source: "db" table: "main.t" } } }',
    ),
    "take_snapshot": (
        lambda control, who: commands.snapshot(control.ledger, who, TABLE, "why", [1, "a"], [9, "b"], agent=AGENT),
        (
            'take_snapshot { stream { department: "市监局" source: "db" table: "main.t" }'
            ' from_key: "[1, \\"a\\"]" to_key: "[9, \\"b\\"]" }'
        ),
    ),
    "resend": (
        lambda control, who: commands.resend(control.ledger, who, TABLE, 2, 41, "why", agent=AGENT),
        'resend { stream { department: "市监局" source: "db" table: "main.t" } epoch: 2 from_seq: 41 }',
    ),
    "reload": (lambda control, who: commands.reload(control.ledger, who, AGENT, "why"), "reload { }"),
    "rotate_certificate": (
        lambda control, who: commands.rotate(control.ledger, who, AGENT, "why"),
        "rotate_certificate { }",
    ),
    "collect_diagnostics": (
        lambda control, who: commands.diagnostics(control.ledger, who, AGENT, "why"),
        "collect_diagnostics { }",
    ),
    "drain": (
        lambda control, who: commands.drain(control.ledger, who, AGENT, "why", TABLE, 7),
        'drain { timeout_seconds: 7 stream { department: "市监局" source: "db" table: "main.t" } }',
    ),
    "report_all": (lambda control, who: commands.report(control.ledger, who, AGENT, "why"), "report_all { }"),
}


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Controlled]:
    opened = Controlled(tmp_path / "collector")
    yield opened
    opened.close()


def test_every_kind_reaches_the_agent_and_its_effect_comes_back_into_the_audit(control: Controlled) -> None:
    agent = control.connect()
    for kind, (ask, wire) in KINDS.items():
        number = ask(control, OURS)
        command = answers(agent, kind, effect=f"did {kind}")
        command.ClearField("command_id")
        assert command == text_format.Parse(wire, control_pb2.Command())
        view = commands.wait(control.ledger, OURS, number, WAITS)
        assert (view.state, view.effect, view.why, view.asked_by) == ("done", f"did {kind}", "why", "市监")
        newest = control.ledger.audit.listing(subject=AGENT, limit=2)
        assert [(entry.action, entry.who, entry.why) for entry in newest] == [
            ("command done", AGENT, f"did {kind}"),
            ("command", "市监", "why"),
        ]
        assert newest[1].detail["via"] == "console"
    assert [view.kind for view in commands.listing(control.ledger, OURS, AGENT)] == list(reversed(KINDS))


def test_who_may_not_asks_nothing(control: Controlled) -> None:
    agent = control.connect()
    for ask, _ in KINDS.values():
        with pytest.raises(NotPermitted):
            ask(control, VIEWER)
        with pytest.raises(NotKnown):
            ask(control, OTHERS)
    number = commands.reload(control.ledger, OURS, AGENT, "why")
    with pytest.raises(NotKnown):
        commands.outcome(control.ledger, OTHERS, number)
    assert commands.listing(control.ledger, OTHERS) == []
    assert [view.id for view in commands.listing(control.ledger, VIEWER)] == [number]
    answers(agent, "reload")
    assert agent.quiet(0.6)


def test_a_scope_of_another_department_and_a_revoked_agent_are_not_possible(control: Controlled) -> None:
    control.connect()
    with pytest.raises(NotPossible):
        commands.pause(control.ledger, OPS, AGENT, Scope(stream=StreamName("民政局", "db", "main.t")), "why")
    with pytest.raises(NotKnown):
        commands.snapshot(control.ledger, OPS, TABLE, "why")
    control.ledger.agents.revoke(AGENT, who="ops", why="x")
    with pytest.raises(NotPossible):
        commands.reload(control.ledger, OPS, AGENT, "why")


def test_what_the_agent_cannot_do_is_told_with_its_reason(control: Controlled) -> None:
    agent = control.connect()
    number = commands.reload(control.ledger, OPS, AGENT, "why")
    answers(agent, "reload", code="FB-CONFIG", reason="a.toml: tabel: no such setting")
    with pytest.raises(CommandFailed, match="no such setting"):
        commands.wait(control.ledger, OPS, number, WAITS)
    (entry,) = control.ledger.audit.listing(action="command failed")
    assert (entry.who, entry.why, entry.detail["code"]) == (AGENT, "a.toml: tabel: no such setting", "FB-CONFIG")


def test_an_agent_that_goes_away_before_it_answers_is_unreachable_and_that_is_audited(control: Controlled) -> None:
    agent = control.connect()
    number = commands.reload(control.ledger, OPS, AGENT, "why")
    assert agent.next().command.WhichOneof("kind") == "reload"
    agent.cut()
    with pytest.raises(AgentUnreachable, match="connection ended"):
        commands.wait(control.ledger, OPS, number, WAITS)
    assert [entry.who for entry in control.ledger.audit.listing(action="command failed")] == ["collector"]


def test_a_command_waits_for_its_agent_as_long_as_it_may(control: Controlled) -> None:
    control.connect().cut()
    number = commands.send(control.ledger, OPS, AGENT, control_pb2.Command(reload=control_pb2.Reload()), "why")
    answers(control.connect(), "reload", effect="3 sources")
    assert commands.wait(control.ledger, OPS, number, WAITS).effect == "3 sources"
    until(lambda: control.ledger.commands.waiting() == set())
    short = timedelta(milliseconds=1)
    control.connect("mzj-01").cut()
    late = commands.send(control.ledger, OPS, "mzj-01", control_pb2.Command(reload=control_pb2.Reload()), "why", short)
    with pytest.raises(AgentUnreachable):
        commands.wait(control.ledger, OPS, late, WAITS)
    impatient = commands.reload(control.ledger, OPS, "mzj-01", "why")
    with pytest.raises(AgentUnreachable):
        commands.wait(control.ledger, OPS, impatient, timedelta(0))
    assert commands.outcome(control.ledger, OPS, impatient).state == "cancelled"
    assert control.connect("mzj-01").quiet(0.6), "what nobody waits for any more is not sent"


def test_a_file_comes_in_parts_and_is_whole(control: Controlled) -> None:
    agent = control.connect()
    number = commands.diagnostics(control.ledger, OPS, AGENT)
    command = agent.next().command
    pieces = [bytes([number]) * 300_000 for number in range(7)]
    for piece in pieces:
        agent.say(result=control_pb2.CommandResult(command_id=command.command_id, data=piece))
    agent.say(result=control_pb2.CommandResult(command_id=command.command_id, done=True, effect="12 files"))
    view = commands.wait(control.ledger, OPS, number, WAITS)
    assert view.effect == "12 files"
    assert 2_100_000 <= view.data_bytes < 2_101_000
    assert b"".join(commands.data(control.ledger, OPS, number)) == b"".join(pieces)
    with pytest.raises(NotKnown):
        list(commands.data(control.ledger, OTHERS, number))


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(control: Controlled, capsys: pytest.CaptureFixture[str]) -> Run:
    def running(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--data", str(control.stage.settings.folder), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return running


def test_the_command_line_waits_for_the_effect_and_prints_it(control: Controlled, run: Run) -> None:
    agent = control.connect()
    replies = threading.Thread(target=answers, args=(agent, "pause", "source db is paused"))
    replies.start()
    code, out, _ = run("command", "pause", AGENT, "--source", "db", "--reason", "maintenance")
    replies.join()
    assert (code, out) == (0, f"{AGENT}: pause: source db is paused\n")
    (row,) = json.loads(run("command", "list", "--json")[1])
    assert (row["agent"], row["kind"], row["why"], row["outcome"]) == (
        AGENT,
        "pause",
        "maintenance",
        "source db is paused",
    )
    assert "source db is paused" in run("command", "list", "--agent", AGENT)[1]


def test_the_command_line_saves_a_file_and_never_overwrites_one(control: Controlled, run: Run, tmp_path: Path) -> None:
    agent = control.connect()
    path = tmp_path / "d.tar.zst"

    def reply() -> None:
        command = agent.next().command
        agent.say(result=control_pb2.CommandResult(command_id=command.command_id, data=b"abc"))
        agent.say(result=control_pb2.CommandResult(command_id=command.command_id, done=True, effect="1 file"))

    replies = threading.Thread(target=reply)
    replies.start()
    code, out, _ = run("command", "diagnostics", AGENT, "--out", str(path))
    replies.join()
    assert (code, path.read_bytes()) == (0, b"abc")
    assert "1 file" in out
    code, _, err = run("command", "diagnostics", AGENT, "--out", str(path))
    assert code == 3
    assert "remedy:" in err
    assert agent.quiet(0.6), "nothing was asked for that there is no place for"
    late = tmp_path / "late.tar.zst"
    assert run("command", "diagnostics", AGENT, "--out", str(late), "--timeout", "2s")[0] == 1
    assert not late.exists()


def test_the_command_line_ends_with_4_when_the_agent_is_not_there_and_1_when_it_says_no(
    control: Controlled, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = control.connect()
    replies = threading.Thread(target=answers, args=(agent, "reload", "", "FB-CONFIG", "no such setting"))
    replies.start()
    code, _, err = run("command", "reload", AGENT, "--reason", "x")
    replies.join()
    assert code == 1
    assert "no such setting" in err
    agent.cut()
    monkeypatch.setattr(commands, "TAKES", timedelta(milliseconds=100))
    code, _, err = run("command", "reload", AGENT, "--reason", "x")
    assert code == 4
    assert "not connected" in err
    assert run("command", "reload", "nobody", "--reason", "x")[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["command", "pause", AGENT],
        ["command", "pause", AGENT, "--reason", "x", "--source", "a", "--stream", "a/b/c"],
        ["command", "snapshot", "a/b/c", "--reason", "x", "--from", "1000"],
        ["command", "resend", "a/b/c", "--reason", "x"],
        ["offer", "make", AGENT, "--reason", "x"],
        ["offer", "make", AGENT, "--set", "a=1"],
        ["offer", "make", AGENT, "--set", "a", "--reason", "x"],
    ],
)
def test_what_changes_something_needs_a_reason_and_everything_in_its_form(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err
