"""The console over HTTP, the real application behind its real server: what people do there, and what is escaped."""

from __future__ import annotations

import re

from forebay_collector.console.rendering import batch_path, stream_path
from forebay_collector.ledger import BatchState, repairs, verifications
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.ledger.repairs import RepairState
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.platform.contract import PlatformError
from forebay_collector.service import repair, verification
from forebay_wire.stream import StreamName
from tests.consoling.console import Served
from tests.consoling.people import PASSWORD, ROOT, Person
from tests.integration.console.conftest import HELD, OTHER, REFUSAL
from tests.loading.stage import AGENT, Moody, Stage
from tests.receiving.batches import DEPARTMENT, STREAM, chained


def pages(stage: Stage) -> list[str]:
    """Every page that is a GET, with something on it."""
    number = verification.start(stage.ledger, ROOT, [STREAM], "to look at")[0]
    repaired = repair.start(stage.ledger, ROOT, [STREAM], "to look at")[0]
    return [
        *("/", "/?view=list", "/?state=red", "/find?q=1", f"/agents/{AGENT}", "/streams", stream_path(STREAM)),
        *(stream_path(HELD), f"/sample{stream_path(STREAM).removeprefix('/streams')}", "/batches"),
        *(batch_path(HELD, 1, 2), "/quarantine", "/approvals", "/approvals?state=all", "/offers", "/alerts"),
        *(
            "/verification",
            f"/verification/{number}",
            "/repairs",
            f"/repairs/{repaired}",
            "/coverage",
            "/audit",
            "/users",
            "/identity",
            "/account",
            "/login",
            "/login/link?token=x",
        ),
    ]


def test_what_is_held_is_replayed_with_a_reason_that_the_audit_keeps(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        html = person.get("/quarantine").text
        assert REFUSAL.replace("'", "&#39;") in html
        told = person.follow(person.post("/quarantine", {"batch": f"1/2 {HELD}", "why": " ", "action": "replay"})).text
        assert "no reason was given" in told
        told = person.follow(person.post("/quarantine", {"batch": f"1/1 {HELD}", "why": "x", "action": "replay"})).text
        assert "is held by batch 1/2, not by seq 1" in told
        done = person.post("/quarantine", {"batch": f"1/2 {HELD}", "why": "the column was widened", "action": "replay"})
        assert "1 batch is released" in person.follow(done).text
        assert "1 batch is released" not in person.get("/quarantine").text
    (entry,) = stage.ledger.audit.listing(action="replay")
    assert (entry.who, entry.why, entry.subject) == ("ops", "the column was widened", f"{HELD} 1/2")
    assert entry.detail["via"] == "console"
    assert entry.department == DEPARTMENT


def test_many_are_decided_at_once_and_one_that_cannot_be_stops_none(stage: Stage, served: Served) -> None:
    refuses = PlatformError("no", code="FB-TEST-REFUSES", permanent=True)
    stage.loader(Moody(stage.platform, lambda _: refuses)).load_step(OTHER)
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        person.get("/quarantine")
        chosen = [f"1/2 {HELD}", f"1/1 {OTHER}", f"1/1 {STREAM}"]
        html = person.follow(person.post("/quarantine", {"batch": chosen, "why": "all of it", "action": "replay"})).text
    assert "2 batches are released" in html
    assert f"stream {STREAM} is not held" in html
    assert (stage.states(HELD)[2], stage.states(OTHER)[1]) == (BatchState.DURABLE, BatchState.DURABLE)


def test_a_batch_is_discarded_only_by_someone_who_says_that_they_know(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        person.get("/quarantine")
        form: dict[str, str | list[str]] = {"batch": f"1/2 {HELD}", "why": "test rows", "action": "discard"}
        assert "never reaches the platform" in person.follow(person.post("/quarantine", form)).text
        assert stage.states(HELD)[2] is BatchState.QUARANTINED
        assert "discarded" in person.follow(person.post("/quarantine", form | {"sure": "yes"})).text
    assert stage.states(HELD)[2] is BatchState.DISCARDED


def test_a_viewer_has_no_button_and_is_refused_without_one(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "seer")
        html = person.get("/quarantine").text
        assert str(HELD.table) in html
        assert 'name="batch"' not in html
        assert 'value="replay"' not in html
        for path, form in _deeds().items():
            answer = person.post(path, form)
            assert answer.status_code == 403, path
            assert "FB-PERMISSION" in answer.text
        for path in ("/audit", "/audit/export", "/users", "/identity"):
            assert person.get(path).status_code == 403, path
            assert f'href="{path}"' not in html
        assert stage.states(HELD)[2] is BatchState.QUARANTINED


def test_a_repair_is_planned_and_asked_for_from_what_was_found_and_its_outcome_is_shown(
    stage: Stage, served: Served
) -> None:
    (number,) = verification.start(stage.ledger, ROOT, [STREAM], "monthly")
    stage.ledger.verifications.take(number)
    keys = {"missing": [{"id": "7"}], "extra": [{"id": "8"}], "different": []}
    sides = {"rows": 2, "digest": "00"}
    counts = {"missing": 1, "extra": 1, "different": 0}
    result = {"equal": False, "source": sides, "platform": sides, "counts": counts, "complete": True, "in_flight": 0}
    with stage.ledger.database.write() as connection:
        verifications.end(connection, number, VerificationState.DIFFERENT, 1, result={**result, **keys, "seconds": 1.0})
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        assert 'name="action" value="plan"' in person.get(f"/verification/{number}").text
        asked: dict[str, str | list[str]] = {"stream": str(STREAM), "why": "the archive says so"}
        assert "nothing is changed" in person.follow(person.post("/repairs", asked | {"action": "plan"})).text
        (planned,) = stage.ledger.repairs.listing()
        assert (planned.dry_run, planned.asked_by, planned.why) == (True, "ops", "the archive says so")
        with stage.ledger.database.write() as connection:
            repairs.end(connection, planned.id, RepairState.PLANNED, 1, keys=keys, **counts)
        told = person.get(f"/repairs/{planned.id}").text
        assert "nothing was changed" in told
        assert told.index("id=7") < told.index("would be deleted in the platform") < told.index("id=8")
        person.follow(person.post("/repairs", asked | {"action": "repair"}))
        made = stage.ledger.repairs.listing()[0]
        assert (made.dry_run, made.state) == (False, RepairState.WAITING)
        assert f"/repairs/{made.id}" in person.get("/repairs").text
        done = {"sent": 1, "deleted": 1, "left_over": 0, **counts}
        with stage.ledger.database.write() as connection:
            repairs.end(connection, made.id, RepairState.REPAIRED, 2, keys=keys, **done)
        assert f"repair:{made.id}" in person.get(f"/repairs/{made.id}").text
    assert [entry.why for entry in stage.ledger.audit.listing(action="repair")] == ["the archive says so"] * 2


def test_what_belongs_to_another_department_does_not_exist(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "mz")
        for path in (
            "/",
            "/?view=list",
            "/streams",
            "/batches",
            "/quarantine",
            "/alerts",
            "/verification",
            "/repairs",
            "/coverage",
            "/approvals",
            "/offers",
        ):
            html = person.get(path).text
            assert DEPARTMENT not in html, path
            assert AGENT not in html, path
        assert OTHER.table in person.get("/streams").text
        for path in (f"/agents/{AGENT}", stream_path(HELD), batch_path(HELD, 1, 2)):
            answer = person.get(path)
            assert answer.status_code == 404, path
            # word for word what is said of something that is nowhere
            nowhere = person.get(path.replace(AGENT, "nowhere").replace("permit", "nowhere"))
            said = _trouble(answer.text).replace(AGENT, "nowhere").replace("permit", "nowhere")
            assert said == _trouble(nowhere.text)
        outcome = person.follow(person.post("/quarantine", {"batch": f"1/2 {HELD}", "why": "x", "action": "replay"}))
        assert "is not in the ledger" in outcome.text
        assert stage.states(HELD)[2] is BatchState.QUARANTINED


def test_markup_in_names_and_reasons_is_text(stage: Stage, served: Served) -> None:
    evil = "<img src=x onerror=alert(1)>"
    name = StreamName(f"局{evil.replace('/', '')}", "s\"'&", "main.<script>alert(2)<|script>")
    stage.receive(chained(2, name))
    refuses = PlatformError(f"because {evil}", code="FB-<b>", permanent=True)
    stage.loader(Moody(stage.platform, lambda _: refuses)).load_step(name)
    with stage.ledger.database.write() as connection:
        put_certificate(connection, evil, name.department, "2e", 2**55, 1, hostname=evil, version=evil)
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        person.get("/quarantine")
        person.follow(person.post("/quarantine", {"batch": f"1/1 {name}", "why": evil, "action": "replay"}))
        stage.loader(Moody(stage.platform, lambda _: refuses)).load_step(name)
        shown = ("/", "/?view=list", "/streams", stream_path(name), "/batches", batch_path(name, 1, 1), "/quarantine")
        for path in (*shown, f"/find?q={evil}", f"/?q={evil}&department={evil}", f"/batches?agent={evil}", f"/{evil}"):
            html = person.get(path).text
            assert "<img src=x" not in html, path
            assert "<script>alert" not in html, path
            assert "<b>" not in html.replace("<b>", "", html.count("</b>")), path
        assert "&lt;img src=x" in person.page
        flashed = person.follow(person.post("/quarantine", {"batch": f"1/9 {name}", "why": "x", "action": "replay"}))
        assert "<img src=x" not in flashed.text
        assert "&lt;img src=x" in flashed.text
    with Person(served.address) as auditor:
        auditor.enter(served.ledger, "auditor")
        html = auditor.get("/audit?action=replay").text
        assert "&lt;img src=x" in html
        assert "<img src=x" not in html


def test_no_page_shows_a_secret(stage: Stage, served: Served) -> None:
    kept = [(stage.settings.data.identity / name).read_text() for name in ("authority.key", "server.pem")]
    secrets = [line for text in kept for line in text.splitlines() if len(line) > 40 and "CERT" not in line]
    shown = []
    for who in ("admin", "ops", "auditor"):
        with Person(served.address) as person:
            person.enter(served.ledger, who)
            token = person.http.cookies["forebay_session"]
            made = ""
            if who == "admin":
                person.get("/identity")
                answer = person.post("/identity/tokens", {"agent": "new-01", "department": DEPARTMENT, "hours": "1"})
                made = re.search(r"fbt1\.[\w-]+", answer.text)[0]  # type: ignore[index]
            for path in pages(stage):
                html = person.http.get(path).text
                shown.append(html)
                assert token not in html, path
                assert not made or made not in html, path
                assert "argon2" not in html, path
    everything = "\n".join(shown)
    assert not [secret for secret in [*secrets, PASSWORD] if secret in everything]


def test_an_open_page_gets_just_the_parts_that_changed(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        shown = re.search(r'data-shown="(\w+)"', person.get("/quarantine").text)[1]  # type: ignore[index]
        address = f"/quarantine?_live={shown}"
        with person.http.stream("GET", address, headers={"accept": "text/event-stream"}) as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            lines = events.iter_lines()
            assert next(lines) == "retry: 3000"
            stage.ledger.quarantine.release(HELD, who="x", why="y")
            data = next(line for line in lines if line.startswith("data: {"))
    assert '"quarantine"' in data
    assert "Nothing is held" in data
    assert "<html" not in data


def test_the_audit_is_exported_whole_and_the_export_is_in_it(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "auditor")
        answer = person.http.get("/audit/export?form=csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert "attachment" in answer.headers["content-disposition"]
        assert answer.text.startswith("id,at,who,action")
        assert "quarantine" in answer.text
        assert person.http.get("/audit/export?form=jsonl").text.count("\n") == len(answer.text.splitlines())
        person.get("/audit")
        assert "The chain holds" in person.follow(person.post("/audit/verify", {})).text
        chosen = person.http.get("/audit/export?form=csv&action=quarantine&who=loader").text.splitlines()
        assert len(chosen) == 2
        assert ",loader,quarantine," in chosen[1]
    assert len(stage.ledger.audit.listing(action="audit export")) == 3


def test_a_look_at_rows_is_in_the_audit(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "seer")
        html = person.get(f"/sample{stream_path(STREAM).removeprefix('/streams')}").text
        assert html.count("<tr>") == 10
        assert "_seq" not in html
    (entry,) = stage.ledger.audit.listing(action="sample")
    assert (entry.who, entry.subject) == ("seer", str(STREAM))


def test_one_batchs_custody_is_shown_and_its_bytes_are_checked(stage: Stage, served: Served) -> None:
    chain = stage.archive.read(HELD, 1, 1).chain.hex()
    with Person(served.address) as person:
        person.enter(served.ledger, "seer")
        html = person.get(batch_path(HELD, 1, 2)).text.replace("<wbr>", "")
        assert "The archive holds it byte for byte" in html
        assert "It continues the very batch before it" in html
        assert chain in html
        assert "SM3" in html
        path = stage.archive._path(HELD, 1, 3)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        html = person.get(batch_path(HELD, 1, 3)).text
        assert "The archive&#39;s copy is damaged" in html
        assert "FB-ARCHIVE-DAMAGED" in html
        stage.archive.delete(HELD, 1, 1)
        assert "The archive does not hold it" in person.get(batch_path(HELD, 1, 1)).text


def test_an_account_is_made_changed_and_shut_out_on_the_page(stage: Stage, served: Served) -> None:
    with Person(served.address) as admin, Person(served.address) as person:
        admin.enter(served.ledger, "admin")
        admin.get("/users")
        made = admin.post("/users", {"action": "create", "name": "li", "role": "viewer", "all_departments": "yes"})
        link = re.search(r"http://[^<]*/login/link\?token=([\w-]+)", made.text)
        assert link is not None
        assert link[1] not in admin.get("/users").text
        person.get(f"/login/link?token={link[1]}")
        assert "Fleet" in person.follow(person.post("/login/link", {"token": link[1]})).text
        roles: dict[str, str | list[str]] = {"action": "roles", "name": "li", "role": ["viewer", "operator"]}
        assert "no department is named" in admin.follow(admin.post("/users", roles)).text
        admin.follow(admin.post("/users", roles | {"department": "民政局", "more_departments": "教育局，水利局"}))
        listing = admin.page
        assert "教育局, 民政局, 水利局" in listing
        assert DEPARTMENT not in person.get("/streams").text
        admin.follow(admin.post("/users", {"action": "disable", "name": "li", "why": "has left"}))
        assert person.http.get("/").headers["location"] == "/login"
        own = admin.post("/users", {"action": "disable", "name": "admin", "why": "oops"})
        assert own.status_code == 403
    assert [entry.why for entry in stage.ledger.audit.listing(action="account disabled")] == ["has left"]


def _trouble(html: str) -> str:
    found = re.search(r'<dl class="trouble">.*?</dl>', html, re.DOTALL)
    assert found is not None
    return found[0]


def _deeds() -> dict[str, dict[str, str | list[str]]]:
    """A deed of every kind that a viewer may not do."""
    return {
        "/quarantine": {"batch": f"1/2 {HELD}", "why": "x", "action": "replay"},
        f"/agents/{AGENT}/command": {"kind": "reload", "why": "x"},
        "/alerts": {"alert": "1", "why": "x"},
        "/alerts/windows": {"scope": "agent", "agent": AGENT, "hours": "1", "why": "x"},
        "/alerts/windows/close": {"window": "1", "why": "x"},
        "/approvals": {"action": "approve_many", "stream": str(HELD)},
        "/offers": {"agent": AGENT, "settings": 'bandwidth = "1MiB"', "why": "x"},
        "/verification": {"stream": str(STREAM)},
        "/repairs": {"stream": str(STREAM), "action": "repair", "why": "x"},
        "/audit/verify": {},
        "/users": {"action": "create", "name": "x", "role": "viewer", "all_departments": "yes"},
        "/identity/tokens": {"agent": "x", "department": DEPARTMENT},
        "/identity/revoke": {"agent": AGENT, "why": "x"},
    }
