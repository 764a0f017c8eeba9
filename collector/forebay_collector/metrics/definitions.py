"""The one list of the collector's metrics: name, kind, labels, what it means, and where its value comes from.

`docs/reference/metrics.md` is written from it. A value that does not exist (never, not told, no limit) is left out, not 0. What is
told of agents and streams is what their heartbeats said and what the ledger knows, so that a Prometheus which reaches the
centre only sees every appliance; it is the same from every process over one ledger. The rest is of the process that
answers; `process_…` are what every program of Prometheus' client tells, under their usual names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from forebay_collector.metrics.process import ProcessFigures
from forebay_collector.metrics.reading import AgentFigures, StreamFigures
from forebay_collector.service.standing import CanaryView

GAUGE: Final = "gauge"
COUNTER: Final = "counter"
HISTOGRAM: Final = "histogram"
AGENT: Final = ("agent", "department")
SOURCE: Final = (*AGENT, "source")
STREAM: Final = (*SOURCE, "stream")
_US: Final = 1e-6
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Metric(Generic[T]):
    """value: of one thing, None: it has none. words: the values of the labels after the thing's own, as many as there
    are."""

    name: str
    kind: str
    help: str
    value: Callable[[T], float | None]
    labels: tuple[str, ...] = ()
    words: Callable[[T], tuple[str, ...]] | None = None


def _agent(
    name: str, help_: str, value: Callable[[AgentFigures], float | None], kind: str = GAUGE
) -> Metric[AgentFigures]:
    return Metric(f"forebay_collector_agent_{name}", kind, help_, value, AGENT)


def _canary(name: str, help_: str, value: Callable[[CanaryView], float | None]) -> Metric[CanaryView]:
    return Metric(f"forebay_collector_canary_{name}", GAUGE, help_, value, SOURCE)


def _stream(
    name: str, help_: str, value: Callable[[StreamFigures], float | None], kind: str = GAUGE
) -> Metric[StreamFigures]:
    return Metric(f"forebay_collector_stream_{name}", kind, help_, value, STREAM)


def _own(
    name: str, help_: str, value: Callable[[ProcessFigures], float | None], kind: str = GAUGE
) -> Metric[ProcessFigures]:
    return Metric(f"forebay_collector_{name}", kind, help_, value)


def _at(moment_us: int) -> float | None:
    return moment_us * _US if moment_us else None


def _said(view: AgentFigures, name: str) -> float | None:
    """A figure of the appliance's health as its last heartbeat said."""
    value = view.view.health.get(name)
    return float(value) if isinstance(value, int | float) else None


def _outbox(view: AgentFigures, name: str) -> float | None:
    value = view.view.outbox.get(name)
    return float(value) if isinstance(value, int | float) else None


OF_EVERY_AGENT: Final[tuple[Metric[AgentFigures], ...]] = (
    Metric(
        "forebay_collector_agent_info",
        GAUGE,
        "1 for every agent that has enrolled, with the version of its program.",
        lambda one: 1.0,
        (*AGENT, "version"),
        lambda one: (one.view.version,),
    ),
    Metric(
        "forebay_collector_agent_state",
        GAUGE,
        "1 for the word that tells how the agent stands: green, yellow, red, grey or revoked.",
        lambda one: 1.0,
        (*AGENT, "state"),
        lambda one: (one.view.state.value,),
    ),
)
"""Also of those that are revoked."""

OF_AGENT: Final[tuple[Metric[AgentFigures], ...]] = (
    _agent(
        "last_heartbeat_timestamp_seconds",
        "When the agent's newest heartbeat came, by the collector's clock; missing for one that never came in.",
        lambda one: _at(one.view.last_seen_at),
    ),
    _agent(
        "heartbeat_interval_seconds",
        "How often the agent was asked to beat.",
        lambda one: one.view.heartbeat_ms / 1_000 if one.view.heartbeat_ms else None,
    ),
    _agent("connected", "Whether the agent is connected.", lambda one: float(one.view.connected_since > 0)),
    _agent("paused", "Whether the whole agent is paused: it captures nothing.", lambda one: float(one.view.paused)),
    _agent(
        "configuration_refused",
        "Whether the agent's newest configuration files are refused, so that the ones before are in force.",
        lambda one: float(bool(one.view.configuration_refusal)),
    ),
    _agent(
        "certificate_expiry_timestamp_seconds",
        "When the agent's certificate ends.",
        lambda one: _at(one.view.certificate_expires_at),
    ),
    _agent(
        "clock_offset_seconds",
        "How far the appliance's clock is ahead of the collector's, the way over the network included.",
        lambda one: one.view.clock_offset_us * _US if one.view.last_seen_at else None,
    ),
    _agent("outbox_batches", "Sealed batches that wait in the agent's outbox.", lambda one: _outbox(one, "batches")),
    _agent("outbox_bytes", "Bytes that wait in the agent's outbox.", lambda one: _outbox(one, "bytes")),
    _agent(
        "outbox_capacity_bytes", "Bytes that the agent's outbox takes at most.", lambda one: _outbox(one, "cap_bytes")
    ),
    _agent("outbox_full", "Whether the agent's outbox is full: capture waits.", lambda one: _outbox(one, "full")),
    _agent("disk_free_bytes", "Free bytes of the appliance's disk.", lambda one: _said(one, "disk_free_bytes")),
    _agent(
        "memory_available_bytes",
        "Memory of the appliance that is available.",
        lambda one: _said(one, "memory_available_bytes"),
    ),
    _agent("load1", "Load of the appliance over a minute.", lambda one: _said(one, "load_1m")),
    _agent(
        "resident_memory_bytes", "Resident memory of the agent's process.", lambda one: _said(one, "agent_rss_bytes")
    ),
    _agent(
        "cpu_seconds_total",
        "CPU time of the agent's process.",
        lambda one: _said(one, "agent_cpu_seconds"),
        COUNTER,
    ),
)

OF_CANARY: Final[tuple[Metric[CanaryView], ...]] = (
    _canary("made_timestamp_seconds", "When the source's newest canary was made.", lambda one: _at(one.made_at)),
    _canary(
        "loaded_timestamp_seconds",
        "When the agent heard that the source's canary is loaded; missing before the first.",
        lambda one: _at(one.loaded_at),
    ),
    _canary(
        "round_trip_seconds",
        "From the source to the platform and back: of the source's last canary that was loaded.",
        lambda one: _at(one.round_trip_us),
    ),
    _canary(
        "late_seconds",
        "How long the source's newest canary has been on its way, once that is longer than 5 minutes; 0 before.",
        lambda one: one.late_s,
    ),
)


def _known(one: StreamFigures, value: float) -> float | None:
    """Of what the agent said; None where it does not tell of the stream any more."""
    return None if one.view.state == "not told of" else value


OF_STREAM: Final[tuple[Metric[StreamFigures], ...]] = (
    Metric(
        "forebay_collector_stream_state",
        GAUGE,
        "1 for how the stream stands: starting, snapshot, streaming, loading, waiting, late, paused, held, held at agent, "
        "not told of.",
        lambda one: 1.0,
        (*STREAM, "state"),
        lambda one: (one.view.state,),
    ),
    _stream(
        "waiting",
        "Whether the stream waits and nothing is the matter: it is paused, or outside the hours that are set.",
        lambda one: float(one.view.state == "paused" or (one.view.state == "waiting" and not one.view.code)),
    ),
    _stream(
        "troubled",
        "Whether anything is the matter with the stream: it is held, late, or waits with a code.",
        lambda one: float(bool(one.view.code)),
    ),
    _stream("epoch", "The stream's epoch; a reset begins the next one.", lambda one: float(one.view.epoch)),
    _stream(
        "batches_sealed_total",
        "Batches of the stream's epoch that its agent sealed, as it last said.",
        lambda one: _known(one, float(one.view.sealed_seq)),
        COUNTER,
    ),
    _stream(
        "batches_durable_total",
        "Batches of the stream's epoch that are on the collector's disk.",
        lambda one: float(one.view.durable[1] if one.view.durable[0] == one.view.epoch else 0),
        COUNTER,
    ),
    _stream(
        "batches_loaded_total",
        "Batches of the stream's epoch that the platform shows.",
        lambda one: float(one.view.loaded[1] if one.view.loaded[0] == one.view.epoch else 0),
        COUNTER,
    ),
    _stream(
        "rows_captured_total",
        "Rows of the stream's epoch that were captured, as its agent last said.",
        lambda one: _known(one, float(one.view.rows_captured)),
        COUNTER,
    ),
    _stream(
        "last_change_timestamp_seconds",
        "When the newest change that was received was committed at the source.",
        lambda one: _at(one.backlog.newest_us),
    ),
    _stream(
        "last_poll_timestamp_seconds",
        "When the source was last looked at for the stream, as its agent said: idle streams tell it every 10 minutes.",
        lambda one: _at(one.view.last_poll_at),
    ),
    _stream(
        "lag_seconds",
        "Age of the oldest change that is received and not loaded; 0: there is none.",
        lambda one: one.view.lag_s,
    ),
    _stream(
        "backlog_batches",
        "Batches that are received and not loaded.",
        lambda one: float(one.backlog.batches),
    ),
    _stream("backlog_rows", "Rows that are received and not loaded.", lambda one: float(one.backlog.rows)),
    _stream(
        "outbox_batches",
        "Batches of the stream that wait in its agent's outbox.",
        lambda one: _known(one, float(one.view.outbox_batches)),
    ),
    _stream("quarantined_batches", "Batches of the stream in quarantine.", lambda one: float(one.quarantined)),
    _stream(
        "log_remaining_seconds",
        "Until the database forgets changes that were not captured; missing where it does not, or cannot tell.",
        lambda one: None if one.view.log_hours_left is None else one.view.log_hours_left * 3_600,
    ),
    _stream(
        "columns_waiting",
        "Columns that wait for approval while the rest flows.",
        lambda one: float(len(one.view.columns_waiting)),
    ),
    _stream(
        "update_cycle_seconds",
        "How long the table may go without a change, by the update cycle that the department named; missing where the "
        "label says no time.",
        lambda one: None if one.cycle_s is None else float(one.cycle_s),
    ),
    _stream(
        "verification_differs",
        "Whether the stream's newest verification found source and platform different; missing before the first.",
        lambda one: None if one.compared is None else float(one.compared.differs),
    ),
    _stream(
        "verification_timestamp_seconds",
        "When the stream's newest verification ended.",
        lambda one: None if one.compared is None else _at(one.compared.at),
    ),
)

OF_PROCESS: Final[tuple[Metric[ProcessFigures], ...]] = (
    Metric(
        "forebay_collector_info",
        GAUGE,
        "1 for the process that answers: the version of its program, and what it does.",
        lambda one: 1.0,
        ("version", "roles"),
        lambda one: (one.version, one.roles),
    ),
    _own("upload_connections", "Agents whose connection for batches is open.", lambda one: one.connections),
    _own(
        "thread_idle_seconds_max",
        "Since the thread that was silent for longest completed a step; the process is restarted when it stays so.",
        lambda one: one.silent_s,
    ),
    _own(
        "batches_received_total",
        "Batches that came in whole and took their place in their stream.",
        lambda one: one.tally.received,
        COUNTER,
    ),
    _own("rows_received_total", "Rows of these batches.", lambda one: one.tally.received_rows, COUNTER),
    _own("received_bytes_total", "Bytes of these batches.", lambda one: one.tally.received_bytes, COUNTER),
    _own("batches_durable_total", "Batches that were acknowledged as durable.", lambda one: one.tally.durable, COUNTER),
    _own(
        "batches_not_durable_total",
        "Batches that archive or ledger did not take; their agents send them again.",
        lambda one: one.tally.not_durable,
        COUNTER,
    ),
    _own(
        "batches_loaded_total",
        "Batches that this process loaded into the platform.",
        lambda one: one.tally.loaded,
        COUNTER,
    ),
    _own(
        "archive_bytes",
        "Bytes of all batches in the archive; missing until they were added up after the start.",
        lambda one: one.archive_bytes,
    ),
    _own(
        "archive_written_bytes_total",
        "Bytes of batches written to the archive.",
        lambda one: one.tally.durable_bytes,
        COUNTER,
    ),
    _own(
        "archive_removed_bytes_total",
        "Bytes of batches that retention removed from the archive.",
        lambda one: one.tally.removed_bytes,
        COUNTER,
    ),
    _own("disk_free_bytes", "Free bytes of the disk that the data folder is on.", lambda one: one.disk_free),
    _own("disk_size_bytes", "Size of the disk that the data folder is on.", lambda one: one.disk_size),
    _own(
        "audit_entries_total",
        "Entries that the audit's chain ever had: the number of its head.",
        lambda one: one.audit_entries,
        COUNTER,
    ),
    _own(
        "audit_head_digest",
        "The first 6 bytes of the digest of the audit's head, as a number: noted here, outside the collector, together with "
        "the number of entries.",
        lambda one: one.audit_digest,
    ),
)

ACKS: Final[Metric[ProcessFigures]] = Metric(
    "forebay_collector_durable_ack_seconds",
    HISTOGRAM,
    "From a whole batch in its place to its acknowledgement: archived, in the ledger, on disk.",
    lambda one: None,
)

BY_THE_CLIENT: Final = (
    ("process_virtual_memory_bytes", GAUGE, "Virtual memory size in bytes."),
    ("process_resident_memory_bytes", GAUGE, "Resident memory size in bytes."),
    ("process_start_time_seconds", GAUGE, "Start time of the process since unix epoch in seconds."),
    ("process_cpu_seconds_total", COUNTER, "Total user and system CPU time spent in seconds."),
    ("process_open_fds", GAUGE, "Number of open file descriptors."),
    ("process_max_fds", GAUGE, "Maximum number of open file descriptors."),
)


def listed() -> list[tuple[str, str, tuple[str, ...], str]]:
    """(name, kind, labels, help) of every metric, in the order of the page."""
    ours: tuple[Metric[Any], ...] = (*OF_EVERY_AGENT, *OF_AGENT, *OF_CANARY, *OF_STREAM, *OF_PROCESS, ACKS)
    return [
        *((metric.name, metric.kind, metric.labels, metric.help) for metric in ours),
        *((name, kind, (), help_) for name, kind, help_ in BY_THE_CLIENT),
    ]
