"""The collector's settings file: what `init` writes, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from forebay_collector.errors import ConfigurationError, DataFolderInUse, DataFolderUnusable, NotPossible
from forebay_collector.founding import init
from forebay_collector.lock import locked
from forebay_collector.settings import load_settings


def test_what_the_template_shows_commented_out_is_the_default(tmp_path: Path) -> None:
    made = init(tmp_path, ["collector.example:7443"])
    text = made.data.settings.read_text()
    shown = [line for line in text.splitlines() if line.startswith("#") and " = " in line]
    assert len(shown) == 80
    made.data.settings.write_text("\n".join(line.lstrip("#") if line in shown else line for line in text.splitlines()))
    assert load_settings(tmp_path) == made


@pytest.mark.parametrize(
    ("addresses", "listen"),
    [
        (["127.0.0.1:7000"], "127.0.0.1:7000"),
        (["localhost"], "localhost:7443"),
        (["collector.example"], "[::]:7443"),
        (["10.0.0.5:8000", "127.0.0.1:8000"], "[::]:8000"),
        (["[2001:db8::5]:7443"], "[::]:7443"),
        (["[2001:db8::5]"], "[::]:7443"),
    ],
)
def test_a_collector_listens_where_its_addresses_say(tmp_path: Path, addresses: list[str], listen: str) -> None:
    assert init(tmp_path, addresses).listen == listen


def test_init_again_changes_nothing_and_never_overwrites(tmp_path: Path) -> None:
    init(tmp_path, ["a.example:1"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.suffix in (".toml", ".pem", ".key")}
    assert len(before) == 4
    init(tmp_path, ["a.example:1"])
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(NotPossible):
        init(tmp_path, ["b.example:1"])
    (tmp_path / "identity" / "authority.key").unlink()
    with pytest.raises(DataFolderUnusable):
        init(tmp_path, ["a.example:1"])
    assert not (tmp_path / "identity" / "authority.key").exists()


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('listn = "a:1"', "listn"),
        ("[receive]\nwindow = 5", "receive.window"),
        ('[receive]\nwindow = "1B"', "receive.window"),
        ('[receive]\nwindow = "lots"', "receive.window"),
        ('[receive]\nwndow = "2MiB"', "receive.wndow"),
        ('[load]\nthreads = "2"', "load.threads"),
        ("[load]\nthreads = 0", "load.threads"),
        ('[archive]\nretention = "a month"', "archive.retention"),
        ('[control]\nheartbeat = "500ms"', "control.heartbeat"),
        ('[control]\nhistory = "0d"', "control.history"),
        ('[metrics]\nlisten = "9465"', "metrics.listen"),
        ('[metrics]\nport = "9465"', "metrics.port"),
        ('archive = "s3"', "archive"),
        ('log_level = "loud"', "log_level"),
        ('[audit]\nretention = "179d"', "audit.retention"),
        ('[accounts]\nidle = "1s"', "accounts.idle"),
        ("[accounts]\nadministrators_may_audit = 1", "accounts.administrators_may_audit"),
        ("[accounts]\nattempts = true", "accounts.attempts"),
        ('[console.oidc]\nissuer = "http://idp.example"', "console.oidc.issuer"),
        ('[console.oidc]\nissuer = "https://"', "console.oidc.issuer"),
        ('[console.oidc]\naddress = "https://c.example/?a=b"', "console.oidc.address"),
        ('[console.oidc]\nroles = ["ops=boss"]', "console.oidc.roles"),
        ('[console.oidc]\nroles = ["operator"]', "console.oidc.roles"),
        ('[console.oidc]\nroles = "ops=operator"', "console.oidc.roles"),
        ('[console.oidc]\ndepartments = ["=市监局"]', "console.oidc.departments"),
        ('[console.oidc]\nclient_secret = "x"', "console.oidc.client_secret"),
        ('[alerts]\nsilent = "0s"', "alerts.silent"),
        ('[alerts]\noutbox_percent = "80"', "alerts.outbox_percent"),
        ("[alerts]\noutbox_percent = 100", "alerts.outbox_percent"),
        ('[alerts]\nconsole = "console.example"', "alerts.console"),
        ('[alerts.webhook]\nurl = "http://hook.example/x"', "alerts.webhook.url"),
        ('[alerts.webhook]\nlanguage = "de"', "alerts.webhook.language"),
        ('[alerts.dingtalk]\nleast = "info"', "alerts.dingtalk.least"),
        ('[alerts.dingtalk]\nurl = "https://oapi.dingtalk.com/x"', "alerts.dingtalk.url"),
        ('[alerts.mail]\nserver = "mail.example"', "alerts.mail.server"),
        ('[alerts.mail]\nsecurity = "ssl"', "alerts.mail.security"),
        ('[alerts.mail]\nrecipients = ["Ops <ops@city.example>"]', "alerts.mail.recipients"),
        ("addresses = []", "addresses"),
        ('addresses = "a:1"', "addresses"),
        ('listen = "nowhere"', "listen"),
    ],
)
def test_a_wrong_setting_is_refused_with_file_and_key(tmp_path: Path, line: str, key: str) -> None:
    good = {"addresses": 'addresses = ["a:1"]', "listen": 'listen = "a:1"'}
    path = tmp_path / "collector.toml"
    path.write_text("\n".join([text for name, text in good.items() if name != key] + [line]))
    with pytest.raises(ConfigurationError) as refused:
        load_settings(tmp_path)
    assert (refused.value.file, refused.value.key) == (str(path), key)


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "collector.toml").write_text('listen = "a:1"')
    with pytest.raises(ConfigurationError) as refused:
        load_settings(tmp_path)
    assert refused.value.key == "addresses"


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = init(tmp_path, ["a.example:1"])
    with pytest.raises(AttributeError):
        settings.listen = "b:2"  # type: ignore[misc]
    assert replace(settings, listen="b:2").listen == "b:2"


def test_one_collector_per_data_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(DataFolderInUse), locked(tmp_path / "lock"):
        raise AssertionError("entered twice")
    with locked(tmp_path / "lock"):
        pass


def test_the_settings_of_an_identity_provider_are_read(tmp_path: Path) -> None:
    settings = init(tmp_path, ["a.example:1"])
    text = settings.data.settings.read_text().replace(
        "[console.oidc]",
        """[console.oidc]
issuer = "https://idp.example/realms/city/"
client = "forebay"
secret = "oidc.secret"
address = "https://console.example"
roles = ["CN=ops,OU=city=operator", "audit = auditor"]
departments = ["scjg=市监局", "all=*"]
""",
    )
    settings.data.settings.write_text(text)
    oidc = load_settings(tmp_path).console.oidc
    assert oidc.issuer == "https://idp.example/realms/city/", "as it names itself, to the last stroke"
    assert oidc.roles == (("CN=ops,OU=city", "operator"), ("audit", "auditor"))
    assert oidc.departments == (("scjg", "市监局"), ("all", "*"))
    assert oidc.scopes == ("openid", "profile")
