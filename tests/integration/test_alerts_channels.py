"""Each channel against a real server: what arrives, what is refused, and that no secret is told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from forebay_collector.alerts import texts
from forebay_collector.alerts.channels import open_channel
from forebay_collector.alerts.channels.dingtalk import sign
from forebay_collector.alerts.kinds import KINDS
from forebay_collector.alerts.message import Wording
from forebay_collector.alerts.settings import (
    AlertSettings,
    DingtalkSettings,
    MailSettings,
    WebhookSettings,
    WecomSettings,
)
from forebay_collector.errors import ConfigurationError, NotSent
from forebay_collector.ledger.alerts import AlertRecord
from forebay_collector.ledger.notifications import NotificationRecord
from tests.alerting.hooks import HookServer, certificate
from tests.alerting.mailbox import mail_server

SECRET: Final = "the-key-of-the-hook"
KEY: Final = "693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa"
PASSWORD: Final = "mail password / with + signs"
NOTE: Final = NotificationRecord(
    1042, "webhook", "opened", "agent_silent", 1_790_000_000_000_000, 0, 1, "sending", 0, ""
)
AT: Final = 1_790_000_000_000_000


def alert(number: int = 7, subject: str = "scjg-01", **more: Any) -> AlertRecord:
    plain: dict[str, Any] = {
        "kind": "agent_silent",
        "department": "市监局",
        "agent": subject,
        "severity": "critical",
        "code": "FB-AGENT-SILENT",
        "detail": {"since": AT - 90_000_000},
        "opened_at": AT,
        "last_seen_at": AT,
        "closed_at": 0,
        "acknowledged_at": 0,
        "acknowledged_by": "",
        "acknowledged_why": "",
        "told_severity": "",
        "told_at": 0,
        "resolved_told": 0,
    }
    return AlertRecord(id=number, subject=subject, **{**plain, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hook.key").write_text(f"{SECRET}\n")
    (tmp_path / "mail.password").write_text(f"{PASSWORD}\n")
    return tmp_path


@pytest.fixture(autouse=True)
def no_secret_is_told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever happens, and however much is logged."""
    with caplog.at_level(logging.DEBUG):
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        yield
    for secret in (SECRET, KEY, PASSWORD, base64.b64encode(PASSWORD.encode()).decode()):
        assert secret not in caplog.text


def send(settings: AlertSettings, folder: Path, *alerts: AlertRecord, note: NotificationRecord = NOTE) -> str:
    (name,) = settings.channels
    channel = open_channel(name, settings, folder)
    try:
        return channel.send(Wording(note, alerts or (alert(),), settings.channels[name].language, settings.console))
    finally:
        channel.close()


def refused(settings: AlertSettings, folder: Path) -> str:
    with pytest.raises(NotSent) as told:
        send(settings, folder)
    for secret in (SECRET, KEY, PASSWORD, "access_token"):
        assert secret not in str(told.value)
    return str(told.value)


def test_a_webhook_gets_json_under_a_signature_that_it_can_check(folder: Path) -> None:
    with HookServer() as server:
        hook = WebhookSettings(url=f"{server.address}/hooks/1?x=1", secret="hook.key")
        settings = AlertSettings(webhook=hook, console="https://console.example/")
        assert send(settings, folder, alert(), alert(8, "mzj-01", department="民政局")) == "HTTP 200"
    (posted,) = server.posted
    assert posted.path == "/hooks/1?x=1"
    assert posted.headers["forebay-notification"] == "1042"
    at, _, told = posted.headers["forebay-signature"].partition(",v1=")
    signed = hmac.new(SECRET.encode(), at.removeprefix("t=").encode() + b"." + posted.body, hashlib.sha256)
    assert hmac.compare_digest(told, signed.hexdigest())
    said = json.loads(posted.body)
    assert (said["version"], said["id"], said["what"], said["kind"]) == (1, 1042, "opened", "agent_silent")
    assert (said["severity"], said["count"], said["console"]) == ("critical", 2, "https://console.example/alerts")
    assert said["title"] == {"zh-CN": "前池：严重：2 台前置机失联", "en": "Forebay: critical: 2 agents silent"}
    first = said["alerts"][0]
    assert (first["id"], first["subject"], first["code"]) == (7, "scjg-01", "FB-AGENT-SILENT")
    assert first["opened_at"] == "2026-09-21T14:13:20.000Z"
    assert first["closed_at"] is None
    assert first["reason"]["en"].startswith("no heartbeat since")
    assert first["remedy"]["zh-CN"].startswith("到设备上确认")


def test_without_a_key_a_webhook_is_not_signed_and_anything_but_2xx_is_no_success(folder: Path) -> None:
    with HookServer() as server:
        settings = AlertSettings(webhook=WebhookSettings(url=server.address))
        server.answer = lambda _: (204, b"", {})
        assert send(settings, folder) == "HTTP 204"
        assert "forebay-signature" not in server.posted[0].headers
        for status in (400, 404, 429, 500, 503):
            server.answer = lambda _, status=status: (status, b"no: " + SECRET.encode(), {})  # type: ignore[misc]
            assert refused(settings, folder) == f"HTTP {status}"


def test_a_redirection_is_not_followed(folder: Path) -> None:
    with HookServer() as elsewhere, HookServer() as server:
        server.answer = lambda _: (307, b"", {"location": elsewhere.address})
        assert refused(AlertSettings(webhook=WebhookSettings(url=server.address)), folder) == "HTTP 307"
    assert elsewhere.posted == []


def test_a_server_that_is_not_there_or_says_nothing_is_named_without_its_address(folder: Path) -> None:
    with HookServer() as server:
        server.answer = lambda _: None
        settings = AlertSettings(webhook=WebhookSettings(url=f"{server.address}/?key={KEY}"))
        assert refused(settings, folder) == "RemoteProtocolError"
    assert refused(settings, folder) == "Connection refused"


def test_a_server_that_no_known_authority_vouches_for_gets_nothing(folder: Path, tmp_path: Path) -> None:
    tls, authority = certificate(tmp_path / "authority")
    _, other = certificate(tmp_path / "other")
    with HookServer(tls) as server:
        hook = WebhookSettings(url=server.address, secret="hook.key")
        for authorities in ("", str(other)):
            told = refused(AlertSettings(webhook=hook, authorities=authorities), folder)
            assert told.startswith("the server's certificate is refused: ")
        assert server.posted == []
        assert send(AlertSettings(webhook=hook, authorities=str(authority)), folder) == "HTTP 200"


def test_dingtalk_signs_as_its_documentation_says() -> None:
    """The values were computed by OpenSSL: HMAC-SHA256 with the secret over `timestamp \\n secret`, in Base64."""
    assert sign("SECf1a2b3c4d5", 1_577_262_236_757) == "rScqdI/SS/OQ/3cmZh7Xqv+7ejtWsvNFp87qp65ArSg="
    assert sign("this is secret", 1_577_262_236_757) == "hmPWwU+7lVdm3ZZz0r9tSfx0L4Q26jWOZr9+Gs6EZQM="


def dingtalk(folder: Path, server: HookServer) -> AlertSettings:
    (folder / "dingtalk.robot").write_text(f"{server.address}/robot/send?access_token={KEY}\n")
    return AlertSettings(dingtalk=DingtalkSettings(robot="dingtalk.robot", secret="hook.key"))


def test_a_dingtalk_robot_gets_markdown_and_a_timestamp_with_its_sign(folder: Path) -> None:
    with HookServer() as server:
        assert send(dingtalk(folder, server), folder) == "errcode 0: ok"
    (posted,) = server.posted
    asked = parse_qs(urlsplit(posted.path).query)
    assert urlsplit(posted.path).path == "/robot/send"
    assert asked["access_token"] == [KEY]
    assert asked["sign"] == [sign(SECRET, int(asked["timestamp"][0]))]
    said = json.loads(posted.body)
    assert said["msgtype"] == "markdown"
    assert said["markdown"]["title"] == "前池：严重：前置机失联：scjg-01 / Forebay: critical: Agent silent: scjg-01"
    assert "自 2" in said["markdown"]["text"]
    assert "no heartbeat since" in said["markdown"]["text"]


def test_what_a_robot_refuses_under_200_is_no_success(folder: Path) -> None:
    with HookServer() as server:
        settings = dingtalk(folder, server)
        server.answer = lambda _: (200, b'{"errcode":310000,"errmsg":"sign not match"}', {})
        assert refused(settings, folder) == "errcode 310000: sign not match"
        for content in (b"", b"<html>", b"[]", b'{"errmsg":"ok"}'):
            server.answer = lambda _, content=content: (200, content, {})  # type: ignore[misc]
            assert refused(settings, folder) == "the answer is not a robot's"


def test_a_robot_that_repeats_its_key_does_not_bring_it_into_the_record(folder: Path) -> None:
    with HookServer() as server:
        settings = dingtalk(folder, server)
        said = json.dumps({"errcode": 40014, "errmsg": f"robot {KEY} of {SECRET} is not known"}).encode()
        server.answer = lambda _: (200, said, {})
        assert refused(settings, folder).startswith("errcode 40014: ")


def test_a_wecom_robot_gets_markdown_of_at_most_4096_bytes_however_much_is_the_matter(folder: Path) -> None:
    with HookServer() as server:
        (folder / "wecom.robot").write_text(f"{server.address}/cgi-bin/webhook/send?key={KEY}")
        settings = AlertSettings(wecom=WecomSettings(robot="wecom.robot"), console="https://console.example")
        alerts = [alert(number, f"前置机-{number:03}", detail={"since": AT}) for number in range(300)]
        assert send(settings, folder, *alerts) == "errcode 0: ok"
        assert send(settings, folder, alert(subject="x" * 20_000, detail={"since": AT})) == "errcode 0: ok"
    for posted in server.posted:
        assert parse_qs(urlsplit(posted.path).query) == {"key": [KEY]}
        said = json.loads(posted.body)
        assert said.keys() == {"msgtype", "markdown"}
        assert said["msgtype"] == "markdown"
        assert 0 < len(said["markdown"]["content"].encode()) <= 4_096
    many = json.loads(server.posted[0].body)["markdown"]["content"]
    assert "300 台前置机失联" in many
    assert "300 agents silent" in many
    assert "另有 2" in many
    assert "https://console.example/alerts" in many


def test_what_a_database_said_becomes_no_link_and_calls_nobody(folder: Path) -> None:
    said = "[click](http://evil.example) <@all> **now** `x`\n> quoted\u202e"
    held = alert(kind="quarantine_not_empty", detail={"epoch": 1, "seq": 2, "said": said, "trouble": "FB-X"})
    with HookServer() as server:
        send(dingtalk(folder, server), folder, held)
    text = json.loads(server.posted[0].body)["markdown"]["text"]
    for harmful in ("[click]", "<@all>", "**now**", "`x`", "\n> quoted", "\u202e"):
        assert harmful not in text
    assert "click" in text


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (AlertSettings(webhook=WebhookSettings(url="http://127.0.0.1:1", secret="missing")), "alerts.webhook.secret"),
        (AlertSettings(wecom=WecomSettings(robot="empty")), "alerts.wecom.robot"),
        (AlertSettings(wecom=WecomSettings(robot="hook.key")), "alerts.wecom.robot"),
        (AlertSettings(webhook=WebhookSettings(url="http://127.0.0.1:1"), authorities="empty"), "alerts.authorities"),
        (AlertSettings(mail=MailSettings(server="127.0.0.1:25")), "alerts.mail.sender"),
        (
            AlertSettings(
                mail=MailSettings(server="m.example:25", security="none", sender="a@b.c", recipients=("a@b.c",))
            ),
            "alerts.mail.security",
        ),
        (
            AlertSettings(mail=MailSettings(server="m.example:25", user="a", sender="a@b.c", recipients=("a@b.c",))),
            "alerts.mail.password",
        ),
        (
            AlertSettings(
                mail=MailSettings(
                    server="m.example:25", user="a", password="chinese", sender="a@b.c", recipients=("a@b.c",)
                )
            ),
            "alerts.mail.password",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_not_repeated(folder: Path, settings: AlertSettings, key: str) -> None:
    (folder / "empty").write_text("\n")
    (folder / "chinese").write_text("密码", "utf-8")
    with pytest.raises(ConfigurationError) as told:
        send(settings, folder)
    assert told.value.key == key
    assert SECRET not in str(told.value)


def mail(server: str, authority: Path, security: str, **more: Any) -> AlertSettings:
    plain = {"user": "forebay", "password": "mail.password", "sender": "forebay@city.example"}
    recipients = ("ops@city.example", "zhang@city.example")
    section = MailSettings(server=server, security=security, recipients=recipients, **{**plain, **more})
    return AlertSettings(mail=section, authorities=str(authority))


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_arrives_over_tls_after_a_log_in(folder: Path, tmp_path: Path, security: str) -> None:
    tls, authority = certificate(tmp_path / "authority")
    with mail_server(security, tls, PASSWORD) as (box, server):
        assert send(mail(server, authority, security), folder) == "SMTP 250"
        assert send(mail(server, authority, security, language="en"), folder) == "SMTP 250"
        assert box.logins[0] == (b"forebay", PASSWORD.encode())
    (to, both), (_, english) = box.mails
    assert to == ["ops@city.example", "zhang@city.example"]
    assert both["Subject"] == "前池：严重：前置机失联：scjg-01 / Forebay: critical: Agent silent: scjg-01"
    assert both["Message-ID"] == english["Message-ID"] == f"<forebay-1042-{AT}@city.example>"
    assert both["Auto-Submitted"] == "auto-generated"
    assert "处置: 到设备上确认" in both.get_content()
    assert "What to do: See on the appliance" in both.get_content()
    assert english["Subject"] == "Forebay: critical: Agent silent: scjg-01"
    assert "处置" not in english.get_content()


def test_a_password_goes_to_no_server_that_is_not_vouched_for_or_does_not_speak_tls(
    folder: Path, tmp_path: Path
) -> None:
    tls, authority = certificate(tmp_path / "authority")
    _, other = certificate(tmp_path / "other")
    with mail_server("starttls", tls, PASSWORD) as (box, server):
        assert refused(mail(server, other, "starttls"), folder).startswith("the server's certificate is refused")
        assert box.logins == []
    with mail_server("none", tls, PASSWORD) as (box, server):
        assert refused(mail(server, authority, "starttls"), folder) == "SMTPNotSupportedError"
        assert box.logins == []


def test_what_a_mail_server_refuses_is_told_by_its_code(folder: Path, tmp_path: Path) -> None:
    tls, authority = certificate(tmp_path / "authority")
    with mail_server("starttls", tls, PASSWORD) as (box, server):
        (folder / "mail.password").write_text("another")
        assert refused(mail(server, authority, "starttls"), folder) == "SMTP 535 the log-in is refused"
        (folder / "mail.password").write_text(PASSWORD)
        box.refusal = "554 not with us"
        assert refused(mail(server, authority, "starttls"), folder) == "SMTP 554 the mail is refused"
    assert refused(mail(server, authority, "starttls"), folder) == "Connection refused"


def test_on_this_machine_mail_may_go_without_tls(folder: Path, tmp_path: Path) -> None:
    tls, authority = certificate(tmp_path / "authority")
    with mail_server("none", tls, PASSWORD) as (box, server):
        assert send(mail(server, authority, "none", user="", password=""), folder) == "SMTP 250"
    assert len(box.mails) == 1


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("what", ["opened", "worse", "reminder", "resolved"])
def test_every_kind_has_its_words_for_every_occasion(kind: str, what: str) -> None:
    note = NotificationRecord(1, "mail", what, kind, AT, 0, 1, "sending", 0, "")
    closed = AT + 60_000_000 if what == "resolved" else 0
    every = [alert(number, kind=kind, detail={}, closed_at=closed) for number in range(2)]
    for some in (every[:1], every):
        wording = Wording(note, some, "both")
        for text in (wording.title, wording.plain(), wording.markdown(10_000)):
            assert "{" not in text
            assert kind not in text
        assert wording.title_in("zh-CN") != wording.title_in("en")
        assert ("处置" in wording.plain()) == (what != "resolved")


def test_both_languages_have_the_same_words_with_the_same_places() -> None:
    def flat(values: Any, prefix: str = "") -> dict[str, str]:
        if isinstance(values, dict):
            return {key: text for name, one in values.items() for key, text in flat(one, f"{prefix}{name}.").items()}
        return {prefix: values}

    chinese, english = (flat(texts.words(language)) for language in texts.LANGUAGES)
    assert chinese.keys() == english.keys()
    places = [{key: set(re.findall(r"{(\w+)}", text)) for key, text in one.items()} for one in (chinese, english)]
    assert places[0] == places[1]
    assert set(texts.words("en")["kind"]) == set(KINDS)


def test_a_test_message_says_that_it_is_one(folder: Path) -> None:
    note = NotificationRecord(1, "dingtalk", "test", "", AT, 0, 1, "sending", 0, "")
    wording = Wording(note, (), "both")
    assert wording.title == "前池：测试 / Forebay: test"
    assert "一切正常" in wording.plain()
    assert wording.json()["severity"] is None
