"""Programs read what people read on the console, of their departments and of no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forebay_collector.service import commands, configuration
from forebay_collector.service.commands import Scope
from tests.integration.api.conftest import Staff
from tests.loading.stage import AGENT
from tests.programs.office import ARCHIVE, HELD, OTHER, OTHERS_AGENT, PROPOSED, REFUSAL, SLASHED, Office
from tests.programs.program import CLI, at
from tests.receiving.batches import DEPARTMENT, STREAM


def test_agents_are_read_one_with_its_streams_and_over_time(staff: Staff) -> None:
    seer = staff["seer"]
    assert [agent["name"] for agent in seer.get("/agents")["items"]] == [AGENT, OTHERS_AGENT]
    assert [agent["name"] for agent in seer.get("/agents", q="MZJ")["items"]] == [OTHERS_AGENT]
    assert [agent["name"] for agent in seer.get("/agents", state="grey")["items"]] == [OTHERS_AGENT]
    assert [agent["name"] for agent in seer.get("/agents", department=DEPARTMENT)["items"]] == [AGENT]
    agent = seer.get(f"/agents/{AGENT}")
    assert (agent["state"], agent["outbox"]["bytes"], agent["health"]["cpu_percent"]) == ("red", 2_048, 12.5)
    by_name = {stream["stream"]: stream for stream in agent["streams"]}
    assert by_name[str(STREAM)] | {"mode": "log", "durable": {"epoch": 1, "seq": 3}} == by_name[str(STREAM)]
    assert (by_name[str(HELD)]["colour"], by_name[str(HELD)]["code"]) == ("red", "FB-TEST-REFUSES")
    assert [canary["round_trip_us"] for canary in agent["canaries"]] == [1_000_000]
    (sample,) = seer.get(f"/agents/{AGENT}/health")["items"]
    assert (sample["cpu_permille"], sample["clock_offset_us"]) == (125, 1_500)
    later = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    assert seer.get(f"/agents/{AGENT}/health", since=later)["items"] == []
    assert seer.get(f"/agents/{AGENT}/configuration")["newest_offer"]["state"] == "released"
    assert [offer["rollout"] for offer in seer.get(f"/agents/{AGENT}/offers")["items"]] == [1]
    (certificate,) = seer.get(f"/agents/{AGENT}/certificates")["items"]
    assert (certificate["ended_at"], certificate["ended_by"], len(certificate["serial"]) > 8) == (None, "", True)


def test_streams_are_read_with_their_lag_schemas_and_rows_and_a_look_at_rows_is_audited(
    office: Office, staff: Staff
) -> None:
    seer = staff["seer"]
    assert len(seer.get("/streams")["items"]) == 4
    assert [one["stream"] for one in seer.get("/streams", held="true")["items"]] == [str(HELD)]
    assert [one["stream"] for one in seer.get("/streams", agent=OTHERS_AGENT)["items"]] == [str(OTHER)]
    slashed = seer.get(f"/streams/{at(SLASHED)}")
    assert (slashed["stream"], slashed["batches_behind"]) == (str(SLASHED), 1)
    lag = seer.get(f"/streams/{at(STREAM)}/lag", intervals=4)["items"]
    assert (len(lag), sum(stretch["rows"] for stretch in lag)) == (4, 9)
    (schema,) = seer.get(f"/streams/{at(STREAM)}/schemas")["items"]
    assert [(column["name"], column["key"]) for column in schema["columns"]] == [("id", True), ("text", False)]
    sample = seer.get(f"/streams/{at(STREAM)}/sample")
    assert (sample["columns"], len(sample["rows"])) == (["id", "text"], 9)
    (entry,) = office.ledger.audit.listing(action="sample")
    assert (entry.who, entry.detail["via"], entry.subject) == ("seer", "api", str(STREAM))
    seer.refused(409, "FB-NOT-POSSIBLE", f"/streams/{at(SLASHED)}/sample")
    assert seer.get(f"/streams/{at(STREAM)}/batches")["items"][0]["seq"] == 3


def test_a_batch_is_read_with_its_whole_custody(staff: Staff) -> None:
    custody = staff["seer"].get(f"/streams/{at(HELD)}/batches/1/2")
    assert (custody["batch"]["state"], custody["batch"]["reason"]) == ("quarantined", REFUSAL)
    assert (custody["attached"], custody["before"], custody["after"]) == (
        True,
        {"epoch": 1, "seq": 1},
        {"epoch": 1, "seq": 3},
    )
    assert (len(custody["seal"]["chain"]), custody["archive"]["state"]) == (64, "whole")
    for place in ("1/9", "x/1", "1/99999999999999999999"):
        staff["seer"].refused(404, "FB-NOT-KNOWN", f"/streams/{at(HELD)}/batches/{place}")


def test_what_waits_what_is_held_and_what_was_compared_is_read(office: Office, staff: Staff) -> None:
    seer = staff["seer"]
    (held,) = seer.get("/quarantine")["items"]
    assert (held["stream"], held["batch"]["seq"], held["batches_waiting"]) == (str(HELD), 2, 2)
    assert seer.get("/quarantine", code="FB-ELSE")["items"] == []
    assert [one["stream"] for one in seer.get("/approvals")["items"]] == [f"{DEPARTMENT}/db/main.firm", str(PROPOSED)]
    assert [one["stream"] for one in seer.get("/approvals", state="approved")["items"]] == [str(STREAM)]
    proposal = seer.get(f"/approvals/{at(PROPOSED)}")
    assert [(column["name"], column["mask"], column["state"]) for column in proposal["columns"]] == [
        ("id", "", "waiting"),
        ("phone", "mobile", "waiting"),
    ]
    runs = seer.get("/verifications")["items"]
    assert [(run["stream"], run["state"]) for run in runs] == [(str(HELD), "waiting"), (str(STREAM), "waiting")]
    assert seer.get(f"/verifications/{office.verification}")["asked_by"] == "root"
    rollout = seer.get(f"/rollouts/{office.rollout}")
    assert (rollout["settings"], rollout["why"], [one["agent"] for one in rollout["offers"]]) == (
        {"outbox.cap": "2GiB"},
        "more room",
        [AGENT],
    )


def test_the_file_that_a_command_brought_is_read_as_it_is(office: Office, staff: Staff) -> None:
    seer = staff["seer"]
    told = seer.get(f"/commands/{office.command}")
    assert (told["state"], told["effect"], told["data_bytes"] > 0) == ("done", "collected 1 file", True)
    answer = seer.http.get(f"/commands/{office.command}/file")
    assert (answer.headers["content-type"], answer.content) == ("application/zstd", ARCHIVE)
    waits = next(one for one in seer.get("/commands")["items"] if one["kind"] == "pause")
    seer.refused(404, "FB-NOT-KNOWN", f"/commands/{waits['id']}/file")


def test_what_belongs_to_another_department_does_not_exist(office: Office, staff: Staff) -> None:
    mz = staff["mz"]
    assert [agent["name"] for agent in mz.get("/agents")["items"]] == [OTHERS_AGENT]
    assert [one["stream"] for one in mz.get("/streams")["items"]] == [str(OTHER)]
    assert {one["stream"] for one in mz.get("/batches")["items"]} == {str(OTHER)}
    for listing in ("/quarantine", "/approvals", "/verifications", "/rollouts", "/commands"):
        assert mz.get(listing)["items"] == [], listing
    for path in (
        *(f"/agents/{AGENT}{part}" for part in ("", "/health", "/configuration", "/offers", "/certificates")),
        *(f"/streams/{at(STREAM)}{part}" for part in ("", "/lag", "/schemas", "/sample", "/batches", "/batches/1/1")),
        *(f"/approvals/{at(PROPOSED)}", f"/verifications/{office.verification}", f"/rollouts/{office.rollout}"),
        *(f"/commands/{office.command}", f"/commands/{office.command}/file"),
    ):
        mz.refused(404, "FB-NOT-KNOWN", path)
    mz.refused(404, "FB-NOT-KNOWN", "/commands", agent=AGENT)


@pytest.mark.parametrize(
    ("path", "by"),
    [
        ("/agents", "name"),
        ("/streams", "stream"),
        ("/batches", "seq"),
        (f"/streams/{at(STREAM)}/batches", "seq"),
        ("/approvals?state=all", "stream"),
        ("/commands", "id"),
        ("/rollouts", "id"),
        ("/verifications", "id"),
    ],
)
def test_a_listing_read_page_by_page_is_the_whole_listing(office: Office, staff: Staff, path: str, by: str) -> None:
    for number in range(3):
        commands.resume(office.ledger, CLI, AGENT, Scope(), f"again {number}")
        configuration.offer(office.ledger, CLI, [AGENT, OTHERS_AGENT], {}, "back")
    _read_by_pages(staff, "seer", path, by)


@pytest.mark.parametrize(
    ("name", "path", "by"), [("auditor", "/audit", "id"), ("admin", "/users", "name"), ("admin", "/tokens", "id")]
)
def test_so_are_those_of_auditors_and_administrators(staff: Staff, name: str, path: str, by: str) -> None:
    for other in ("seer", "ops"):
        assert staff[other].get("/me")["account"] == other
    _read_by_pages(staff, name, path, by)


def _read_by_pages(staff: Staff, name: str, path: str, by: str) -> None:
    http = staff[name].http
    whole = http.get(path).json()
    assert whole["next"] is None
    assert len(whole["items"]) > 1
    asked = {"limit": "1"}
    found: list[dict[str, object]] = []
    while len(found) <= len(whole["items"]):
        page = http.get(path, params=dict(http.build_request("GET", path).url.params) | asked).json()
        found += page["items"]
        if page["next"] is None:
            break
        asked["cursor"] = page["next"]
    assert [one[by] for one in found] == [one[by] for one in whole["items"]]


def test_another_departments_rollouts_leave_no_hole_in_a_page(office: Office, staff: Staff) -> None:
    mine = configuration.offer(office.ledger, CLI, [OTHERS_AGENT], {}, "mine")
    for number in range(5):
        configuration.offer(office.ledger, CLI, [AGENT], {}, f"theirs {number}")
    assert [one["id"] for one in staff["mz"].get("/rollouts", limit=1)["items"]] == [mine]


def test_moments_are_rfc_3339_in_utc_and_filter_what_is_read(staff: Staff) -> None:
    auditor = staff["auditor"]
    entries = auditor.get("/audit")["items"]
    moments = [datetime.fromisoformat(entry["at"]) for entry in entries]
    assert all(entry["at"].endswith("Z") for entry in entries)
    assert moments == sorted(moments, reverse=True)
    middle = entries[2]["at"]
    since = auditor.get("/audit", since=middle)["items"]
    until = auditor.get("/audit", until=middle)["items"]
    assert [entry["id"] for entry in since + until] == [entry["id"] for entry in entries]
    elsewhere = moments[2].astimezone(tz=None).isoformat()
    assert auditor.get("/audit", since=elsewhere)["items"] == since
    for wrong in ("1700000000", "2026-01-01", "2026-01-01T00:00:00", "2026-02-30T00:00:00Z", "yesterday", ""):
        auditor.refused(400, "FB-REQUEST", "/audit", since=wrong)
