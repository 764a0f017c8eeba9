"""Alerts and maintenance windows on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay_collector.cli import main
from forebay_collector.founding import init
from forebay_collector.ledger import Ledger, alerts
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.ledger.alerts import Condition
from tests.alerting.hooks import HookServer

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return init(tmp_path / "c", ["127.0.0.1:7443"]).folder


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    opened = Ledger.open(folder / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def running(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--data", str(folder), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return running


def is_silent(ledger: Ledger, agent: str = "scjg-01", department: str = "市监局") -> None:
    detail = {"since": 1_790_000_000_000_000}
    silent = Condition("agent_silent", agent, department, agent, "critical", "FB-AGENT-SILENT", detail)
    with ledger.database.write() as connection:
        alerts.put(connection, [silent], ledger.database.clock())


def in_json(run: Run, *arguments: str) -> Any:
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_what_is_the_matter_is_listed_acknowledged_and_kept_in_the_history(run: Run, ledger: Ledger) -> None:
    assert run("alerts") == (0, "nothing is the matter\n", "")
    is_silent(ledger)
    is_silent(ledger, "mzj-01", "民政局")
    code, out, _ = run("alerts")
    assert code == 0
    assert "critical" in out
    assert "no heartbeat since 2026-09-2" in out
    (one,) = in_json(run, "alerts", "--department", "市监局")
    assert (one["subject"], one["code"], one["acknowledged_by"]) == ("scjg-01", "FB-AGENT-SILENT", "")
    assert run("alerts", "acknowledge", str(one["id"]), "--reason", "dug up")[0] == 0
    code, _, err = run("alerts", "acknowledge", str(one["id"]), "--reason", "again")
    assert code == 5
    assert "is acknowledged by" in err
    assert run("alerts", "acknowledge", "99", "--reason", "x")[0] == 1
    with ledger.database.write() as connection:
        alerts.close(connection, [one["id"]], ledger.database.clock())
    assert [each["subject"] for each in in_json(run, "alerts", "list")] == ["mzj-01"]
    history = in_json(run, "alerts", "history", "--kind", "agent_silent")
    assert [each["subject"] for each in history] == ["mzj-01", "scjg-01"]
    assert history[1]["until"] is not None
    assert in_json(run, "alerts", "history", "--kind", "canary_late") == []


def test_a_window_is_opened_listed_and_closed(run: Run, ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        put_certificate(connection, "scjg-01", "市监局", "1", 2**62, 1, hostname="h", version="0")
    assert run("maintenance") == (0, "no maintenance windows\n", "")
    opened = in_json(run, "maintenance", "open", "--agent", "scjg-01", "--for", "2h", "--reason", "new disk")
    assert (opened["state"], opened["scope"], opened["name"]) == ("open", "agent", "scjg-01")
    is_silent(ledger)
    assert in_json(run, "alerts")[0]["silenced"]
    far = ("--from", "2999-01-01T00:00", "--for", "1h", "--reason", "x")
    code, _, err = run("maintenance", "open", "--department", "市监局", *far)
    assert code == 5
    assert "within 90 days" in err
    assert run("maintenance", "open", "--agent", "nobody", "--for", "1h", "--reason", "x")[0] == 1
    code, out, _ = run("maintenance", "close", str(opened["id"]), "--reason", "done early")
    assert code == 0
    assert f"window {opened['id']} is over" in out
    assert in_json(run, "maintenance") == []
    assert [one["why"] for one in in_json(run, "maintenance", "list", "--past")] == ["new disk"]
    assert not in_json(run, "alerts")[0]["silenced"]


def test_a_channel_is_tried_and_its_outcome_is_listed(run: Run, folder: Path) -> None:
    assert "no channel is on" in run("alerts", "channels")[1]
    code, _, err = run("alerts", "test", "wecom")
    assert code == 1
    assert "channel wecom is not on" in err
    settings = folder / "collector.toml"
    key = "693a91f6-7xxx-4bc4"
    with HookServer() as server:
        (folder / "wecom.robot").write_text(f"{server.address}/send?key={key}")
        settings.write_text(
            settings.read_text().replace("#robot", "robot").replace('robot = ""', 'robot = "wecom.robot"')
        )
        assert run("alerts", "test", "wecom")[:2] == (0, "wecom: sent: errcode 0: ok\n")
        server.answer = lambda _: (200, f'{{"errcode":93000,"errmsg":"bad {key}"}}'.encode(), {})
        code, out, err = run("alerts", "test", "wecom")
        assert code == 4
        assert "errcode 93000" in err
        assert key not in out + err
    (wecom,) = [one for one in in_json(run, "alerts", "channels") if one["channel"] == "wecom"]
    assert (wecom["state"], wecom["outcome"]) == ("failed", "errcode 93000: bad …")
