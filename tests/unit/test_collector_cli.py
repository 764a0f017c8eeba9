"""The collector's command line: listings, deeds, exit codes, and what a person reads when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay_collector.cli import main
from forebay_collector.cli.listing import width
from forebay_collector.cli.main import COMMANDS
from forebay_collector.control import ask
from forebay_collector.ledger import BatchState
from forebay_collector.ledger.heartbeats import Beat
from forebay_collector.platform.contract import PlatformError
from forebay_wire.stream import StreamName
from tests.loading.stage import AGENT, Moody, Stage
from tests.receiving.batches import DEPARTMENT, STREAM, chained
from tests.receiving.collector import enrolled

OTHER = StreamName(DEPARTMENT, "db", "main.permit")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    opened = Stage(tmp_path / "collector")
    yield opened
    opened.close()


@pytest.fixture
def run(stage: Stage, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on the stage's folder; -> exit code, stdout, stderr."""

    def running(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--data", str(stage.settings.folder), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return running


@pytest.fixture
def filled(stage: Stage) -> Stage:
    """Two streams: one loaded, one held by its second batch."""
    enrolled(stage.settings, stage.ledger, AGENT)
    stage.receive(chained(3))
    stage.receive(chained(3, OTHER))
    stage.loader().load_step(STREAM)
    refuses = PlatformError("a value does not fit", code="FB-TEST-REFUSES", permanent=True)
    stage.loader(Moody(stage.platform, lambda batch: refuses if batch.seq == 2 else None)).load_step(OTHER)
    return stage


def test_every_command_teaches_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        told = capsys.readouterr().out
        assert f"forebay-collector {name}" in told.partition("examples:")[2], name
        assert "exit codes:" in told


def test_without_a_command_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    told = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n    {name} " not in told] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["streams", "--no-such-option"],
        ["batches", "--state", "lost"],
        ["batches", "--since", "yesterday"],
        ["batches", "--stream", "only/two"],
        ["replay", "a/b/c"],
        ["verify"],
        ["verify", "a/b/c", "--all"],
        ["token", "--department", "d", "--agent", "a", "--expires", "0x"],
        ["serve", "--role", "receive,dance"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["streams"], ["agents", "--json"], ["tables"], ["sql", "select 1"], ["serve"]])
def test_without_a_collector_in_the_folder_a_command_ends_with_3_and_the_remedy(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path / "nothing"), *arguments]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error:  ")
    assert "remedy: " in told.err
    assert "forebay-collector init" in told.err
    assert "Traceback" not in told.err
    assert not (tmp_path / "nothing").exists()


def test_the_folder_may_come_from_the_environment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOREBAY_DATA", str(stage.settings.folder))
    assert main(["streams"]) == 0
    assert capsys.readouterr().out == "no streams\n"


def test_init_makes_a_collector_and_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--data", str(tmp_path / "c"), "init", "--address", "10.1.2.3"]
    assert main(command) == 0
    assert "10.1.2.3:7443" in capsys.readouterr().out
    assert main(command) == 0, "again is nothing"
    assert main([*command[:-1], "10.9.9.9"]) == 5, "another address is refused"
    assert "remedy:" in capsys.readouterr().err


def test_a_token_in_a_file_is_readable_only_by_its_owner(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.token"
    code, out, _ = run("token", "--department", "市监局", "--agent", "scjg-01", "--expires", "2h", "--out", str(path))
    assert code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() not in out
    code, printed, _ = run("token", "--department", "市监局", "--agent", "scjg-01")
    assert code == 0
    assert printed.startswith("fbt1.")
    code, _, err = run("token", "--department", "市监局", "--agent", "a/b")
    assert code == 5
    assert "remedy:" in err


def test_streams_show_marks_lag_and_why_a_stream_is_held(run: Run, filled: Stage) -> None:
    code, out, _ = run("streams", "--json")
    assert code == 0
    fine, held = sorted(json.loads(out), key=lambda row: row["state"] == "held")
    assert (fine["stream"], fine["state"], fine["durable"], fine["loaded"]) == (str(STREAM), "idle", "1/3", "1/3")
    assert (fine["behind"], fine["lag_seconds"]) == (0, 0.0)
    assert fine["quiet_seconds"] > 0
    assert (held["stream"], held["state"], held["durable"], held["loaded"]) == (str(OTHER), "held", "1/3", "1/1")
    assert (held["behind"], held["rows_behind"], held["code"]) == (2, 6, "FB-TEST-REFUSES")
    assert held["lag_seconds"] > 0
    assert "replay" in held["remedy"]
    code, out, _ = run("streams")
    assert code == 0
    assert "reason: FB-TEST-REFUSES: batch 1/2: a value does not fit" in out
    assert "remedy: " in out
    code, out, _ = run("streams", "--held", "--json")
    assert [row["stream"] for row in json.loads(out)] == [str(OTHER)]


def test_columns_stand_below_each_other_though_chinese_is_twice_as_wide(run: Run, filled: Stage) -> None:
    _, out, _ = run("streams")
    head, *lines = out.splitlines()[:3]
    place = width(head[: head.index("AGENT")])
    for line in lines:
        before = line[: line.index(AGENT)]
        assert width(before) == place
    assert width("市监局a") == 7


def test_batches_are_filtered_and_their_json_is_whole(run: Run, filled: Stage) -> None:
    _, out, _ = run("batches", "--json")
    assert len(json.loads(out)) == 6
    _, out, _ = run("batches", "--stream", str(OTHER), "--state", "quarantined", "--json")
    (batch,) = json.loads(out)
    assert (batch["seq"], batch["rows"], batch["ops"], batch["code"]) == (2, 3, "c3", "FB-TEST-REFUSES")
    assert (batch["attempts"], batch["agent"]) == (1, AGENT)
    _, out, _ = run("batches", "--limit", "2", "--since", "1h", "--agent", AGENT, "--json")
    assert len(json.loads(out)) == 2
    _, out, _ = run("batches", "--agent", "nobody")
    assert out == "no batches\n"
    _, out, _ = run("batches")
    assert "quarantined" in out


def test_agents_are_listed_and_revoked_with_a_reason(run: Run, filled: Stage) -> None:
    health = {
        "cpu_percent": 12.0,
        "memory_available_bytes": 1 << 30,
        "disk_free_bytes": 5 << 30,
        "outbox": {"batches": 3, "bytes": 2048, "full": False},
        "configuration_refusal": "a.toml: tabel: no such setting",
    }
    now = filled.ledger.database.clock()
    filled.ledger.heartbeats.write([Beat(AGENT, now, json.dumps(health), {}, (), True, (), None, None, False)])
    code, out, _ = run("agents", "--json")
    assert code == 0
    (agent,) = json.loads(out)
    assert (agent["agent"], agent["department"], agent["state"]) == (AGENT, DEPARTMENT, "red")
    assert {why["code"] for why in agent["why"]} == {"FB-TEST-REFUSES", "FB-CONFIG-REFUSED"}
    assert json.loads(run("agents", "--state", "green,grey", "--json")[1]) == []
    _, out, _ = run("agents")
    assert "3, 2.0 KiB" in out
    assert "tabel" in out
    assert run("agents", "revoke", AGENT, "--reason", "appliance replaced")[0] == 0
    assert json.loads(run("agents", "--json")[1])[0]["state"] == "revoked"
    _, out, _ = run("audit", "--action", "revoke", "--json")
    (entry,) = json.loads(out)
    assert (entry["subject"], entry["why"]) == (AGENT, "appliance replaced")
    assert entry["who"]
    code, _, err = run("agents", "revoke", "nobody", "--reason", "x")
    assert code == 1
    assert "remedy:" in err


def test_replay_releases_and_says_when_nothing_loads(run: Run, filled: Stage) -> None:
    code, out, _ = run("replay", str(OTHER), "--reason", "widened", "--wait", "100ms")
    assert code == 0
    assert "not loaded yet" in out
    assert filled.ledger.audit.listing(action="replay")[0].why == "widened"
    code, _, err = run("replay", str(OTHER), "--reason", "again")
    assert code == 5
    assert "nothing to replay" in err
    assert run("replay", "no/such/stream", "--reason", "x")[0] == 1


def test_replay_tells_the_outcome_of_the_load(run: Run, filled: Stage) -> None:
    import threading

    def load() -> None:
        time.sleep(0.5)
        filled.loader().load_step(OTHER)

    thread = threading.Thread(target=load)
    thread.start()
    code, out, _ = run("replay", str(OTHER), "--seq", "2", "--reason", "widened", "--wait", "20s")
    thread.join()
    assert (code, out) == (0, f"{OTHER} 1/2: loaded\n")


def test_discard_refuses_another_batch_than_the_held_one_and_is_audited(run: Run, filled: Stage) -> None:
    code, _, err = run("replay", str(OTHER), "--seq", "3", "--discard", "--reason", "test rows")
    assert code == 5
    assert "--seq 2" in err
    code, out, _ = run("replay", str(OTHER), "--seq", "2", "--discard", "--reason", "test rows")
    assert code == 0
    assert "discarded" in out
    assert filled.states(OTHER)[2] is BatchState.DISCARDED
    entry = filled.ledger.audit.listing(action="discard")[0]
    assert (entry.why, entry.subject) == ("test rows", f"{OTHER} 1/2")
    assert entry.who


def test_tables_and_sql_answer_over_the_platform(run: Run, filled: Stage) -> None:
    _, out, _ = run("tables", "--json")
    tables = {(row["stream"], row["kind"]): row for row in json.loads(out)}
    mirror = tables[str(STREAM), "mirror"]
    assert (mirror["rows"], mirror["mark"]) == (9, "1/3")
    assert tables[str(STREAM), "changes"]["rows"] == 9
    assert "mirror" in run("tables")[1]
    count = f'select count(*) as n, null as nothing, true as yes from "{mirror["table"]}"'
    assert json.loads(run("sql", count, "--format", "json")[1]) == [{"n": 9, "nothing": None, "yes": True}]
    assert run("sql", count, "--format", "csv")[1] == "n,nothing,yes\n9,,true\n"
    assert run("sql", count)[1] == "n  nothing  yes\n9  NULL     true\n(1 row)\n"
    empty = f'select id from "{mirror["table"]}" where id < 0'
    assert json.loads(run("sql", empty, "--format", "json")[1]) == []
    assert run("sql", empty)[1] == "id\n(0 rows)\n"


@pytest.mark.parametrize("query", ["selec 1", "select * from no_such_table", "drop table x", "select 1; select 2", ""])
def test_a_query_that_cannot_be_answered_ends_with_1_and_no_traceback(run: Run, filled: Stage, query: str) -> None:
    code, out, err = run("sql", query)
    assert code == 1
    assert out == ""
    assert "error: " in err
    assert "remedy: " in err
    assert "Traceback" not in err


def test_verify_ends_with_4_when_the_agent_is_not_there(
    run: Run, filled: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    monkeypatch.setattr(ask, "PICKED_UP_WITHIN", timedelta(milliseconds=300))
    code, out, err = run("verify", str(STREAM))
    assert code == 4
    assert out == ""
    assert AGENT in err
    code, out, _ = run("verify", "--all", "--json")
    assert code == 4
    assert [(entry["equal"], entry["code"]) for entry in json.loads(out)] == [(None, "FB-AGENT-UNREACHABLE")] * 2
    assert run("verify", "no/such/stream")[0] == 1


def test_an_unknown_error_is_told_without_traceback_unless_debug_asks(
    run: Run, filled: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("forebay_collector.ledger.audit.Audit.listing", fails)
    code, _, err = run("audit")
    assert code == 1
    assert "RuntimeError: boom" in err
    assert "Traceback" not in err
    assert main(["--data", str(filled.settings.folder), "--debug", "audit"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(filled: Stage) -> None:
    command = [sys.executable, "-m", "forebay_collector.cli", "--data", str(filled.settings.folder)]
    name = next(table.name for table in filled.platform.tables() if table.stream == STREAM)
    query = f'select a.id from "{name}" a, "{name}" b, "{name}" c, "{name}" d, "{name}" e'
    process = subprocess.Popen([*command, "sql", query, "--format", "csv"], stdout=-1, stderr=-1)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(30), errors) == (0, b"")


def test_interrupted_it_ends_with_130(filled: Stage) -> None:
    filled.ledger.quarantine.release(OTHER, who="ops", why="x")
    refuses = PlatformError("no", code="FB-TEST-REFUSES", permanent=True)
    filled.loader(Moody(filled.platform, lambda _: refuses)).load_step(OTHER)
    command = [sys.executable, "-m", "forebay_collector.cli", "--data", str(filled.settings.folder)]
    process = subprocess.Popen(
        [*command, "replay", str(OTHER), "--reason", "x", "--wait", "1m"], stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    assert b"waiting for the loader" in process.stderr.readline()
    os.kill(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    process.stderr.close()
    assert (process.wait(30), rest) == (130, b"")
