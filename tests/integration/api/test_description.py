"""The API is what its description says: the kept file, the guide, what is served, and the console beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from forebay_collector.api import description
from forebay_collector.api.nouns import NOUNS
from forebay_collector.console import app
from forebay_collector.console.endpoints import Endpoints
from tests.consoling.console import Served
from tests.integration.api.conftest import Staff
from tests.programs.fuzzing import fuzz
from tests.programs.program import Program

DOCS = Path(__file__).parents[3] / "docs"
OPERATIONS = [operation for noun in NOUNS for operation in noun.operations]
EXAMPLES, SEED = 10, 20_260
BY_THE_API = {
    "/account/password": ["setPassword"],
    "/account/sessions": ["endSessions"],
    "/account/tokens": ["makeToken"],
    "/account/tokens/revoke": ["revokeToken"],
    "/agents/{name}/command": ["sendCommand"],
    "/quarantine": ["replay", "discard"],
    "/alerts": ["acknowledgeAlert"],
    "/alerts/windows": ["openWindow"],
    "/alerts/windows/close": ["closeWindow"],
    "/certificates": ["certify"],
    "/approvals": ["approve", "reject", "withdraw", "approveMany"],
    "/identity/tokens": ["makeEnrolmentToken"],
    "/identity/revoke": ["revokeAgent"],
    "/offers": ["offer"],
    "/offers/cancel": ["cancelRollout"],
    "/verification": ["verify"],
    "/repairs": ["repairStreams"],
    "/audit/verify": ["verifyAudit"],
    "/users": ["createUser", "setRoles", "setPassword", "disableUser", "enableUser", "endSessions", "makeLink"],
}
"""What each form of the console does, by the API."""
OF_BROWSERS = {"/login", "/login/link", "/logout", "/preferences"}


def test_the_kept_file_is_what_the_code_describes_and_serves(served: Served) -> None:
    kept = (DOCS / "openapi.json").read_text("utf-8")
    told = "write it anew: python -m forebay_collector.api.description > docs/openapi.json"
    assert kept == description.text(NOUNS), told
    with Program(served.address) as stranger:
        answer = stranger.http.get("/openapi.json")
    assert (answer.headers["content-type"], answer.text) == ("application/json", kept)


def test_the_guide_names_every_operation_with_the_permission_that_it_needs() -> None:
    guide = (DOCS / "api.md").read_text("utf-8")
    rows = {
        f"| `{operation.method} {operation.path}` | {operation.summary} | {operation.needs or '-'} |"
        for operation in OPERATIONS
    }
    assert rows - set(guide.splitlines()) == set()
    assert len(re.findall(r"^\| `(GET|POST) ", guide, re.MULTILINE)) == len(rows)


def test_names_are_stable_and_used_once() -> None:
    assert len({operation.id for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)
    document = description.describe(NOUNS)
    for name, schema in document["components"]["schemas"].items():
        assert re.fullmatch(r"[A-Z][A-Za-z]+", name), name
        for field in schema.get("properties", {}):
            assert re.fullmatch(r"[a-z][a-z0-9_]*", field), (name, field)


def test_every_moment_is_named_as_one_and_says_that_it_is_one() -> None:
    document = description.describe(NOUNS)
    for name, schema in document["components"]["schemas"].items():
        for field, told in schema.get("properties", {}).items():
            moment = "date-time" in json.dumps(told)
            assert moment == (field.endswith("_at") or field in ("at", "as_of", "connected_since")), (name, field)


def test_every_body_refuses_keys_that_are_not_described() -> None:
    schemas = description.describe(NOUNS)["components"]["schemas"]

    def closed(schema: dict[str, Any]) -> bool:
        if "$ref" in schema:
            return closed(schemas[schema["$ref"].rpartition("/")[2]])
        return all(map(closed, schema["oneOf"])) if "oneOf" in schema else schema["additionalProperties"] is False

    bodies = [operation.body.__name__ for operation in OPERATIONS if operation.body is not None]
    assert bodies
    assert [name for name in bodies if not closed(schemas[name])] == []


def test_whatever_people_do_on_the_console_programs_do_by_the_api(served: Served) -> None:
    assert served.address
    forms = {route.path for route in _console_routes() if route.methods == {"POST"}}
    assert forms - OF_BROWSERS == set(BY_THE_API)
    there = {operation.id for operation in OPERATIONS}
    assert {one for ids in BY_THE_API.values() for one in ids} <= there


def _console_routes() -> list[Route]:
    class Anything(Endpoints):
        def __init__(self) -> None:
            pass

    return [route for route in app._routes(Anything()) if isinstance(route, Route)]


@pytest.mark.timeout(600)
def test_requests_right_and_wrong_break_nothing_and_are_answered_as_described(tmp_path: Path) -> None:
    run = fuzz(tmp_path, examples=EXAMPLES, seed=SEED)
    assert run.exit_code == 0, run.told[-20_000:]
    assert run.still_good, "the program lost its token: what followed tested nothing"
    assert not [status for _, status in run.answers if status >= 500]
    # the description itself is read before the first request is made
    asked = {f"{operation.method} {operation.path}" for operation in OPERATIONS if operation.id != "description"}
    assert asked <= {operation for operation, _ in run.answers}
    assert len(run.fine & asked) >= len(asked) * 3 // 4, sorted(asked - run.fine)


def test_a_program_is_told_who_it_is(staff: Staff) -> None:
    me = staff["mz"].get("/me")
    assert (me["account"], me["roles"], me["departments"]) == ("mz", ["approver", "operator"], ["民政局"])
