"""Only a token lets a program in: a good one, shown as a token, not too often; guessing is slowed, and told in the audit."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from forebay_collector.api.admission import GUESSES_BURST, Admission
from forebay_collector.api.problems import ROOT
from forebay_collector.service import sessions, tokens, users
from forebay_collector.service.actor import Actor
from tests.consoling.console import Served
from tests.integration.api.conftest import Staff
from tests.loading.stage import AGENT
from tests.programs.office import Office
from tests.programs.program import CLI, Program, refusal, token_of

GUESS = "fba1_" + "x" * 43


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {GUESS}"},
        {"authorization": "Bearer " + "x" * 5_000},
        {"authorization": "Basic b3BzOm9wcw=="},
        {"x-api-key": GUESS},
    ],
)
def test_without_a_token_that_is_known_there_is_no_answer(served: Served, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{served.address}{ROOT}/agents", headers=headers)
    refusal(answer, 401, "FB-API-TOKEN")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_what_a_browser_holds_lets_nobody_in(office: Office, served: Served) -> None:
    token_of(office.ledger, "ops", ["operator"])
    session = sessions.open_session(office.ledger, Actor("ops", frozenset()))
    cookies = {"forebay_session": session}
    assert httpx.get(f"{served.address}/account", cookies=cookies).status_code == 200
    refusal(httpx.get(f"{served.address}{ROOT}/agents", cookies=cookies), 401, "FB-API-TOKEN")
    with Program(served.address, session) as program:
        program.refused(401, "FB-API-TOKEN", "/agents")


def test_a_token_that_ended_lets_nobody_in(office: Office, served: Served) -> None:
    with Program(served.address, token_of(office.ledger, "a", ["viewer"])) as program:
        number = program.get("/me")["token"]
        tokens.revoke_token(office.ledger, CLI, number)
        program.refused(401, "FB-API-TOKEN", "/me")
    with Program(served.address, token_of(office.ledger, "b", ["viewer"], life=timedelta(hours=1))) as program:
        program.get("/me")
        served.clock.ahead_us += 3_601_000_000
        program.refused(401, "FB-API-TOKEN", "/me")
    with Program(served.address, token_of(office.ledger, "c", ["viewer"])) as program:
        program.get("/me")
        users.disable(office.ledger, CLI, "c", "has left")
        program.refused(401, "FB-API-TOKEN", "/me")
    told = {entry.who: entry.detail for entry in office.ledger.audit.listing(action="API token refused")}
    assert set(told) == {"a", "b", "c"}
    assert (told["a"]["label"], told["a"]["via"]) == ("token of a", "api")


def test_a_token_may_what_its_account_may_now(office: Office, served: Served) -> None:
    asked = {"kind": "reload", "why": "x"}
    with Program(served.address, token_of(office.ledger, "ops", ["operator", "approver"])) as program:
        program.post(f"/agents/{AGENT}/commands", asked)
        users.set_roles(office.ledger, CLI, "ops", ["approver"], ["民政局"], why="moved")
        assert program.get("/me") | {"roles": ["approver"], "departments": ["民政局"]} == program.get("/me")
        program.refused(404, "FB-NOT-KNOWN", f"/agents/{AGENT}/commands", asked)


def test_guesses_are_slowed_down_and_whoever_was_let_in_goes_on(office: Office, served: Served) -> None:
    with Program(served.address, token_of(office.ledger, "ops", ["operator"])) as known, httpx.Client() as http:
        known.get("/me")
        answers = []
        for number in range(GUESSES_BURST * 3):
            headers = {"authorization": f"Bearer fba1_{number:043}"}
            answers.append(http.get(f"{served.address}{ROOT}/me", headers=headers))
            if answers[-1].status_code == 429:
                break
        refusal(answers[0], 401, "FB-API-TOKEN")
        refusal(answers[-1], 429, "FB-PACE")
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert len(answers) >= GUESSES_BURST
        known.get("/me")
    told = office.ledger.audit.listing(action="API token refused")
    assert 1 <= len(told) <= 6
    assert {entry.who for entry in told} == {"(unknown)"}
    assert "fba1_" not in str([dict(entry.detail) for entry in told])


def test_a_right_guess_after_too_many_wrong_ones_waits_like_any_other(office: Office) -> None:
    with Served(office.stage, admission=lambda ledger: Admission(ledger, guesses=(0.001, 3))) as served:
        for _ in range(3):
            refusal(_ask(served, GUESS), 401, "FB-API-TOKEN")
        refusal(_ask(served, token_of(office.ledger, "late", ["viewer"])), 429, "FB-PACE")


def test_one_token_is_held_to_a_pace_that_others_do_not_feel(office: Office) -> None:
    with Served(office.stage, admission=lambda ledger: Admission(ledger, calls=(0.001, 3))) as served:
        first, second = (token_of(office.ledger, name, ["viewer"]) for name in ("first", "second"))
        assert [_ask(served, first).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
        assert int(_ask(served, first).headers["retry-after"]) > 60
        assert _ask(served, second).status_code == 200


def _ask(served: Served, token: str) -> httpx.Response:
    return httpx.get(f"{served.address}{ROOT}/me", headers={"authorization": f"Bearer {token}"})


def test_a_token_never_shows_in_an_answer_a_log_or_the_audit(
    office: Office, served: Served, staff: Staff, caplog: pytest.LogCaptureFixture
) -> None:
    token = token_of(office.ledger, "ops", ["operator"])
    made: list[str] = []
    with Program(served.address, token) as program:
        made.append(program.post("/tokens", {"label": "x", "roles": ["operator"]})["text"])
        enrolment = {"agent": "scjg-09", "department": "市监局"}
        made.append(staff["admin"].post("/enrolment-tokens", enrolment)["text"])
        shown = [program.http.get(path).text for path in ("/me", "/tokens?account=ops", "/nothing", "/agents?x=1")]
        shown.append(program.http.post("/tokens", json={"label": token, "roles": [made[0]]}).text)
    shown += [staff["auditor"].http.get("/audit/export").text, staff["admin"].http.get("/tokens").text, caplog.text]
    for secret in (token, *made):
        assert all(secret not in text for text in shown)


@pytest.fixture
def secure(office: Office) -> Iterator[Served]:
    """Served over TLS by the collector's own certificate, as a console that other machines reach."""
    settings, file = office.stage.settings, "identity/server.pem"
    console = replace(settings.console, certificate=file, key=file, listen="127.0.0.1:0")
    with Served(office.stage, replace(settings, console=console)) as running:
        yield running


def test_over_tls_it_is_the_same(office: Office, secure: Served) -> None:
    context = ssl.create_default_context(cafile=str(office.stage.settings.data.identity / "authority.pem"))
    with Program(secure.address, token_of(office.ledger, "ops", ["operator"]), verify=context) as program:
        answer = program.http.get("/me")
        assert (answer.url.scheme, answer.json()["account"]) == ("https", "ops")
        assert "max-age" in answer.headers["strict-transport-security"]
        assert answer.headers["cache-control"] == "no-store"
