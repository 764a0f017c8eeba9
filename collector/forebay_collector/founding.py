"""`init`: makes a collector's data folder. What is there already stays as it is; only what is missing is made."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from forebay_collector.errors import ConfigurationError, DataFolderUnusable, NotPossible
from forebay_collector.identity.authority import CERTIFICATE_FILE, KEY_FILE, Authority, host_of, write_private
from forebay_collector.identity.server import SERVER_FILE, renew_server_certificate
from forebay_collector.ledger import Ledger
from forebay_collector.setting_texts import address
from forebay_collector.settings import (
    DEFAULT_PORT,
    ApprovalSettings,
    ConsoleSettings,
    DataFolder,
    Settings,
    load_settings,
)

_TEMPLATE: Final = """\
# Forebay's collector. What is commented out shows the default. Unknown keys are refused; a change takes a restart.

# where agents reach this collector; tokens carry them
addresses = {addresses}

# where it listens
listen = {listen}

# debug, info, warning, error
#log_level = "info"

[receive]
# payload that one agent may have unacknowledged
#window = "64MiB"
# payload of all agents that is not yet on disk; beyond it, agents wait
#memory = "512MiB"
# payload that one commit of archive and ledger takes at most
#group = "64MiB"
# what open connections get to end in when the collector stops
#grace = "10s"

[archive]
# how long a batch is kept after it was loaded
#retention = "30d"

[load]
# Arrow bytes that one commit of the platform takes at most
#group = "96MiB"
# how long a smaller group waits for more
#linger = "500ms"
# streams that are loaded at the same time
#threads = 2

[control]
# how often each agent tells how it is
#heartbeat = "15s"
# how long the health of the agents is kept, one sample a minute of each
#history = "14d"
# how long the first agent of a roll-out must stay healthy before the others get the offer
#trial = "2m"

[verify]
# source and platform are compared in the background: so many rows are read a second, one table at a time; 0: none
#rows_per_second = 2000
# how often each table is covered whole, where that many rows a second allow it
#cover = "7d"

[certificates]
# whether a certificate of completeness is issued for each department when a day is over
#daily = true
# whose days these are, and how long after a day's end it is issued
#zone = "+08:00"
#wait = "1h"

[approval]
# what agents propose to share: manual: it leaves when someone approved it here; auto: everything is approved
mode = {approve}

[console]
# where the web page is; on other addresses than the loopback it needs a certificate
{console}
# certificate (with its chain) and key, PEM, named from this folder on
#certificate = ""
#key = ""

[console.oidc]
# log-in at an identity provider: its address, exactly as it names itself; empty: none
#issuer = ""
# this console's name there, the file with its secret (empty: a public client), and what it asks for
#client = ""
#secret = ""
#scopes = ["openid", "profile"]
# where browsers reach the console, "https://…"; register ADDRESS/login/oidc/back at the provider
#address = ""
# PEM file of the authorities that vouch for the provider; empty: the system's
#authorities = ""
# the claims that hold the account's name and its groups
#name = "preferred_username"
#groups = "groups"
# "GROUP=ROLE"; who has no role is not let in
#roles = []
# "GROUP=DEPARTMENT", "GROUP=*" for all; empty: everybody sees all departments
#departments = []

[alerts]
# how often it is looked whether something is the matter
#every = "10s"
# what is: no heartbeat for so long; a stream that does not go on; a canary that is not back
#silent = "1m"
#stalled = "10m"
#canary = "5m"
# so much of an outbox is used; the database keeps its log for less than so many hours beyond what is captured
#outbox_percent = 80
#log_hours = 24
# a certificate ends within so long; a clock is off by more
#certificate = "14d"
#clock = "5s"
# nothing came for so much of a table's update cycle
#overdue_percent = 150
# how long an alarm of identity stays, after it last was so
#identity = "1h"
# how long something must be well again before its alert is over
#clear = "2m"
# how long a message waits for more of its kind; how often what nobody acknowledged is told again, "0s": never
#group = "30s"
#remind = "4h"
# where browsers reach the console, for links in messages
#console = ""
# PEM file of the authorities that vouch for the servers below; empty: the system's
#authorities = ""

# Who is told, each off while it has no address. language: "both", "zh-CN", "en". least: "warning", "critical".
# departments: only what is theirs, empty: everything. Secrets stand in files, named from this folder on.
[alerts.webhook]
# JSON is posted here, "https://…", signed with the key in the file `secret`
#url = ""
#secret = ""
#language = "both"
#least = "warning"
#departments = []

[alerts.dingtalk]
# the file with the robot's address, and the file with its signing secret
#robot = ""
#secret = ""
#language = "both"
#least = "warning"
#departments = []

[alerts.wecom]
# the file with the robot's address
#robot = ""
#language = "both"
#least = "warning"
#departments = []

[alerts.mail]
# "host:port"; security: "starttls", "tls", or "none" on this machine only
#server = ""
#security = "starttls"
# empty: no log-in; the file with the password
#user = ""
#password = ""
#sender = ""
#recipients = []
#language = "both"
#least = "warning"
#departments = []

[metrics]
# an address of their own for Prometheus; empty: they are at the console's, /metrics, for who shows a token. On the
# loopback this one asks for none; on others it needs a certificate, and who asks a token
#listen = ""
#certificate = ""
#key = ""

[audit]
# how long an entry of the audit is kept, at least 180 days; and alerts that are over
#retention = "365d"

[accounts]
# after that one logs in again, and after so long without asking for anything
#session = "12h"
#idle = "30m"
# how long a one-time link can be used
#link = "10m"
# failed log-ins of one account, and from one address, before the next waits; the wait doubles with every failure
#attempts = 5
#attempts_of_peer = 20
#wait = "30s"
#longest_wait = "15m"
# whether one account may be administrator and auditor
#administrators_may_audit = false
"""


def init(folder: Path, addresses: Sequence[str], approve: str = "", console: str = "") -> Settings:
    """Makes folder, settings, certificate authority, server certificate and ledger. May be run again.

    `addresses`: where agents will reach the collector, `host` or `host:port`. `approve`: auto or manual; manual when empty.
    `console`: where the console listens, `host:port`; the default when empty.

    Raises:
        ConfigurationError: an address cannot be used.
        NotPossible: the folder is already a collector's, with other addresses or another way to approve.
        DataFolderUnusable: it cannot be made or written, or holds half an authority.
    """
    wanted = tuple(_with_port(text) for text in addresses)
    data = DataFolder(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.identity.mkdir(mode=0o700, exist_ok=True)
        if not data.settings.exists():
            _write_settings(data, wanted, approve or ApprovalSettings().mode, console)
        settings = load_settings(folder)
        if wanted and settings.addresses != wanted:
            raise NotPossible(
                f"{folder} is a collector already, reached at {', '.join(settings.addresses)}",
                remedy=f"Edit `addresses` in {data.settings}, or choose another folder.",
            )
        if approve and settings.approval.mode != approve:
            raise NotPossible(
                f"{folder} is a collector already, which approves in mode {settings.approval.mode}",
                remedy=f"Edit `mode` of `[approval]` in {data.settings}, and start the collector again.",
            )
        authority = _authority(data.identity)
        if not (data.identity / SERVER_FILE).exists():
            renew_server_certificate(data.identity, authority, settings.addresses)
    except OSError as error:
        raise DataFolderUnusable(f"{error.filename or folder}: {error.strerror}") from None
    Ledger.open(data.ledger).close()
    return settings


def _write_settings(data: DataFolder, addresses: tuple[str, ...], approve: str, console: str) -> None:
    if not addresses:
        raise ConfigurationError(
            "no address is given", key="addresses", remedy="Say where agents will reach the collector: --address."
        )
    listen = _listen(addresses)
    text = _TEMPLATE.format(
        addresses=json.dumps(list(addresses)),
        listen=json.dumps(listen),
        approve=json.dumps(approve),
        console=_console(console),
    )
    write_private(data.settings, text.encode())


def _console(listen: str) -> str:
    """The line that says where the console listens: commented out where it is the default."""
    if not listen:
        return f"#listen = {json.dumps(ConsoleSettings().listen)}"
    try:
        return f"listen = {json.dumps(address(listen))}"
    except ValueError as error:
        raise ConfigurationError(f"{listen!r}: {error}", key="console.listen") from None


def _authority(folder: Path) -> Authority:
    held = [(folder / name).exists() for name in (CERTIFICATE_FILE, KEY_FILE)]
    if any(held):
        # never made anew over a half: every agent's certificate hangs on it
        return Authority.load(folder)
    return Authority.create(folder)


def _with_port(text: str) -> str:
    host = host_of(text)
    bare = host if ":" not in host else f"[{host}]"
    try:
        return address(f"{bare}:{DEFAULT_PORT}" if text in (host, bare) else text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r}: {error}", key="addresses") from None


def _listen(addresses: tuple[str, ...]) -> str:
    """The port of the first address; on the loopback only when no address is any other."""
    port = addresses[0].rpartition(":")[2]
    hosts = [host_of(one) for one in addresses]
    if all(_is_loopback(host) for host in hosts):
        return addresses[0]
    return f"[::]:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
