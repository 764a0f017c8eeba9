"""What programs do by the API is what people do on the console: by their role, in their departments, and in the audit."""

from __future__ import annotations

from typing import Any

import pytest

from forebay_collector.completeness import document
from forebay_collector.completeness.days import Day
from forebay_collector.ledger import BatchState
from forebay_collector.ledger.proposals import State
from forebay_collector.service import approvals
from forebay_wire.stream import StreamName
from tests.integration.api.conftest import Staff
from tests.loading.stage import AGENT
from tests.programs.office import HELD, OTHER, OTHERS_AGENT, PROPOSED, Office
from tests.programs.program import CLI, at
from tests.receiving.batches import DEPARTMENT, STREAM

WHY = "the column was widened"
REPLAY = {"batches": [{"stream": str(HELD), "epoch": 1, "seq": 2}], "why": WHY}


def audited(office: Office, action: str) -> tuple[str, str, str, str]:
    """Who, why, of what and by which way, of the newest entry of an action."""
    entry = office.ledger.audit.listing(action=action)[0]
    return entry.who, entry.why, entry.subject, entry.detail["via"]


def test_a_held_batch_is_replayed_with_a_reason_that_the_audit_keeps(office: Office, staff: Staff) -> None:
    done = staff["ops"].post("/quarantine/replay", REPLAY)
    assert (done["done"], done["refused"], done["items"][0]["batch"]["state"]) == (1, 0, "durable")
    assert audited(office, "replay") == ("ops", WHY, f"{HELD} 1/2", "api")
    assert staff["ops"].get("/quarantine")["items"] == []
    problem = staff["ops"].refused(409, "FB-NOT-POSSIBLE", "/quarantine/replay", REPLAY)
    assert "is not held" in problem["detail"]


def test_many_are_decided_at_once_and_one_that_cannot_be_stops_none(office: Office, staff: Staff) -> None:
    office.hold(OTHER, 1)
    named = [(HELD, 2), (STREAM, 1), (OTHER, 1)]
    asked = [{"stream": str(stream), "epoch": 1, "seq": seq} for stream, seq in named]
    done = staff["ops"].post("/quarantine/discard", {"batches": asked, "why": "worthless"})
    assert (done["done"], done["refused"]) == (2, 1)
    refused = done["items"][1]
    assert (refused["stream"], refused["problem"]["code"], refused["batch"]) == (str(STREAM), "FB-NOT-POSSIBLE", None)
    assert (office.stage.states(HELD)[2], office.stage.states(OTHER)[1]) == (BatchState.DISCARDED, BatchState.DISCARDED)
    staff["ops"].refused(409, "FB-NOT-POSSIBLE", "/quarantine/discard", {"batches": asked + asked[:1], "why": "twice"})


def test_another_batch_than_the_one_that_was_seen_is_not_decided_about(office: Office, staff: Staff) -> None:
    seen = {"batches": [{"stream": str(HELD), "epoch": 1, "seq": 1}], "why": WHY}
    assert "1/2" in staff["ops"].refused(409, "FB-NOT-POSSIBLE", "/quarantine/replay", seen)["detail"]
    assert office.stage.states(HELD)[2] is BatchState.QUARANTINED


def test_an_alert_is_read_and_acknowledged_and_stays_in_the_history(office: Office, staff: Staff) -> None:
    ops = staff["ops"]
    (found,) = ops.get("/alerts", severity="critical")["items"]
    assert (found["id"], found["code"], found["silenced"]) == (office.alert, "FB-AGENT-SILENT", True)
    assert found["reason"].startswith("no heartbeat since")
    known = ops.post(f"/alerts/{office.alert}/acknowledge", {"why": WHY})
    assert (known["acknowledged_by"], known["acknowledged_why"]) == ("ops", WHY)
    assert audited(office, "acknowledge") == ("ops", WHY, AGENT, "api")
    ops.refused(409, "FB-NOT-POSSIBLE", f"/alerts/{office.alert}/acknowledge", {"why": WHY})
    assert ops.get(f"/alerts/{office.alert}") == known
    history = ops.get("/alerts/history", limit=1)
    assert history["items"] == [known]
    (past,) = ops.get("/alerts/history", limit=1, cursor=history["next"])["items"]
    assert past["closed_at"] is not None
    assert ops.get("/alerts", kind="canary_late")["items"] == []
    assert ops.get("/alerts/channels") == {"items": []}
    assert staff["mz"].get("/alerts/history")["items"] == []


def test_a_maintenance_window_is_opened_and_ended(office: Office, staff: Staff) -> None:
    ops = staff["ops"]
    asked = {"scope": "department", "name": DEPARTMENT, "lasts_s": 7_200, "why": WHY}
    made = ops.post("/maintenance", asked)
    assert (made["state"], made["scope"], made["name"], made["opened_by"]) == ("open", "department", DEPARTMENT, "ops")
    assert [one["id"] for one in ops.get("/maintenance")["items"]] == [made["id"], office.window]
    assert audited(office, "maintenance") == ("ops", WHY, DEPARTMENT, "api")
    far = {**asked, "begins_at": "2999-01-01T00:00:00Z"}
    ops.refused(409, "FB-NOT-POSSIBLE", "/maintenance", far)
    assert ops.post(f"/maintenance/{made['id']}/close", {"why": WHY})["state"] == "over"
    assert len(ops.get("/maintenance")["items"]) == 1
    assert len(ops.get("/maintenance", past="true")["items"]) == 2
    assert staff["mz"].get("/maintenance", past="true")["items"] == []


def test_who_may_only_look_does_nothing(office: Office, staff: Staff) -> None:
    assert staff["ops"].get("/me")["account"] == "ops"
    entries = [(entry.action, entry.who) for entry in office.ledger.audit.listing(limit=1_000)]
    for path, body in _deeds(office):
        staff["seer"].refused(403, "FB-PERMISSION", path, body)
    made = ("API token", "account")
    after = [
        (entry.action, entry.who) for entry in office.ledger.audit.listing(limit=1_000) if entry.action not in made
    ]
    assert after == [entry for entry in entries if entry[0] not in made]


def test_what_is_done_to_another_departments_things_finds_nothing(office: Office, staff: Staff) -> None:
    assert staff["ops"].get("/me")["account"] == "ops"
    for path, body in _deeds(office):
        name = "mz" if not path.startswith(("/users", "/enrolment", f"/agents/{AGENT}/revoke")) else "mz-admin"
        if path in ("/users", "/enrolment-tokens", "/audit/verify"):
            continue
        staff[name].refused(404, "FB-NOT-KNOWN", path, body)
    refused = staff["mz-admin"].refused
    refused(403, "FB-PERMISSION", "/users", {"name": "li", "roles": ["viewer"], "departments": None})
    refused(403, "FB-PERMISSION", "/enrolment-tokens", {"agent": "scjg-09", "department": DEPARTMENT})
    assert office.stage.states(HELD)[2] is BatchState.QUARANTINED


def _deeds(office: Office) -> list[tuple[str, Any]]:
    """Every deed that takes a right, at things of one department."""
    refusal = {"why": "no"}
    return [
        ("/quarantine/replay", REPLAY),
        ("/quarantine/discard", REPLAY),
        (f"/alerts/{office.alert}/acknowledge", {"why": WHY}),
        ("/maintenance", {"scope": "agent", "name": AGENT, "lasts_s": 3_600, "why": WHY}),
        (f"/maintenance/{office.window}/close", {"why": WHY}),
        (f"/agents/{AGENT}/commands", {"kind": "reload", "why": WHY}),
        (f"/agents/{AGENT}/revoke", {"why": WHY}),
        ("/rollouts", {"agents": [AGENT], "settings": {}, "why": WHY}),
        (f"/rollouts/{office.rollout}/cancel", {"why": WHY}),
        (f"/approvals/{at(PROPOSED)}/approve", {}),
        (f"/approvals/{at(PROPOSED)}/reject", refusal),
        (f"/approvals/{at(STREAM)}/withdraw", refusal),
        ("/approvals/approve", {"streams": [str(PROPOSED)]}),
        ("/verifications", {"streams": [str(STREAM)]}),
        ("/certificates", {"department": DEPARTMENT}),
        ("/audit/verify", {}),
        ("/enrolment-tokens", {"agent": "scjg-09", "department": DEPARTMENT}),
        ("/users", {"name": "li", "roles": ["viewer"], "departments": None}),
        ("/users/ops/roles", {"roles": ["viewer"], "departments": None}),
        ("/users/ops/password", {"password": "correct horse battery"}),
        ("/users/ops/disable", {"why": WHY}),
        ("/users/ops/enable", {"why": WHY}),
        ("/users/ops/log-out", {}),
        ("/users/ops/link", {}),
    ]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("pause", {"source": "db"}),
        ("resume", {"stream": str(HELD)}),
        ("snapshot", {"stream": str(HELD), "from_key": [1], "to_key": ["z"]}),
        ("resend", {"stream": str(HELD), "epoch": 1, "from_seq": 2}),
        ("drain", {"timeout_s": 60}),
        ("reload", {}),
        ("rotate", {}),
        ("diagnostics", {}),
        ("report", {}),
    ],
)
def test_every_kind_of_command_is_sent_and_its_outcome_read(
    office: Office, staff: Staff, kind: str, more: dict[str, Any]
) -> None:
    ops = staff["ops"]
    answer = ops.http.post(f"/agents/{AGENT}/commands", json={"kind": kind, "why": WHY, **more})
    assert answer.status_code == 202, answer.text
    sent = answer.json()
    assert answer.headers["location"] == f"/api/v1/commands/{sent['id']}"
    assert (sent["state"], sent["why"], sent["asked_by"], sent["agent"]) == ("waiting", WHY, "ops", AGENT)
    assert audited(office, "command") == ("ops", WHY, AGENT, "api")
    taken = dict(office.ledger.commands.take([AGENT]))
    assert taken[AGENT].command_id == sent["id"]
    assert ops.get(f"/commands/{sent['id']}")["state"] == "sent"


def test_a_command_of_a_stream_that_is_not_the_agents_is_refused(staff: Staff) -> None:
    asked = {"kind": "pause", "why": WHY, "stream": str(OTHER)}
    staff["ops"].refused(409, "FB-NOT-POSSIBLE", f"/agents/{AGENT}/commands", asked)
    asked = {"kind": "pause", "why": WHY, "stream": str(HELD), "source": "db"}
    staff["ops"].refused(409, "FB-NOT-POSSIBLE", f"/agents/{AGENT}/commands", asked)


def test_settings_are_offered_in_stages_and_taken_back(office: Office, staff: Staff) -> None:
    ops = staff["ops"]
    asked = {"agents": [OTHERS_AGENT, AGENT], "settings": {"heartbeat": "30s", "tables": ["a"]}, "why": WHY}
    answer = ops.http.post("/rollouts", json={**asked, "trial_s": 5})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/api/v1/rollouts/{made['id']}"
    assert (made["state"], made["staged"], made["trial_s"], made["settings"]) == ("trial", True, 5.0, asked["settings"])
    assert [(one["agent"], one["is_first"]) for one in made["offers"]] == [(OTHERS_AGENT, True), (AGENT, False)]
    assert audited(office, "offer")[::3] == ("ops", "api")
    assert ops.post(f"/rollouts/{made['id']}/cancel", {"why": "not today"})["state"] == "cancelled"
    ops.refused(409, "FB-NOT-POSSIBLE", f"/rollouts/{made['id']}/cancel", {"why": "again"})
    assert ops.http.post("/rollouts", json={**asked, "staged": False}).json()["trial_s"] == 0


def test_what_may_leave_is_decided_column_by_column(office: Office, staff: Staff) -> None:
    approver = staff["approver"]
    seen = approver.get(f"/approvals/{at(PROPOSED)}")["changed_at"]
    path = f"/approvals/{at(PROPOSED)}"
    earlier = {"columns": ["id"], "as_of": "2020-01-01T00:00:00Z"}
    approver.refused(409, "FB-NOT-POSSIBLE", f"{path}/approve", earlier)
    done = approver.post(f"{path}/approve", {"columns": ["id"], "why": "asked for", "as_of": seen})
    assert (done["columns"], done["proposal"]["waiting"], done["proposal"]["flows"]) == (["id"], ["phone"], True)
    assert approver.post(f"{path}/reject", {"columns": ["phone"], "why": "not needed"})["columns"] == ["phone"]
    assert approver.post(f"{path}/withdraw", {"why": "a mistake"})["proposal"]["state"] == "withdrawn"
    approver.refused(400, "FB-REQUEST", f"{path}/withdraw", {})
    assert audited(office, "withdraw")[:1] == ("approver",)


def test_many_are_approved_at_once(office: Office, staff: Staff) -> None:
    firm = StreamName(DEPARTMENT, "db", "main.firm")
    named = [str(firm), str(HELD), str(PROPOSED)]
    done = staff["approver"].post("/approvals/approve", {"streams": named, "why": "all of it"})
    assert [(one["columns"], one["problem"] and one["problem"]["code"]) for one in done["items"]] == [
        (["id", "phone"], None),
        ([], "FB-NOT-KNOWN"),
        (["id", "phone"], None),
    ]
    assert approvals.proposal(office.ledger, CLI, firm).state is State.APPROVED


def test_a_comparison_is_asked_for_and_its_number_told(office: Office, staff: Staff) -> None:
    ops = staff["ops"]
    answer = ops.http.post("/verifications", json={"streams": [str(STREAM), str(STREAM), str(HELD)], "why": WHY})
    assert answer.status_code == 202, answer.text
    made = answer.json()["items"]
    assert [(one["stream"], one["state"], one["via"]) for one in made] == [
        (str(STREAM), "waiting", "api"),
        (str(HELD), "waiting", "api"),
    ]
    ops.refused(404, "FB-NOT-KNOWN", "/verifications", {"streams": [str(STREAM), "a/b/c"]})
    assert len(ops.get("/verifications", stream=str(STREAM))["items"]) == 2


def test_the_audit_is_exported_as_an_entry_of_its_own_and_its_chain_verified(office: Office, staff: Staff) -> None:
    auditor = staff["auditor"]
    lines = auditor.http.get("/audit/export", params={"action": "token"})
    assert lines.headers["content-type"].startswith("application/jsonl")
    assert [line for line in lines.text.splitlines() if '"action": "token"' in line]
    table = auditor.http.get("/audit/export", params={"form": "csv"})
    assert (table.headers["content-type"], table.text[:6]) == ("text/csv; charset=utf-8", "id,at,")
    assert audited(office, "audit export")[::3] == ("auditor", "api")
    assert "audit export" in auditor.get("/audit/actions")["items"]
    verdict = auditor.post("/audit/verify")
    assert (verdict["ok"], verdict["first_bad_id"]) == (True, 0)
    with office.ledger.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET who = 'somebody else' WHERE id = 2")
    verdict = auditor.post("/audit/verify")
    assert (verdict["ok"], verdict["first_bad_id"]) == (False, 2)


def test_an_agent_enrols_by_a_token_that_is_shown_once_and_is_shut_out(office: Office, staff: Staff) -> None:
    admin = staff["admin"]
    made = admin.post("/enrolment-tokens", {"agent": "scjg-09", "department": DEPARTMENT, "life_s": 3_600})
    assert made["text"].startswith("fbt1.")
    listed = admin.get("/enrolment-tokens")
    assert [one["agent"] for one in listed["items"]] == ["scjg-09", "scjg-02"]
    assert "text" not in listed["items"][0]
    assert [one["agent"] for one in admin.get("/enrolment-tokens", usable="false")["items"]] == ["scjg-09", "scjg-02"]
    admin.refused(409, "FB-NOT-POSSIBLE", "/enrolment-tokens", {"agent": OTHERS_AGENT, "department": DEPARTMENT})
    admin.post(f"/agents/{AGENT}/revoke", {"why": "stolen"})
    assert admin.get(f"/agents/{AGENT}")["state"] == "revoked"
    admin.refused(409, "FB-NOT-POSSIBLE", f"/agents/{AGENT}/revoke", {"why": "stolen"})


def test_accounts_are_made_changed_and_shut(office: Office, staff: Staff) -> None:
    admin = staff["admin"]
    asked = {"name": "Li", "roles": ["viewer"], "departments": [DEPARTMENT]}
    answer = admin.http.post("/users", json=asked)
    assert (answer.status_code, answer.headers["location"]) == (201, "/api/v1/users/li")
    assert admin.get("/users/li")["state"] == "new"
    link = admin.post("/users/li/link")["link"]
    assert link.startswith(str(admin.http.base_url).removesuffix("/api/v1/") + "/login/link?token=fbl1_")
    changed = admin.post("/users/li/roles", {"roles": ["operator"], "departments": None, "why": "promoted"})
    assert (changed["roles"], changed["departments"]) == (["operator"], None)
    admin.post("/users/li/password", {"password": "correct horse battery staple"})
    assert admin.get("/users/li")["must_change_password"] is True
    admin.refused(422, "FB-PASSWORD", "/users/li/password", {"password": "short"})
    admin.post("/users/li/disable", {"why": "has left"})
    assert admin.get("/users/li")["state"] == "disabled"
    admin.post("/users/li/enable", {"why": "is back"})
    assert admin.post("/users/li/log-out", {})["sessions"] == 0
    admin.refused(403, "FB-PERMISSION", "/users/admin/roles", {"roles": ["auditor"], "departments": None})
    admin.refused(
        409, "FB-NOT-POSSIBLE", "/users", {"name": "x", "roles": ["administrator", "auditor"], "departments": None}
    )
    for action in ("account", "one-time link", "roles", "password", "account disabled", "account enabled"):
        assert audited(office, action)[::3] == ("admin", "api"), action


def test_everybody_reads_their_own_account_and_nobody_elses_without_the_right(staff: Staff) -> None:
    assert staff["seer"].get("/users/seer")["roles"] == ["viewer"]
    assert staff["ops"].get("/me")["account"] == "ops"
    staff["seer"].refused(403, "FB-PERMISSION", "/users/ops")


def test_a_token_makes_others_that_may_no_more_and_live_no_longer(office: Office, staff: Staff) -> None:
    ops = staff["ops"]
    me = ops.get("/me")
    made = ops.post("/tokens", {"label": "nightly", "roles": ["operator"]})
    assert made["text"].startswith("fba1_")
    assert made["expires_at"] <= me["expires_at"]
    ops.refused(403, "FB-PERMISSION", "/tokens", {"label": "more", "roles": ["administrator"]})
    ops.refused(403, "FB-PERMISSION", "/tokens", {"label": "longer", "roles": ["operator"], "life_s": 90 * 86_400})
    listed = ops.get("/tokens", account="ops")["items"]
    assert [(one["label"], one["revoked_at"]) for one in listed] == [("nightly", None), ("token of ops", None)]
    assert "text" not in listed[0]
    ops.refused(403, "FB-PERMISSION", "/tokens")
    ops.post(f"/tokens/{made['id']}/revoke", {"why": "done"})
    assert ops.get("/tokens", account="ops")["items"][0]["revoked_at"] is not None
    mine = staff["seer"].get("/me")["token"]
    ops.refused(403, "FB-PERMISSION", f"/tokens/{mine}/revoke", {})
    assert audited(office, "API token revoked") == ("ops", "done", "ops", "api")


def test_a_certificate_is_issued_and_its_file_is_what_was_signed(office: Office, staff: Staff) -> None:
    ops = staff["ops"]
    today = Day.at(office.ledger.database.clock(), "+08:00").name
    answer = ops.http.post("/certificates", json={"department": DEPARTMENT, "day": today})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    authority = (office.stage.settings.data.identity / "authority.pem").read_bytes()
    assert document.verify(made["file"].encode(), authority).statement["department"] == DEPARTMENT
    assert ops.get(f"/certificates/{made['id']}") == made
    (listed,) = ops.get("/certificates", department=DEPARTMENT)["items"]
    assert listed == {name: value for name, value in made.items() if name != "file"}
    staff["mz"].refused(404, "FB-NOT-KNOWN", f"/certificates/{made['id']}")
    assert staff["mz"].get("/certificates")["items"] == []
