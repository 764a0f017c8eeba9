"""The agent's configuration as frozen objects: every setting and every default, in one place.

`agent.toml` gives `AgentConfig` without its sources; every file of `sources.d/*.toml` gives one `SourceConfig`. The
loader (`load.py`) builds these from the files, refuses unknown keys and names file, key, reason and remedy.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

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

    name: str  # schema.table, or table in the connection's own schema
    mode: str = "cursor"  # snapshot, cursor, trigger, log
    key: tuple[str, ...] = ()  # empty: the table's primary key
    columns: tuple[str, ...] = ()  # empty: all columns that are not in `exclude`
    exclude: tuple[str, ...] = ()
    masks: tuple[MaskConfig, ...] = ()
    as_text: frozenset[str] = frozenset()
    cursor: str = ""  # cursor mode: the column that grows with every change
    overlap: timedelta | int = timedelta(0)  # cursor mode: how far each window reads back
    unique_cursor: bool = False  # the cursor's values are never shared by two rows and never used again
    install: bool = False  # trigger mode: the agent may create change table and triggers itself
    snapshot: bool = True  # log mode: rows that are there already are copied first
    purge: bool = True  # trigger mode: the agent deletes changes from the change table once they are durable
    priority: int = 5  # 1 first … 9 last
    paused: bool = False  # not captured for now
    update_cycle: str = ""  # a free label for the centre's catalogue: 实时, 每日, …
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

    kind: str = "auto"  # auto, row, message, read, off
    every: timedelta = timedelta(minutes=5)
    table: str = ""  # row: the table made for it


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One file of `sources.d/`; its name without `.toml` is the source's name unless `name` says otherwise."""

    name: str
    kind: str  # sqlite, mysql (MariaDB as well), postgresql
    file: str  # the configuration file that it came from, for messages
    path: Path | None = None  # sqlite: the database file
    host: str = "127.0.0.1"
    port: int = 0  # 0: the dialect's own
    socket: str = ""
    database: str = ""
    user: str = ""
    password: Secret | None = None
    charset: str = ""  # what text really is where the database's declaration lies (latin1 holding gbk)
    tls: str = "preferred"  # off, preferred, required, verify
    tls_ca: Path | None = None
    statement_timeout: timedelta = timedelta(seconds=300)
    connect_timeout: timedelta = timedelta(seconds=10)
    poll_interval: timedelta = timedelta(seconds=1)
    batch_rows: int = 25_000
    linger: timedelta = timedelta(milliseconds=100)  # mode log: how long changes may wait to be sealed together
    slot: str = ""  # postgresql, mode log; empty: made of the source's name
    publication: str = ""  # likewise
    server_id: int = 0  # mysql, mode log: what this reader calls itself at the server; 0: derived
    chunk_time: timedelta = timedelta(seconds=1)  # what one query of a snapshot beside the log may take
    max_rows_per_second: int = 0  # ceiling for snapshots beside the log, 0: none
    snapshot_windows: tuple[DailyWindow, ...] = ()  # when snapshots beside the log may read; none: always
    paused: bool = False  # none of its tables is captured for now
    canary: CanaryConfig = CanaryConfig()
    tables: tuple[TableConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """`[collector]`: where to send to."""

    addresses: tuple[str, ...] = ()
    bandwidth: int = 0  # bytes per second, 0: no limit
    window: int = 64 << 20  # unacknowledged bytes
    windows: tuple[DailyWindow, ...] = ()  # when batches may be sent; none: always
    heartbeat: timedelta = timedelta(seconds=15)
    backoff_first: timedelta = timedelta(milliseconds=500)
    backoff_most: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """`[outbox]`: how much of the appliance's disk the agent may use."""

    cap: int = 10 << 30  # bytes of batches
    free_disk: int = 512 << 20  # bytes that always stay free on the disk


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """`[metrics]`: where a Prometheus on this appliance may ask."""

    listen: str = ""  # `host:port` on the loopback, empty: nowhere


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """`agent.toml` and `sources.d/*.toml`, validated as a whole."""

    folder: Path  # where agent.toml stands
    state: Path  # outbox, certificate, key
    collector: CollectorConfig = CollectorConfig()
    outbox: OutboxConfig = OutboxConfig()
    digest: str = "sm3"  # sm3, sha256
    log_level: str = "info"
    maintenance: tuple[DailyWindow, ...] = ()  # when nothing is captured
    metrics: MetricsConfig = MetricsConfig()
    sources: tuple[SourceConfig, ...] = ()
    hash: str = field(default="", compare=False)  # SM3 over the files, in hexadecimal
