"""What leaves the appliance with a person holds no secret, and nothing that may quote a row."""

from __future__ import annotations

from pathlib import Path

from forebay_agent.redaction import REDACTED, redacted, secrets_of, settings, withheld


def test_every_secret_that_is_kept_here_is_known(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/civil").write_text("p4ss word\n")
    (tmp_path / "sources.d").mkdir()
    (tmp_path / "other").write_text("from a file\n")
    (tmp_path / "sources.d/a.toml").write_text(
        '# old: hunter2\npassword = { file = "../other" }\n[x]\npassword = { env = "CIVIL" }\n'
    )
    assert secrets_of(tmp_path, {"CIVIL": "from the environment"}) == {
        "p4ss word",
        "from a file",
        "from the environment",
    }
    assert "hunter2" not in "".join(text for _, text in settings(tmp_path))


def test_secrets_tokens_and_keys_go_and_the_rest_stays() -> None:
    text = (
        "user = x\npassword = 'abc'\nlog_password: def\npassword = { file = 'p' }\nsaid fbt1.QUJD-_x loudly\n"
        "long-secret and long-secret-2\n-----BEGIN EC PRIVATE KEY-----\nMIGH\n-----END EC PRIVATE KEY-----\nend\n"
    )
    assert redacted(text, ["long-secret", "long-secret-2"]) == (
        f"user = x\npassword = {REDACTED}\nlog_password: {REDACTED}\npassword = {{ file = 'p' }}\nsaid {REDACTED} loudly\n"
        f"{REDACTED} and {REDACTED}\n{REDACTED}\nend\n"
    )


def test_what_may_quote_a_row_is_withheld_from_the_journal() -> None:
    journal = (
        "2026-11-28T10:00:00 box forebay-agent[7]: time=1 level=info event=sealed rows=3 reason=fine\n"
        '2026-11-28T10:00:00 box forebay-agent[7]: time=1 level=warning event=held code=FB-SOURCE reason="bad \\"李雷\\" here" seq=3\n'
        "2026-11-28T10:00:00 box forebay-agent[7]: ValueError: 李雷\n"
        "2026-11-28T10:00:00 box systemd[1]: Started forebay-agent.service\n"
    )
    kept = withheld(journal, {"FB-SOURCE"}, "withheld")
    assert "李雷" not in kept
    assert "reason=fine" in kept
    assert "code=FB-SOURCE reason='withheld' seq=3" in kept
    assert "Started forebay-agent.service" in kept
