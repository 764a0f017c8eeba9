"""`[alerts]` of collector.toml: when something is the matter, and who is told of it how.

Each channel is a section of its own, and is off while it has no address. Secrets, and addresses that hold one, stand in
files, named from the data folder on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from forebay_collector.identity.authority import host_of

BOTH: Final = "both"
LANGUAGES: Final = (BOTH, "zh-CN", "en")
LEAST: Final = ("warning", "critical")
SECURITIES: Final = ("starttls", "tls", "none")
LANGUAGE: Final = "in which languages it is told"
SEVERITY: Final = "warning: everything is told; critical: only that"
THEIRS: Final = "only what is of these departments is told; without it everything"
_HERE: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """`[alerts.webhook]`: JSON, signed."""

    url: Annotated[str, "where JSON is posted: `https://…`"] = ""
    secret: Annotated[str, "the file with the key of the signature; without one it is not signed"] = ""
    language: Annotated[str, LANGUAGE] = BOTH
    least: Annotated[str, SEVERITY] = "warning"
    departments: Annotated[tuple[str, ...], THEIRS] = ()

    @property
    def on(self) -> bool:
        return bool(self.url)


@dataclass(frozen=True, slots=True)
class DingtalkSettings:
    """`[alerts.dingtalk]`: a robot of a group."""

    robot: Annotated[str, "the file with the robot's address: it holds its key"] = ""
    secret: Annotated[str, "the file with the secret that signs; without one it is not signed"] = ""
    language: Annotated[str, LANGUAGE] = BOTH
    least: Annotated[str, SEVERITY] = "warning"
    departments: Annotated[tuple[str, ...], THEIRS] = ()

    @property
    def on(self) -> bool:
        return bool(self.robot)


@dataclass(frozen=True, slots=True)
class WecomSettings:
    """`[alerts.wecom]`: a robot of a group."""

    robot: Annotated[str, "the file with the robot's address: it holds its key"] = ""
    language: Annotated[str, LANGUAGE] = BOTH
    least: Annotated[str, SEVERITY] = "warning"
    departments: Annotated[tuple[str, ...], THEIRS] = ()

    @property
    def on(self) -> bool:
        return bool(self.robot)


@dataclass(frozen=True, slots=True)
class MailSettings:
    """`[alerts.mail]`: SMTP."""

    server: Annotated[str, "the mail server, `host:port`"] = ""
    security: Annotated[str, "none: on this machine only"] = "starttls"
    user: Annotated[str, "who logs in there; without it nobody does"] = ""
    password: Annotated[str, "the file with the user's password"] = ""
    sender: Annotated[str, "from whom: `name@host`"] = ""
    recipients: Annotated[tuple[str, ...], "to whom: `name@host`"] = ()
    language: Annotated[str, LANGUAGE] = BOTH
    least: Annotated[str, SEVERITY] = "warning"
    departments: Annotated[tuple[str, ...], THEIRS] = ()

    @property
    def on(self) -> bool:
        return bool(self.server)


ChannelSettings = WebhookSettings | DingtalkSettings | WecomSettings | MailSettings
CHANNELS: Final = ("webhook", "dingtalk", "wecom", "mail")


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """`[alerts]`."""

    every: Annotated[timedelta, "how often it is looked"] = timedelta(seconds=10)
    silent: Annotated[timedelta, "no heartbeat for so long, and for two intervals"] = timedelta(minutes=1)
    stalled: Annotated[timedelta, "a stream does not go on for so long"] = timedelta(minutes=10)
    canary: Annotated[timedelta, "a canary is not back after so long"] = timedelta(minutes=5)
    outbox_percent: Annotated[int, "so much of an outbox is used"] = 80
    log_hours: Annotated[int, "the database keeps its log for less than so long beyond what is captured"] = 24
    certificate: Annotated[timedelta, "a certificate ends within so long"] = timedelta(days=14)
    clock: Annotated[timedelta, "an agent's clock is off by more"] = timedelta(seconds=5)
    overdue_percent: Annotated[int, "nothing came for so much of a table's update cycle"] = 150
    identity: Annotated[timedelta, "how long an alarm of identity stays, after it last was so"] = timedelta(hours=1)
    clear: Annotated[timedelta, "how long something must be well again before its alert is over"] = timedelta(minutes=2)
    group: Annotated[timedelta, "how long a message waits for more of its kind"] = timedelta(seconds=30)
    remind: Annotated[timedelta, "how often what nobody acknowledged is told again; 0s: never"] = timedelta(hours=4)
    console: Annotated[str, "where browsers reach the console, for links in messages"] = ""
    authorities: Annotated[
        str, "PEM file of the authorities that vouch for the channels' servers; without one the system's"
    ] = ""
    webhook: WebhookSettings = WebhookSettings()
    dingtalk: DingtalkSettings = DingtalkSettings()
    wecom: WecomSettings = WecomSettings()
    mail: MailSettings = MailSettings()

    @property
    def channels(self) -> dict[str, ChannelSettings]:
        """Those that are on, by name."""
        every: dict[str, ChannelSettings] = {
            "webhook": self.webhook,
            "dingtalk": self.dingtalk,
            "wecom": self.wecom,
            "mail": self.mail,
        }
        return {name: channel for name, channel in every.items() if channel.on}


def hook_address(text: str) -> str:
    """An `https://` address, `http://` on this machine only; empty: none. Raises ValueError, which does not repeat it."""
    parts = urlsplit(text)
    plain = parts.scheme == "http" and parts.hostname in _HERE
    if text and (
        not (parts.scheme == "https" or plain) or not parts.hostname or parts.fragment or not text.isprintable()
    ):
        raise ValueError('expected "https://host/…"; "http://" on this machine only')
    return text


def mail_address(text: str) -> str:
    """`name@host`, without a display name. Raises ValueError."""
    local, at, host = text.rpartition("@")
    plain = text.isascii() and text.isprintable() and not set(text) & set(' <>,;:"()[]\\')
    if text and not (local and at and host and plain):
        raise ValueError('expected "name@host"')
    return text


def mail_server(text: str) -> str:
    """`host:port`; empty: none. Raises ValueError."""
    _, colon, port = text.rpartition(":")
    if text and (not colon or not host_of(text) or not port.isdecimal() or not 0 < int(port) <= 65_535):
        raise ValueError('expected "host:port"')
    return text


def on_this_machine(server: str) -> bool:
    host = host_of(server)
    return host in _HERE or host.startswith("127.")


_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
LEAST_OF: Final[Mapping[str, Any]] = {
    "alerts.every": _SECOND,
    "alerts.silent": _SECOND,
    "alerts.stalled": _SECOND,
    "alerts.canary": _SECOND,
    "alerts.outbox_percent": 1,
    "alerts.log_hours": 1,
    "alerts.certificate": timedelta(hours=1),
    "alerts.clock": timedelta(milliseconds=100),
    "alerts.overdue_percent": 100,
    "alerts.identity": _SECOND,
    "alerts.clear": timedelta(0),
    "alerts.group": timedelta(0),
    "alerts.remind": timedelta(0),
}
MOST_OF: Final[Mapping[str, Any]] = {
    "alerts.every": timedelta(minutes=1),
    "alerts.silent": _DAY,
    "alerts.stalled": _DAY,
    "alerts.canary": _DAY,
    "alerts.outbox_percent": 99,
    "alerts.log_hours": 10_000,
    "alerts.certificate": timedelta(days=365),
    "alerts.clock": _DAY,
    "alerts.overdue_percent": 1_000,
    "alerts.identity": timedelta(days=30),
    "alerts.clear": _DAY,
    "alerts.group": timedelta(hours=1),
    "alerts.remind": timedelta(days=30),
}


def parsers(one_of: Callable[..., Callable[[str], str]]) -> dict[str, Callable[[str], Any]]:
    """How the texts of these settings are read, by key. one_of: makes a reader of one of some words."""
    made: dict[str, Callable[[str], Any]] = {
        "alerts.console": hook_address,
        "alerts.webhook.url": hook_address,
        "alerts.mail.server": mail_server,
        "alerts.mail.security": one_of(*SECURITIES),
        "alerts.mail.sender": mail_address,
        "alerts.mail.recipients": mail_address,
    }
    for channel in CHANNELS:
        made[f"alerts.{channel}.language"] = one_of(*LANGUAGES)
        made[f"alerts.{channel}.least"] = one_of(*LEAST)
    return made
