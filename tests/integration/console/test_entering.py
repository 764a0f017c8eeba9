"""The console over HTTP, the real application behind its real server: who gets in, and what is refused."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import httpx

from forebay_collector.console.protection import HEADERS, MOST_BYTES
from forebay_collector.console.rendering import batch_path, stream_path
from forebay_collector.ledger import BatchState
from forebay_collector.service import sessions, verification
from tests.consoling.console import Served
from tests.consoling.people import PASSWORD, ROOT, Person, account
from tests.integration.console.conftest import HELD
from tests.loading.stage import AGENT, Stage
from tests.receiving.batches import STREAM


def pages(stage: Stage) -> list[str]:
    """Every page that is a GET, with something on it."""
    number = verification.start(stage.ledger, ROOT, [STREAM], "to look at")[0]
    return [
        *("/", "/?view=list", "/?state=red", "/find?q=1", f"/agents/{AGENT}", "/streams", stream_path(STREAM)),
        *(stream_path(HELD), f"/sample{stream_path(STREAM).removeprefix('/streams')}", "/batches"),
        *(batch_path(HELD, 1, 2), "/quarantine", "/approvals", "/approvals?state=all", "/offers", "/verification"),
        *(f"/verification/{number}", "/audit", "/users", "/identity", "/account", "/login", "/login/link?token=x"),
    ]


def test_every_answer_forbids_whatever_does_not_come_from_here(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "admin")
        wanted = [*pages(stage), "/static/console.js", "/static/tokens.css", "/nowhere", "/static/nothing.js"]
        for path in wanted:
            answer = person.http.get(path)
            assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
            assert answer.headers["cache-control"], path
            assert "server" not in answer.headers, path
        refused = person.http.post("/quarantine", data={})
        assert refused.headers["content-security-policy"] == HEADERS["content-security-policy"]
        assert person.http.put("/quarantine").headers["x-frame-options"] == "DENY"
        assert person.http.post("/login", content=b"x" * (MOST_BYTES + 1)).status_code == 413


def test_pages_hold_nothing_inline_and_nothing_from_elsewhere(stage: Stage, served: Served) -> None:
    for who in ("admin", "ops", "auditor"):
        with Person(served.address) as person:
            person.enter(served.ledger, who)
            for path in pages(stage):
                html = person.http.get(path).text
                assert not re.search(r"<script(?![^>]* src=\"/static/)|<style|\sstyle=|\son\w+=|javascript:", html), (
                    path
                )
                assert not re.search(r"""(?:src|href|action)=["'](?!/|\?|#)""", html), path


def test_whoever_is_not_logged_in_sees_the_log_in_and_nothing_else(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        for path in pages(stage):
            answer = person.http.get(path)
            if path.startswith("/login"):
                assert answer.status_code == 200
            else:
                assert (answer.status_code, answer.headers["location"], answer.text) == (303, "/login", "")
        person.get("/login")
        answer = person.post("/quarantine", {"batch": "x", "why": "y"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert person.http.get("/", headers={"accept": "text/event-stream"}).status_code == 303


def test_a_session_begins_with_the_log_in_and_ends_with_the_log_out(served: Served) -> None:
    with Person(served.address) as person:
        assert "Fleet" in person.log_in("ops").text
        cookie = next(cookie for cookie in person.http.cookies.jar if cookie.name == "forebay_session")
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "strict"
        assert not cookie.secure
        token = str(cookie.value)
        assert token not in person.page
        assert person.post("/logout", {}).headers["location"] == "/login"
        person.http.cookies.set("forebay_session", token)
        assert person.http.get("/").headers["location"] == "/login"


def test_a_wrong_password_says_what_to_do_and_not_which_part_was_wrong(served: Served) -> None:
    with Person(served.address) as person:
        wrong = person.log_in("ops", "not it, certainly not").text
        unknown = person.log_in("nobody", "not it, certainly not").text
    for html in (wrong, unknown):
        assert "FB-LOGIN" in html
    assert _message(wrong) == _message(unknown)


def test_many_wrong_passwords_lock_the_account_out_for_a_while(served: Served) -> None:
    with Person(served.address) as person:
        for _ in range(6):
            html = person.log_in("ops", "not it, certainly not").text
        assert "FB-LOGIN-LOCKED" in html
        assert "FB-LOGIN-LOCKED" in person.log_in("ops").text


def test_forms_of_a_stranger_are_slowed_down(served: Served) -> None:
    with Person(served.address) as person:
        person.get("/login")
        answers = [person.post("/login", {"name": "", "password": ""}, token="0").status_code for _ in range(40)]
    assert answers.count(429) >= 5
    assert answers[0] == 403


def test_a_form_without_its_token_or_with_anothers_is_refused(stage: Stage, served: Served) -> None:
    with Person(served.address) as person, Person(served.address) as other:
        person.enter(served.ledger, "ops")
        other.enter(served.ledger, "ops")
        person.get("/quarantine")
        form: dict[str, str | list[str]] = {"batch": f"1/2 {HELD}", "why": "why", "action": "replay"}
        for token in ("", "0" * 64, other.form_token, person.form_token[:-1] + "x"):
            assert person.post("/quarantine", form, token=token).status_code == 403
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
            answer = person.http.post("/quarantine", data={"form_token": person.form_token} | form, headers=headers)
            assert answer.status_code == 403
            assert "FB-FORM" in answer.text
        assert stage.states(HELD)[2] is BatchState.QUARANTINED
        assert person.post("/quarantine", form).status_code == 303
        assert stage.states(HELD)[2] is BatchState.DURABLE


def test_a_first_password_must_be_changed_before_anything_else(stage: Stage, served: Served) -> None:
    from forebay_collector.service import users

    users.create(stage.ledger, ROOT, "new", ["viewer"], password="the first one, to be changed")
    with Person(served.address) as person:
        assert "Choose a password of your own first" in person.log_in("new", "the first one, to be changed").text
        for path in ("/", "/batches", "/quarantine", stream_path(STREAM)):
            assert person.http.get(path).headers["location"] == "/account"
        form: dict[str, str | list[str]] = {"old": "the first one, to be changed", "new": PASSWORD, "again": PASSWORD}
        twice = person.follow(person.post("/account/password", form | {"again": "another one altogether"}))
        assert "typed in two ways" in twice.text
        assert person.post("/account/password", form).headers["location"] == "/login"
        assert "Fleet" in person.log_in("new").text


def test_a_one_time_link_logs_in_once_and_a_look_at_it_spends_nothing(stage: Stage, served: Served) -> None:
    from forebay_collector.service import users

    users.create(stage.ledger, ROOT, "linked", ["viewer"])
    token = users.one_time_login(stage.ledger, ROOT, "linked")
    with Person(served.address) as person:
        person.get(f"/login/link?token={token}")
        person.get(f"/login/link?token={token}")
        assert "Fleet" in person.follow(person.post("/login/link", {"token": token})).text
    with Person(served.address) as person:
        person.get(f"/login/link?token={token}")
        assert "FB-LOGIN" in person.follow(person.post("/login/link", {"token": token})).text


def test_an_ended_session_is_over_everywhere_at_once(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        sessions.close_sessions(stage.ledger, ROOT, "ops", "left the room")
        for answer in (person.http.get("/"), person.http.post("/quarantine", data={"form_token": person.form_token})):
            assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_a_session_ends_by_itself_and_looking_on_keeps_none_alive(stage: Stage, served: Served) -> None:
    idle_us = int(stage.settings.accounts.idle.total_seconds() * 1_000_000)
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        served.clock.ahead_us += idle_us * 3 // 4
        with person.http.stream("GET", "/", headers={"accept": "text/event-stream"}) as events:
            assert events.status_code == 200
            lines = events.iter_lines()
            assert next(lines) == "retry: 3000"
            served.clock.ahead_us += idle_us // 2
            assert any(line == "event: left" for line in lines)
        assert person.http.get("/").headers["location"] == "/login"


def test_the_page_goes_back_only_to_itself(served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        for back in (
            "https://evil.example/",
            "//evil.example/",
            "/\\evil.example",
            "javascript:alert(1)",
            "",
            "/\t/evil",
        ):
            answer = person.post("/preferences", {"language": "en", "back": back})
            assert answer.headers["location"] == "/", back
        assert (
            person.post("/preferences", {"theme": "dark", "back": "/batches?x=1"}).headers["location"] == "/batches?x=1"
        )
        assert 'data-theme="dark"' in person.get("/").text
        person.post("/preferences", {"language": "zh-CN"})
        assert '<html lang="zh-CN"' in person.get("/").text


def test_over_tls_cookies_are_secure_and_browsers_are_told_to_stay(stage: Stage) -> None:
    account(stage.ledger, "ops", ["operator"])
    server = stage.settings.data.identity / "server.pem"
    (stage.settings.folder / "key.pem").write_bytes(server.read_bytes())
    console = replace(stage.settings.console, listen="127.0.0.1:0", certificate="identity/server.pem", key="key.pem")
    with Served(stage, replace(stage.settings, console=console)) as running:
        assert running.address.startswith("https://")
        with httpx.Client(base_url=running.address, verify=False) as http:
            answer = http.get("/login")
            assert answer.headers["strict-transport-security"]
            assert "; Secure" in answer.headers["set-cookie"]


def test_behind_a_proxy_that_speaks_tls_cookies_are_secure_and_the_peer_is_the_browsers(
    stage: Stage, served: Served
) -> None:
    headers = {"x-forwarded-proto": "https", "x-forwarded-for": "10.9.8.7"}
    with httpx.Client(base_url=served.address, headers=headers) as http:
        answer = http.get("/login")
        assert answer.headers["strict-transport-security"]
        assert "; Secure" in answer.headers["set-cookie"]
        token = re.search(r'name="form_token" value="(\w+)"', answer.text)[1]  # type: ignore[index]
        # over plain HTTP this client keeps a secure cookie to itself
        cookie = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
        http.post("/login", data={"form_token": token, "name": "ops", "password": "wrong"}, headers=cookie)
    (refused,) = stage.ledger.audit.listing(action="log-in refused")
    assert refused.detail["peer"] == "10.9.8.7"


def _message(html: str) -> str:
    found = re.search(r'<div class="message bad".*?</dl>', html, re.DOTALL)
    assert found is not None
    return found[0]


def test_a_small_answer_does_not_wait_until_the_one_before_it_is_acknowledged(served: Served) -> None:
    took = []
    with httpx.Client(base_url=served.address) as http:
        for _ in range(30):
            began = time.monotonic()
            assert http.get("/api/v1/problems/FB-PACE").status_code == 200
            took.append(time.monotonic() - began)
    assert min(took[2:]) < 0.035, took  # what the system waits before it acknowledges by itself: 40 ms
