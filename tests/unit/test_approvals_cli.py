"""Approvals on the command line, and how a collector is told who approves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay_collector.cli import main
from forebay_collector.errors import ConfigurationError, NotPossible
from forebay_collector.founding import init
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.proposals import Column, Decided, ProposalRecord
from forebay_collector.settings import load_settings
from forebay_wire.stream import StreamName

STREAM = StreamName("市监局", "djk", "public.enterprise")
OTHER = StreamName("民政局", "dbk", "public.low_income")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(init(tmp_path / "c", ["127.0.0.1:7443"]).data.ledger)
    yield opened
    opened.close()


@pytest.fixture
def run(ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def running(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--data", str(tmp_path / "c"), "approvals", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return running


def propose(ledger: Ledger, stream: StreamName = STREAM, **masks: str) -> None:
    columns = tuple(Column(name, "varchar(20)", "string", mask) for name, mask in masks.items())
    said = ("cursor", "deletes are not seen", "每日", "", "")
    record = ProposalRecord(stream, "a1", columns, ("id",), *said, 0, 0, 0, Decided())
    ledger.approvals.propose("a1", [record], complete=False, automatic=False)


def in_json(run: Run, *arguments: str) -> Any:
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_what_waits_is_listed_shown_approved_and_gone_from_the_list(run: Run, ledger: Ledger) -> None:
    assert run() == (0, "nothing waits for approval\n", "")
    propose(ledger, id="", name="name")
    propose(ledger, OTHER, id="")
    code, out, _ = run()
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == [str(STREAM), str(OTHER)]
    assert [one["stream"] for one in in_json(run, "--department", "市监局")] == [str(STREAM)]
    code, out, _ = run("show", str(STREAM))
    assert code == 0
    assert "每日" in out
    assert [line.split()[:2] for line in out.splitlines()[-2:]] == [["id", "string"], ["name", "string"]]
    code, out, _ = run("approve", str(STREAM), str(OTHER), "--reason", "agreement 17")
    assert (code, out) == (0, f"{STREAM}: approved: id, name\n{OTHER}: approved: id\n")
    assert in_json(run) == []
    (entry,) = ledger.audit.listing(action="approve", subject=str(STREAM))
    assert (entry.why, entry.detail["via"]) == ("agreement 17", "cli")


def test_a_weaker_mask_is_shown_beside_the_approved_one(run: Run, ledger: Ledger) -> None:
    propose(ledger, id="", name="name")
    run("approve", str(STREAM))
    propose(ledger, id="", name="")
    (view,) = in_json(run)
    assert (view["waiting"], view["flows"]) == (["name"], True)
    assert "without (approved: name)" in run("show", str(STREAM))[1]


def test_columns_are_approved_rejected_and_withdrawn_by_name(run: Run, ledger: Ledger) -> None:
    propose(ledger, id="", name="name", phone="mobile", note="")
    assert run("approve", str(STREAM), "--columns", "id, name,phone")[1] == f"{STREAM}: approved: id, name, phone\n"
    assert run("reject", str(STREAM), "--columns", "note", "--reason", "free text")[0] == 0
    assert run("withdraw", str(STREAM), "--columns", "phone", "--reason", "not needed")[0] == 0
    states = {column["name"]: column["state"] for column in in_json(run, "show", str(STREAM))["columns"]}
    assert states == {"id": "approved", "name": "approved", "phone": "withdrawn", "note": "rejected"}
    assert run("withdraw", str(STREAM), "--reason", "ended")[0] == 0
    assert [one["state"] for one in in_json(run, "--state", "withdrawn")] == ["withdrawn"]
    assert "ended" in run("show", str(STREAM))[1]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["approve", "a/b/c"], 1),
        (["show", "a/b/c"], 1),
        (["approve", str(STREAM), "--columns", "nothing"], 1),
        (["approve", str(STREAM), "--columns", "name"], 5),
        (["withdraw", str(STREAM), "--reason", "x"], 5),
        (["reject", str(STREAM), "--reason", " "], 5),
        (["approve", str(STREAM), "a/b/c", "--columns", "id"], 5),
    ],
)
def test_what_cannot_be_done_ends_with_its_code_and_a_remedy(
    run: Run, ledger: Ledger, arguments: list[str], code: int
) -> None:
    propose(ledger, id="", name="name")
    ended, _, err = run(*arguments)
    assert ended == code
    assert "remedy: " in err
    assert "Traceback" not in err


def test_of_several_one_that_cannot_be_approved_stops_none_of_the_others(run: Run, ledger: Ledger) -> None:
    propose(ledger, id="")
    code, out, _ = run("approve", "a/b/c", str(STREAM))
    assert code == 1
    assert out.splitlines() == ["a/b/c: stream a/b/c was not proposed", f"{STREAM}: approved: id"]


@pytest.mark.parametrize("arguments", [["reject", "a/b/c"], ["withdraw", "a/b/c"], ["approve"], ["--state", "lost"]])
def test_wrong_usage_ends_with_2(run: Run, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2


def test_people_approve_unless_init_is_told_otherwise(tmp_path: Path) -> None:
    assert init(tmp_path / "a", ["h:1"]).approval.mode == "manual"
    assert init(tmp_path / "b", ["h:1"], "auto").approval.mode == "auto"
    assert init(tmp_path / "b", ["h:1"]).approval.mode == "auto", "again, saying nothing, changes nothing"
    with pytest.raises(NotPossible, match="auto"):
        init(tmp_path / "b", ["h:1"], "manual")
    assert main(["--data", str(tmp_path / "d"), "init", "--address", "h:1", "--approve", "auto"]) == 0
    assert load_settings(tmp_path / "d").approval.mode == "auto"


def test_a_way_to_approve_that_is_none_is_refused(tmp_path: Path) -> None:
    path = init(tmp_path, ["h:1"]).data.settings
    path.write_text(path.read_text().replace('mode = "manual"', 'mode = "everything"'))
    with pytest.raises(ConfigurationError) as refused:
        load_settings(tmp_path)
    assert refused.value.key == "approval.mode"
    path.write_text('addresses = ["h:1"]\nlisten = "h:1"\n')
    assert load_settings(tmp_path).approval.mode == "manual", "a collector of before there were approvals"
