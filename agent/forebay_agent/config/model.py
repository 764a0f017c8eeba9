"""The agent's configuration as frozen objects: every setting, what it means and every default, in one place.

`agent.toml` gives `AgentConfig` without its sources; every file of `sources.d/*.toml` gives one `SourceConfig`. The
loader (`load.py`) builds these from the files, refuses unknown keys and names file, key, reason and remedy. What a key means
stands beside its type (`Annotated`), where the loader's messages and docs/reference/settings.md take it from.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

from forebay_agent.config.secret import Secret

SOURCE_KINDS: Final = ("sqlite", "mysql", "postgresql")
MODES: Final = ("snapshot", "cursor", "trigger", "log")
CANARY_KINDS: Final = ("auto", "row", "message", "read", "off")
TLS_MODES: Final = ("off", "preferred", "required", "verify")
DIGESTS: Final = ("sm3", "sha256")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
MASK_KINDS: Final = (
    "citizen_id",
    "citizen_id_open",
    "name",
    "mobile",
    "landline",
    "bank_card",
    "email",
    "address",
)


@dataclass(frozen=True, slots=True)
class MaskConfig:
    """One entry of a table's `masks = { COLUMN = "citizen_id" }`; see `forebay_agent.transform.masks`."""

    column: str
    kind: str


@dataclass(frozen=True, slots=True)
class TableConfig:
    """One `[[table]]` of a source's file."""

    name: Annotated[str, "the table or view: schema.table, or table in the connection's own schema"]
    mode: Annotated[str, "how changes are seen"] = "cursor"
    key: Annotated[tuple[str, ...], "unique columns that are never NULL; without it the primary key"] = ()
    columns: Annotated[tuple[str, ...], "what is shared; without it all columns that are not in `exclude`"] = ()
    exclude: Annotated[tuple[str, ...], "columns that are never even selected; not beside `columns`"] = ()
    masks: Annotated[
        tuple[MaskConfig, ...], "column and mask, applied before anything is stored or sent; not of key or cursor"
    ] = ()
    as_text: Annotated[frozenset[str], "columns that are carried as the database writes them"] = frozenset()
    cursor: Annotated[str, "mode cursor: the column that grows with every change"] = ""
    overlap: Annotated[timedelta | int, "mode cursor: how far each window reads back, for what commits late"] = (
        timedelta(0)
    )
    unique_cursor: Annotated[bool, "mode cursor: its values are never shared by two rows and never used again"] = False
    install: Annotated[bool, "mode trigger: the agent may make change table and triggers itself"] = False
    snapshot: Annotated[bool, "mode log: rows that are there already are copied first"] = True
    purge: Annotated[bool, "mode trigger: the agent deletes changes from the change table once they are durable"] = True
    priority: Annotated[int, "1 is sent first, 9 last"] = 5
    paused: Annotated[bool, "true: this table is not captured for now"] = False
    update_cycle: Annotated[str, "how current it is kept, a label for the centre: 实时, 每日, 每周, …"] = ""
    approved: frozenset[str] | None = None  # never from the file: columns that the centre lets leave; None: all
    file: str = field(default="", compare=False)  # where the entry stands, for messages
    entry: str = field(default="table", compare=False)  # its path in the file: `table[2]`


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """From `start` to `end` of every day, the appliance's local time; over midnight when `end` is not later."""

    start: dt.time
    end: dt.time

    def is_open(self, now: dt.time) -> bool:
        """Whether `now` lies in it; the end does not."""
        if self.start < self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True, slots=True)
class CanaryConfig:
    """`[canary]` of a source's file: the sign of life that goes the whole way. See `forebay_agent.canary`."""

    kind: Annotated[
        str,
        "row writes a row of `table`, message one to PostgreSQL's log, read only reads; auto: the first that can be",
    ] = "auto"
    every: Annotated[timedelta, "how often one is made"] = timedelta(minutes=5)
    table: Annotated[str, "the table that the DBA made for it"] = ""


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One file of `sources.d/`; its name without `.toml` is the source's name unless `name` says otherwise."""

    name: Annotated[str, "the source's name, a part of its streams' names; without it the file's"]
    kind: Annotated[str, "mysql is MariaDB as well"]
    file: str  # the configuration file that it came from, for messages
    path: Annotated[Path | None, "sqlite: the database's file"] = None
    host: Annotated[str, "the database server; its name or address only"] = "127.0.0.1"
    port: Annotated[int, "without it the database's own: 3306, 5432"] = 0
    socket: Annotated[str, "a Unix socket on this machine, instead of `host`"] = ""
    database: Annotated[str, "the database that the tables are in"] = ""
    user: Annotated[str, "the read-only user that the DBA made"] = ""
    password: Annotated[Secret | None, "where the user's password stands, never the password itself"] = None
    charset: Annotated[str, "what text really is where the database's declaration lies (latin1 that holds gbk)"] = ""
    tls: Annotated[str, "encryption on the way to the database; only verify checks whom it talks to"] = "preferred"
    tls_ca: Annotated[Path | None, "tls verify: the certificate of the database's authority, PEM"] = None
    statement_timeout: Annotated[timedelta, "what one statement may take before the database ends it"] = timedelta(
        seconds=300
    )
    connect_timeout: Annotated[timedelta, "how long to wait for a connection"] = timedelta(seconds=10)
    poll_interval: Annotated[timedelta, "how often each table is looked at; not of mode log"] = timedelta(seconds=1)
    batch_rows: Annotated[int, "rows in one piece of work"] = 25_000
    linger: Annotated[timedelta, "mode log: how long changes may wait to be sealed together"] = timedelta(
        milliseconds=100
    )
    slot: Annotated[str, "postgresql, mode log: the replication slot; without it forebay_ and the source's name"] = ""
    publication: Annotated[str, "postgresql, mode log: the publication; without it forebay_ and the source's name"] = ""
    server_id: Annotated[
        int, "mysql, mode log: the id of this reader, which no replica may have; without it one of its own"
    ] = 0
    chunk_time: Annotated[timedelta, "mode log: what one query of a snapshot may take"] = timedelta(seconds=1)
    max_rows_per_second: Annotated[int, "mode log: a ceiling for snapshots; 0: none"] = 0
    snapshot_windows: Annotated[
        tuple[DailyWindow, ...], "mode log: daily times in which snapshots may read; without it always"
    ] = ()
    paused: Annotated[bool, "true: nothing of this source is captured for now"] = False
    canary: CanaryConfig = CanaryConfig()
    tables: tuple[TableConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """`[collector]`: where to send to."""

    line: Annotated[
        bool, "whether a line leads to the centre; `false`: nobody looks for it, all is carried on a disk"
    ] = True
    addresses: Annotated[tuple[str, ...], "where to send to, `host:port`, in this order; without it the token's"] = ()
    bandwidth: Annotated[int, "how much of the line may be used; without it all of it"] = 0
    window: Annotated[int, "what may be sent and not acknowledged yet"] = 64 << 20
    windows: Annotated[tuple[DailyWindow, ...], "daily times in which batches may be sent; without it always"] = ()
    heartbeat: Annotated[timedelta, "how often health and streams are told"] = timedelta(seconds=15)
    backoff_first: Annotated[timedelta, "the pause after a failure to connect; it doubles"] = timedelta(
        milliseconds=500
    )
    backoff_most: Annotated[timedelta, "… up to this"] = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """`[outbox]`: how much of the appliance's disk the agent may use."""

    cap: Annotated[int, "what batches may take; when full, capture waits"] = 10 << 30
    free_disk: Annotated[int, "what always stays free on the disk"] = 512 << 20


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """`[metrics]`: where a Prometheus on this appliance may ask."""

    listen: Annotated[str, "`host:port` on the loopback, where a Prometheus may ask; without it nowhere"] = ""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """`agent.toml` and `sources.d/*.toml`, validated as a whole."""

    folder: Path  # where agent.toml stands
    state: Annotated[Path, "the folder of outbox, certificate and key"]
    collector: CollectorConfig = CollectorConfig()
    outbox: OutboxConfig = OutboxConfig()
    digest: Annotated[str, "the digest of the chain of batches"] = "sm3"
    log_level: Annotated[str, "what is logged"] = "info"
    maintenance: Annotated[tuple[DailyWindow, ...], "daily times in which nothing is captured"] = ()
    metrics: MetricsConfig = MetricsConfig()
    sources: tuple[SourceConfig, ...] = ()
    hash: str = field(default="", compare=False)  # SM3 over the files, in hexadecimal


@cache
def meanings(settings: type[Any]) -> dict[str, str]:
    """What the keys of one of these objects mean; those that no file gives are left out."""
    hints = get_type_hints(settings, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}
