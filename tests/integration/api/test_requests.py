"""What does not fit the description is refused, as a problem that says what does not, and repeats no value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from forebay_collector.api.serving import MOST_BYTES
from forebay_collector.console.protection import MOST_BYTES as MOST_OF_ANY
from forebay_collector.errors import LedgerUnavailable
from forebay_collector.ledger.agents import Agents
from tests.integration.api.conftest import Staff
from tests.loading.stage import AGENT
from tests.programs.office import HELD
from tests.programs.program import at, refusal
from tests.receiving.batches import STREAM

COMMAND = f"/agents/{AGENT}/commands"


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        (COMMAND, {"kind": "pause", "why": "x", "whole": True}, "pause/whole"),
        (COMMAND, {"kind": "explode", "why": "x"}, ""),
        (COMMAND, {"kind": "pause"}, "pause/why"),
        (COMMAND, {"kind": "pause", "why": " \t"}, "pause/why"),
        (COMMAND, {"kind": "pause", "why": "a\x00b"}, "pause/why"),
        (COMMAND, {"kind": "drain", "timeout_s": "60"}, "drain/timeout_s"),
        (COMMAND, {"kind": "drain", "timeout_s": 1.5}, "drain/timeout_s"),
        (COMMAND, {"kind": "drain", "timeout_s": 10**30}, "drain/timeout_s"),
        (COMMAND, [], ""),
        ("/quarantine/replay", {"batches": [], "why": "x"}, "batches"),
        (
            "/quarantine/replay",
            {"batches": [{"stream": str(HELD), "epoch": 1, "seq": 2, "of": 3}], "why": "x"},
            "batches/0/of",
        ),
        ("/rollouts", {"agents": [AGENT], "settings": {"": 1}, "why": "x"}, "settings//[key]"),
        ("/users", {"name": "x", "roles": ["king"], "departments": None}, "roles/0"),
        ("/users", {"name": "x", "roles": ["viewer"]}, "departments"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_and_told_where(staff: Staff, path: str, body: Any, wrong: str) -> None:
    problem = staff["ops"].refused(400, "FB-REQUEST", path, body)
    assert wrong in [one["name"] for one in problem["errors"]], problem
    assert {one["part"] for one in problem["errors"]} == {"body"}


@pytest.mark.parametrize("text", [b"", b"{", b"[1,]", b"\xff\xfe", b'{"kind": NaN}', b"[" * 5_000])
def test_what_is_no_json_is_refused(staff: Staff, text: bytes) -> None:
    headers = {"content-type": "application/json"}
    refusal(staff["ops"].http.post(COMMAND, content=text, headers=headers), 400, "FB-REQUEST")


def test_a_body_that_does_not_say_that_it_is_json_is_refused(staff: Staff) -> None:
    for media in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
        answer = staff["ops"].http.post(COMMAND, content=b'{"kind": "reload", "why": "x"}', headers=media)
        refusal(answer, 415, "FB-MEDIA")
    fine = {"content-type": "Application/JSON; charset=utf-8"}
    assert staff["ops"].http.post(COMMAND, content=b'{"kind": "reload", "why": "x"}', headers=fine).status_code == 202


def test_a_body_that_is_too_long_is_refused_however_it_is_sent(staff: Staff) -> None:
    http, headers = staff["ops"].http, {"content-type": "application/json"}
    for length in (MOST_BYTES + 1, MOST_OF_ANY + 1):
        answer = http.post(COMMAND, content=b" " * length, headers=headers)
        refusal(answer, 413, "FB-REQUEST-LONG")

    def parts() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 1_024 + 1):
            yield b" " * 1_024

    refusal(http.post(COMMAND, content=parts(), headers=headers), 413, "FB-REQUEST-LONG")


@pytest.mark.parametrize(
    ("path", "query", "wrong"),
    [
        ("/agents", "state=blue", "state"),
        ("/agents", "limit=0", "limit"),
        ("/agents", "limit=1001", "limit"),
        ("/agents", "limit=1e2", "limit"),
        ("/agents", "limit=%201", "limit"),
        ("/agents", "states=red", "states"),
        ("/agents", "q=a&q=b", "q"),
        ("/me", "x=1", "x"),
        ("/streams", "held=1", "held"),
        ("/batches", "cursor=1.2.3", "cursor"),
        ("/verifications", "cursor=-1", "cursor"),
        ("/commands", "cursor=1", "cursor"),
        (f"/streams/{at(STREAM)}/lag", "intervals=0", "intervals"),
    ],
)
def test_a_query_that_does_not_fit_is_refused_and_told_where(staff: Staff, path: str, query: str, wrong: str) -> None:
    problem = refusal(staff["ops"].http.get(f"{path}?{query}"), 400, "FB-REQUEST")
    assert [(one["part"], one["name"]) for one in problem["errors"]] == [("query", wrong)]


def test_a_refusal_repeats_no_value_of_the_request(staff: Staff) -> None:
    secret = "correct-horse-battery"
    asked = {"name": "x", "roles": [secret], "departments": None, "password": [secret], secret[:3]: 1}
    assert secret not in str(staff["admin"].refused(400, "FB-REQUEST", "/users", asked))


def test_where_nothing_is_and_what_an_address_has_not_is_told(staff: Staff) -> None:
    http = staff["ops"].http
    for path in ("/", "/nothing", "/agents/a/b", "/streams/a/b", "/agents/%ff", "/agents/", "/agents/a%0Ab/x"):
        refusal(http.get(path, follow_redirects=False), 404, "FB-NOT-KNOWN")
    answer = http.delete("/users")
    refusal(answer, 405, "FB-METHOD")
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert http.head("/agents").status_code == 200


def test_the_kinds_of_problems_are_read_without_a_token(staff: Staff) -> None:
    problem = staff["seer"].refused(403, "FB-PERMISSION", COMMAND, {"kind": "reload", "why": "x"})
    http = staff["seer"].http
    del http.headers["authorization"]
    kind = http.get(problem["type"].removeprefix("/api/v1")).json()
    assert {name: problem[name] for name in ("code", "title", "remedy", "status")} == kind
    codes = [one["code"] for one in http.get("/problems").json()["items"]]
    assert codes == sorted(codes)
    assert {"FB-API-TOKEN", "FB-PACE", "FB-LEDGER"} <= set(codes)
    refusal(http.get("/problems/FB-NONE"), 404, "FB-NOT-KNOWN")


def test_what_has_no_name_is_told_by_its_code_only(
    staff: Staff, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seer = staff["seer"]

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("an inner secret")

    with monkeypatch.context() as patch:
        patch.setattr(Agents, "get", broken)
        problem = seer.refused(500, "FB-COLLECTOR", f"/agents/{AGENT}")
    assert "secret" not in str(problem)
    assert "api broke operation=agent" in caplog.text


def test_while_the_ledger_is_away_it_says_when_to_come_again(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    seer = staff["seer"]

    def away(*_: object, **__: object) -> None:
        raise LedgerUnavailable("the disk is away")

    with monkeypatch.context() as patch:
        patch.setattr(Agents, "get", away)
        answer = seer.http.get(f"/agents/{AGENT}")
    assert refusal(answer, 503, "FB-LEDGER")["detail"] == "the disk is away"
    assert int(answer.headers["retry-after"]) >= 1
    assert seer.get(f"/agents/{AGENT}")["name"] == AGENT
