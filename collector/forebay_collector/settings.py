"""The collector's settings: `collector.toml` in the data folder, as frozen objects with every default in one place.

What a key means stands beside its type (`Annotated`), where messages and docs/reference/settings.md take it from. An
unknown key, a value of the wrong type or out of its bounds is refused with file, key, reason and remedy; all at
once, never half. Everything else that the collector keeps stands in the same folder (`DataFolder`).
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, get_origin, get_type_hints

from forebay_collector.alerts import settings as alert_settings
from forebay_collector.alerts.settings import AlertSettings
from forebay_collector.completeness import settings as certificate_settings
from forebay_collector.completeness.settings import CertificateSettings
from forebay_collector.errors import ConfigurationError, DataFolderUnusable
from forebay_collector.setting_texts import (
    address,
    address_or_none,
    departments_group,
    duration,
    one_of,
    roles_group,
    size,
    web_address,
)
from forebay_wire import limits

DEFAULT_PORT: Final = 7443
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
APPROVE_ALL: Final = "auto"
APPROVAL_MODES: Final = (APPROVE_ALL, "manual")


@dataclass(frozen=True, slots=True)
class ReceiveSettings:
    """`[receive]`."""

    window: Annotated[int, "payload that one agent may have unacknowledged"] = limits.WINDOW_BYTES
    memory: Annotated[int, "payload of all agents that is not yet on disk; beyond it, agents wait"] = 512 << 20
    group: Annotated[int, "payload that one commit of archive and ledger takes at most"] = 64 << 20
    grace: Annotated[timedelta, "what open calls get to end in when the collector stops"] = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """`[archive]`."""

    retention: Annotated[timedelta, "how long a loaded batch is kept"] = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """`[load]`."""

    group: Annotated[int, "Arrow bytes that one commit of the platform takes at most"] = 96 << 20
    linger: Annotated[timedelta, "how long a smaller group waits for more"] = timedelta(milliseconds=500)
    threads: Annotated[int, "how many streams are loaded at a time"] = 2


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """`[control]`."""

    heartbeat: Annotated[timedelta, "how often an agent tells how it is, unless its own file says oftener"] = timedelta(
        seconds=15
    )
    history: Annotated[timedelta, "how long its health is kept, one sample a minute"] = timedelta(days=14)
    trial: Annotated[timedelta, "how long the first agent of a roll-out stays healthy before the others"] = timedelta(
        minutes=2
    )


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """`[verify]`: verification in the background."""

    rows_per_second: Annotated[
        int, "rows that are read at the sources in a second, one table at a time; 0: none in the background"
    ] = 2_000
    cover: Annotated[timedelta, "how often each table is covered whole, where the budget allows"] = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ApprovalSettings:
    """`[approval]`."""

    mode: Annotated[
        str, "manual: what agents propose leaves when someone approved it here; auto: everything is approved"
    ] = "manual"


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """`[audit]`."""

    retention: Annotated[timedelta, "how long an entry is kept, and an alert that is over"] = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """`[accounts]`."""

    session: Annotated[timedelta, "how long after the log-in one logs in again"] = timedelta(hours=12)
    idle: Annotated[timedelta, "… and after so long without asking for anything"] = timedelta(minutes=30)
    link: Annotated[timedelta, "how long a one-time link can be used"] = timedelta(minutes=10)
    attempts: Annotated[int, "failed log-ins of one account before the next waits"] = 5
    attempts_of_peer: Annotated[int, "failed log-ins from one address before the next waits"] = 20
    wait: Annotated[timedelta, "the first wait; it doubles with every failure"] = timedelta(seconds=30)
    longest_wait: Annotated[timedelta, "… up to this"] = timedelta(minutes=15)
    administrators_may_audit: Annotated[bool, "whether one account may be administrator and auditor"] = False


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """`[console.oidc]`: log-in at an identity provider; off while there is no issuer.

    Groups come as they are written, `GROUP=ROLE`: who is in GROUP has ROLE. Files are named from the data folder on.
    """

    issuer: Annotated[str, "the provider's address, exactly as it names itself; without one there is none"] = ""
    client: Annotated[str, "this console's name at the provider"] = ""
    secret: Annotated[str, "the file with the client's secret; without one it is a public client"] = ""
    address: Annotated[
        str, "where browsers reach this console, `https://…`; register ADDRESS/login/oidc/back at the provider"
    ] = ""
    authorities: Annotated[str, "PEM file of the authorities that vouch for the provider; without one the system's"] = (
        ""
    )
    scopes: Annotated[tuple[str, ...], "what is asked of the provider"] = ("openid", "profile")
    name: Annotated[str, "the claim with the account's name"] = "preferred_username"
    groups: Annotated[str, "the claim with the groups"] = "groups"
    roles: Annotated[tuple[tuple[str, str], ...], "who has which role; who has none is not let in"] = ()
    departments: Annotated[
        tuple[tuple[str, str], ...], "who sees which department, `GROUP=*`: all; without it everybody sees all"
    ] = ()


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """`[console]`. The files are PEM, named from the data folder on; with them it speaks TLS."""

    listen: Annotated[str, "where the page is; on other addresses than the loopback it needs a certificate"] = (
        "127.0.0.1:7480"
    )
    certificate: Annotated[
        str, "its certificate with the chain, PEM; without one it speaks HTTP, on the loopback only"
    ] = ""
    key: Annotated[str, "the certificate's key, PEM"] = ""
    oidc: OidcSettings = OidcSettings()


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """`[metrics]`: an address of their own. The files are PEM, named from the data folder on; with them it speaks TLS."""

    listen: Annotated[
        str,
        "where Prometheus asks; on the loopback it needs no token, on others a certificate and a token; without it at the console's",
    ] = ""
    certificate: Annotated[str, "its certificate with the chain, PEM"] = ""
    key: Annotated[str, "the certificate's key, PEM"] = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """`collector.toml`."""

    folder: Path
    addresses: Annotated[tuple[str, ...], "where agents reach this collector, `host:port`; the first is the preferred"]
    listen: Annotated[str, "where it listens, `host:port`"]
    log_level: Annotated[str, "what is logged"] = "info"
    receive: ReceiveSettings = ReceiveSettings()
    archive: ArchiveSettings = ArchiveSettings()
    load: LoadSettings = LoadSettings()
    control: ControlSettings = ControlSettings()
    verify: VerifySettings = VerifySettings()
    approval: ApprovalSettings = ApprovalSettings()
    certificates: CertificateSettings = CertificateSettings()  # noqa: RUF009  frozen
    audit: AuditSettings = AuditSettings()
    accounts: AccountSettings = AccountSettings()
    console: ConsoleSettings = ConsoleSettings()
    alerts: AlertSettings = AlertSettings()  # noqa: RUF009  frozen
    metrics: MetricsSettings = MetricsSettings()

    @property
    def data(self) -> DataFolder:
        return DataFolder(self.folder)


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where everything stands that a collector keeps."""

    path: Path

    @property
    def settings(self) -> Path:
        return self.path / "collector.toml"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.db"

    @property
    def archive(self) -> Path:
        return self.path / "archive"

    @property
    def platform(self) -> Path:
        return self.path / "platform"

    @property
    def identity(self) -> Path:
        return self.path / "identity"

    @property
    def ferry(self) -> Path:
        """What was imported from disks and is not read to its end yet."""
        return self.path / "ferry"

    def lock(self, role: str) -> Path:
        """Held by the one process that has the role here."""
        return self.path / f"lock.{role}"


def load_settings(folder: Path) -> Settings:
    """The settings of the collector in a data folder. Raises DataFolderUnusable, ConfigurationError."""
    path = DataFolder(folder).settings
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataFolderUnusable(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError("is not UTF-8", file=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"is not TOML: {error}", file=str(path)) from None
    return Settings(folder=folder, **_Reader(str(path)).section(Settings, values, without=("folder",)))


LEAST: Final[Mapping[str, Any]] = {
    "receive.window": 1 << 20,
    "receive.memory": limits.MAX_PAYLOAD_BYTES,
    "receive.group": 1 << 20,
    "load.group": 1 << 20,
    "load.threads": 1,
    "archive.retention": timedelta(0),
    "certificates.wait": timedelta(0),
    "control.heartbeat": timedelta(seconds=1),
    "control.history": timedelta(hours=1),
    "control.trial": timedelta(0),
    "verify.rows_per_second": 0,
    "verify.cover": timedelta(hours=1),
    "audit.retention": timedelta(days=180),
    "accounts.session": timedelta(minutes=1),
    "accounts.idle": timedelta(minutes=1),
    "accounts.link": timedelta(minutes=1),
    "accounts.attempts": 1,
    "accounts.attempts_of_peer": 1,
    "accounts.wait": timedelta(seconds=1),
    "accounts.longest_wait": timedelta(minutes=1),
    **alert_settings.LEAST_OF,
}
MOST: Final[Mapping[str, Any]] = {
    "load.threads": 64,
    "receive.window": 1 << 30,
    "load.group": 4 << 30,
    "control.heartbeat": timedelta(minutes=10),
    "control.history": timedelta(days=3653),
    "control.trial": timedelta(days=1),
    "accounts.session": timedelta(days=7),
    "accounts.idle": timedelta(days=1),
    "accounts.link": timedelta(days=1),
    "accounts.attempts": 20,
    "accounts.attempts_of_peer": 1_000,
    "accounts.wait": timedelta(hours=1),
    "accounts.longest_wait": timedelta(days=1),
    **alert_settings.MOST_OF,
    **certificate_settings.MOST_OF,
}
PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "addresses": address,
    "listen": address,
    "console.listen": address,
    "metrics.listen": address_or_none,
    "console.oidc.issuer": web_address,
    "console.oidc.address": web_address,
    "console.oidc.roles": roles_group,
    "console.oidc.departments": departments_group,
    "log_level": one_of(*LOG_LEVELS),
    "approval.mode": one_of(*APPROVAL_MODES),
    "receive.window": size,
    "receive.memory": size,
    "receive.group": size,
    "load.group": size,
    **alert_settings.parsers(one_of),
    **certificate_settings.PARSERS,
}
"""How the text of a setting is read; where it is not here, its type says."""
_PARSERS_OF_KINDS: Final[Mapping[type, Callable[[str], Any]]] = {timedelta: duration, str: str}


def meanings(settings: type[Any]) -> dict[str, str]:
    """What the keys of one of these objects mean; sections, which explain themselves, are left out."""
    hints = get_type_hints(settings, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


class _Reader:
    """Reads sections of one file into the arguments of their dataclass."""

    def __init__(self, file: str) -> None:
        self._file = file

    def section(
        self, kind: type[Any], values: Mapping[str, Any], prefix: str = "", without: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        types = get_type_hints(kind)
        known = {field.name: field for field in fields(kind) if field.name not in without}
        for key in values:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                remedy = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known)}."
                raise self._wrong(prefix + key, "no such setting", remedy)
        read: dict[str, Any] = {}
        for name, field in known.items():
            if name in values:
                read[name] = self._value(types[name], prefix + name, values[name])
            elif field.default is MISSING:
                raise self._wrong(prefix + name, "is missing", f"Add it: {meanings(kind)[name]}.")
        return read

    def _value(self, kind: Any, key: str, value: Any) -> Any:
        if isinstance(kind, type) and is_dataclass(kind):
            if not isinstance(value, dict):
                raise self._wrong(key, "expected a section")
            return kind(**self.section(kind, value, f"{key}."))
        if get_origin(kind) is tuple:
            if not isinstance(value, list) or (key == "addresses" and not value):
                raise self._wrong(key, "expected a list of texts in quotes")
            return tuple(self._parsed(PARSERS.get(key, str), key, entry) for entry in value)
        if parse := PARSERS.get(key) or _PARSERS_OF_KINDS.get(kind):
            return self._bounded(key, self._parsed(parse, key, value))
        if type(value) is not kind:
            raise self._wrong(key, "expected true or false" if kind is bool else "expected a number")
        return self._bounded(key, value)

    def _parsed(self, parse: Callable[[str], Any], key: str, value: Any) -> Any:
        if not isinstance(value, str):
            raise self._wrong(key, "expected a text in quotes")
        try:
            return parse(value)
        except ValueError as error:
            raise self._wrong(key, f"{value!r}: {error}") from None

    def _bounded(self, key: str, value: Any) -> Any:
        if key in LEAST and value < LEAST[key]:
            raise self._wrong(key, f"is too small: at least {LEAST[key]}")
        if key in MOST and value > MOST[key]:
            raise self._wrong(key, f"is too large: at most {MOST[key]}")
        return value

    def _wrong(self, key: str, reason: str, remedy: str = "") -> ConfigurationError:
        return ConfigurationError(reason, file=self._file, key=key, remedy=remedy)
