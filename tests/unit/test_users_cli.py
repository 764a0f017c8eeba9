"""Accounts and audit on the command line, and that no secret is ever printed, logged, audited or stored."""

from __future__ import annotations

import csv
import io
import json
import logging
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from forebay_collector.cli import main
from forebay_collector.errors import CollectorError
from forebay_collector.founding import init
from forebay_collector.ledger import Ledger
from forebay_collector.service import sessions, tokens, users
from forebay_collector.service.actor import Role
from tests.accounts.people import HERE, OTHER_PASSWORD, PASSWORD, ROOT, member, quick_passwords


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_passwords(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return init(tmp_path / "collector", ["127.0.0.1:7443"]).folder


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    opened = Ledger.open(folder / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with this standard input, None: a terminal; -> exit code, stdout, stderr."""

    def running(*arguments: str, typed: str | None = "") -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", Terminal() if typed is None else io.StringIO(typed))
        code = main(["--data", str(folder), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return running


def add(run: Run, name: str, *more: str, typed: str = "") -> str:
    code, out, err = run("users", "add", name, "--role", "operator", "--department", "市监局", *more, typed=typed)
    assert (code, err) == (0, "")
    return out


def test_an_account_is_made_listed_changed_and_disabled(run: Run, ledger: Ledger) -> None:
    assert "users add" in run("users")[1]
    assert "users link zhang" in add(run, "zhang")
    (row,) = json.loads(run("users", "--json")[1])
    assert (row["name"], row["state"], row["roles"], row["departments"]) == ("zhang", "new", ["operator"], ["市监局"])
    assert json.loads(run("users", "list", "--json")[1]) == [row]
    assert "市监局" in run("users")[1]
    code, out, _ = run("users", "roles", "zhang", "--role", "viewer", "--all-departments", "--reason", "moved")
    assert (code, out) == (0, "account zhang: viewer; departments: all\n")
    assert run("users", "disable", "zhang", "--reason", "left")[0] == 0
    assert json.loads(run("users", "--json")[1])[0]["state"] == "disabled"
    assert run("users", "enable", "zhang", "--reason", "back")[0] == 0
    code, out, _ = run("users", "log-out", "zhang", "--reason", "lost laptop")
    assert (code, out) == (0, "account zhang: 0 sessions ended\n")
    audited = [(entry.action, entry.why) for entry in reversed(ledger.audit.listing())]
    assert audited == [
        ("account", ""),
        ("roles", "moved"),
        ("account disabled", "left"),
        ("account enabled", "back"),
        ("sessions ended", "lost laptop"),
    ]
    assert {entry.detail["via"] for entry in ledger.audit.listing()} == {"cli"}


def test_a_link_from_the_command_line_logs_in(run: Run, ledger: Ledger) -> None:
    address, _, first = add(run, "zhang", "--link").strip().partition("/login/link?token=")
    assert address == "http://127.0.0.1:7480"
    assert users.log_in_by_link(ledger, first, HERE).name == "zhang"
    code, out, _ = run("users", "link", "zhang", "--expires", "1m")
    assert code == 0
    assert users.log_in_by_link(ledger, out.strip().partition("token=")[2], HERE).name == "zhang"


@pytest.mark.parametrize(
    ("console", "address"),
    [
        ('listen = "[::]:8443"\ncertificate = "c.pem"\nkey = "c.key"', "https://127.0.0.1:8443"),
        ('listen = "10.0.0.5:80"', "http://10.0.0.5:80"),
        ('[console.oidc]\naddress = "https://forebay.city.example/"', "https://forebay.city.example"),
    ],
)
def test_a_link_names_the_address_that_the_settings_say(run: Run, folder: Path, console: str, address: str) -> None:
    path = folder / "collector.toml"
    text = path.read_text()
    head = "[console.oidc]" if console.startswith("[") else "[console]"
    path.write_text(text.replace(head + "\n", f"{'' if console.startswith('[') else head}\n{console}\n", 1))
    assert add(run, "zhang", "--link").startswith(f"{address}/login/link?token=fbl1_")


def test_a_password_comes_from_the_standard_input_or_the_terminal(
    run: Run, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(run, "zhang", "--password", typed=PASSWORD + "\n")
    assert users.authenticate(ledger, "zhang", PASSWORD, HERE).name == "zhang"
    code, out, _ = run("users", "password", "zhang", typed=OTHER_PASSWORD + "\r\nmore\n")
    assert code == 0
    assert OTHER_PASSWORD not in out
    assert users.authenticate(ledger, "zhang", OTHER_PASSWORD, HERE).name == "zhang"
    typed = iter([PASSWORD, PASSWORD, PASSWORD, OTHER_PASSWORD])
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(typed))
    assert run("users", "password", "zhang", typed=None)[0] == 0
    assert users.authenticate(ledger, "zhang", PASSWORD, HERE).name == "zhang"
    code, _, err = run("users", "password", "zhang", typed=None)
    assert code == 5
    assert "not the same" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["users", "password", "nobody"], 1),
        (["users", "link", "nobody"], 1),
        (["users", "disable", "nobody", "--reason", "x"], 1),
        (["users", "revoke", "7", "--reason", "x"], 1),
        (["users", "add", "zhang", "--role", "viewer", "--all-departments"], 5),
        (["users", "add", "a b", "--role", "viewer", "--all-departments"], 5),
        (["users", "add", "li", "--role", "auditor", "--role", "administrator", "--all-departments"], 5),
        (["users", "add", "li", "--role", "viewer", "--department", "a/b"], 5),
        (["users", "token", "zhang", "--label", "x", "--role", "auditor"], 5),
        (["users", "token", "zhang", "--label", "x", "--role", "operator", "--expires", "900d"], 5),
    ],
)
def test_what_cannot_be_done_says_why_and_what_to_do(run: Run, arguments: list[str], code: int) -> None:
    add(run, "zhang")
    ended, out, err = run(*arguments, typed=PASSWORD)
    assert (ended, out) == (code, "")
    assert err.startswith("error:  ")
    assert "remedy: " in err


def test_a_weak_password_is_refused(run: Run) -> None:
    add(run, "zhang")
    for typed in ("", "Zhang2026!", "password1234"):
        code, _, err = run("users", "password", "zhang", typed=typed)
        assert code == 5
        assert not typed or typed not in err


def test_a_password_is_never_an_argument(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("users", "password", "zhang", PASSWORD)


def test_an_api_token_is_made_listed_and_revoked(run: Run, ledger: Ledger) -> None:
    add(run, "zhang")
    code, out, _ = run("users", "token", "zhang", "--label", "nightly", "--role", "operator", "--expires", "2d")
    assert code == 0
    actor = tokens.actor_of_token(ledger, out.strip())
    assert actor is not None
    assert (actor.name, actor.departments) == ("zhang", frozenset({"市监局"}))
    (row,) = json.loads(run("users", "tokens", "--json")[1])
    assert (row["account"], row["label"], row["state"]) == ("zhang", "nightly", "active")
    assert "nightly" in run("users", "tokens", "zhang")[1]
    assert run("users", "revoke", str(row["id"]), "--reason", "leaked")[0] == 0
    assert tokens.actor_of_token(ledger, out.strip()) is None
    assert json.loads(run("users", "tokens", "--json")[1])[0]["state"] == "revoked"


def test_the_audit_is_verified_by_command_and_an_altered_entry_named(run: Run, ledger: Ledger) -> None:
    for number in range(5):
        ledger.audit.add("张三", "replay", f"s{number}", "why")
    code, out, _ = run("audit", "verify")
    assert code == 0
    assert out.startswith("the chain holds: 5 entries\nhead:   5:")
    noted = out.split("head:   ")[1].strip()
    assert run("audit", "verify", "--head", noted)[0] == 0
    answer = json.loads(run("audit", "verify", "--json")[1])
    assert answer == {"ok": True, "entries": 5, "first_bad": None, "reason": "", "head": noted}
    with ledger.database.write() as connection:
        connection.execute(text("DELETE FROM audit WHERE id = 5"))
        connection.execute(text("UPDATE audit_head SET entries = 4, digest = (SELECT digest FROM audit WHERE id = 4)"))
    assert run("audit", "verify")[0] == 0, "the head was cut too"
    code, out, _ = run("audit", "verify", "--head", noted)
    assert code == 1
    assert "entry 5" in out
    with ledger.database.write() as connection:
        connection.execute(text("UPDATE audit SET who = '李四' WHERE id = 3"))
    code, out, _ = run("audit", "verify")
    assert code == 1
    assert out.startswith("the chain is broken at entry 3: ")
    assert "remedy: " in out
    answer = json.loads(run("audit", "verify", "--json")[1])
    assert (answer["ok"], answer["first_bad"]) == (False, 3)


@pytest.mark.parametrize("head", ["", "5", "x:y", "5:00", "-1:" + "0" * 64, "5:" + "g" * 64])
def test_a_head_that_is_none_is_wrong_usage(run: Run, head: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run("audit", "verify", "--head", head)
    assert ended.value.code == 2


def test_the_audit_is_exported_with_its_digests_for_nobody_elses_eyes(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    ledger.audit.add("张三", "replay", "s", "=cmd|' /C calc'!A0", {"rows": 3})
    out = tmp_path / "audit.jsonl"
    assert run("audit", "export", "--out", str(out))[0] == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    export, entry = (json.loads(line) for line in out.read_text().splitlines())
    assert (export["action"], export["id"]) == ("audit export", 2)
    assert (entry["who"], entry["detail"], entry["digest"]) == ("张三", {"rows": 3}, export["previous"])
    code, printed, _ = run("audit", "export", "--format", "csv", "--since", "1h")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["action"] for row in rows] == ["audit export", "audit export", "replay"]
    assert rows[-1]["why"] == "'=cmd|' /C calc'!A0", "a spreadsheet takes it for text"


def test_the_audit_is_filtered(run: Run, ledger: Ledger) -> None:
    ledger.audit.add("张三", "replay", "市监局/a/b 1/1", "why")
    ledger.audit.add("李四", "discard", "民政局/a/b 1/1", "why")
    assert [row["who"] for row in json.loads(run("audit", "--who", "张三", "--json")[1])] == ["张三"]
    (row,) = json.loads(run("audit", "--department", "民政局", "--json")[1])
    assert (row["who"], row["department"]) == ("李四", "民政局")
    assert run("audit", "--department", "公安局")[1] == "no entries\n"


def test_no_secret_is_stored_audited_logged_or_shown(
    run: Run, ledger: Ledger, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets: list[str] = [PASSWORD, OTHER_PASSWORD, "a wrong password 77", "typed-as-a-name-88"]
    shown: list[str] = []

    def fails(deed: Callable[[], object]) -> None:
        with pytest.raises(CollectorError) as error:
            deed()
        shown.append(repr(error.value) + str(error.value) + error.value.remedy)

    zhang = member(ledger, "zhang", Role.OPERATOR)
    li = member(ledger, "li", Role.ADMINISTRATOR)
    session = sessions.open_session(ledger, zhang)
    link = users.one_time_login(ledger, ROOT, "zhang")
    token = tokens.make_token(ledger, zhang, "nightly", roles=["operator"])
    form = sessions.form_token(session)
    secrets += [session, link, token.text, token.text.removeprefix("fba1_"), form]
    fails(lambda: users.authenticate(ledger, "zhang", "a wrong password 77", HERE))
    fails(lambda: users.authenticate(ledger, "typed-as-a-name-88", "x", HERE))
    fails(lambda: users.log_in_by_link(ledger, link + "x", HERE))
    fails(lambda: users.create(ledger, ROOT, "wang", [Role.VIEWER], password="zhangzhangzh"))
    fails(lambda: users.set_password(ledger, zhang, "zhang", OTHER_PASSWORD, old="a wrong password 77", peer=HERE))
    users.log_in_by_link(ledger, link, HERE)
    users.set_password(ledger, zhang, "zhang", OTHER_PASSWORD, old=PASSWORD, peer=HERE)
    tokens.actor_of_token(ledger, token.text)
    shown.append(repr([sessions.session_of(ledger, session), token, zhang]))
    shown.append(repr([ledger.accounts.listing(), ledger.api_tokens.listing(), ledger.sessions.listing("zhang")]))
    shown.append(repr([users.listing(ledger, li), tokens.listing(ledger, li)]))
    for command in (
        ["users"],
        ["users", "--json"],
        ["users", "tokens", "--json"],
        ["audit", "--json", "--limit", "999"],
    ):
        shown += run(*command)[1:]
    shown += run("audit", "export")[1:]
    shown.append(caplog.text)
    hashes = [record.password_hash for record in ledger.accounts.listing() if record.password_hash]
    assert len(hashes) == 2
    everything = "\n".join(shown)
    for secret in secrets + hashes + [kept.split("$")[-1] for kept in hashes]:
        assert secret not in everything
    stored = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert hashes[0].encode() in stored, "the files that were searched are the ledger's"
    for secret in secrets:
        assert secret.encode() not in stored
