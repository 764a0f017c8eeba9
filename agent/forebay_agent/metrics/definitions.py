"""The one list of the agent's metrics: name, kind, labels, what it means, and where its value comes from.

`docs/reference/metrics.md` is written from it. The process's own figures (`process_…`) are those that every program of Prometheus'
client tells, under their usual names. A value that does not exist (never, not told, no limit) is left out, not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from forebay_agent import __version__
from forebay_agent.report import Seen
from forebay_agent.stream_state import StreamState
from forebay_wire.v1 import control_pb2

GAUGE: Final = "gauge"
COUNTER: Final = "counter"
_US: Final = 1e-6
_HOUR_SECONDS: Final = 3_600.0

Sample: TypeAlias = tuple[tuple[str, ...], float | None]
"""The labels' values and the value; None: there is none."""


@dataclass(frozen=True, slots=True)
class Metric:
    """samples: its values as of one look; None: the client tells it by itself."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    samples: Callable[[Seen], Iterable[Sample]] | None = None


def _one(name: str, kind: str, help_: str, value: Callable[[Seen], float | None]) -> Metric:
    return Metric(name, kind, help_, (), lambda seen: [((), value(seen))])


def _of_streams(name: str, kind: str, help_: str, value: Callable[[StreamState], float | None]) -> Metric:
    def samples(seen: Seen) -> Iterator[Sample]:
        for state in seen.streams:
            yield (state.name.source, str(state.name)), value(state)

    return Metric(name, kind, help_, ("source", "stream"), samples)


def _of_canaries(name: str, help_: str, value: Callable[[control_pb2.CanaryState], float | None]) -> Metric:
    def samples(seen: Seen) -> Iterator[Sample]:
        for canary in seen.situation.canaries:
            yield (canary.source,), value(canary)

    return Metric(name, GAUGE, help_, ("source",), samples)


def _at(moment_us: int) -> float | None:
    return moment_us * _US if moment_us else None


def _states(seen: Seen) -> Iterator[Sample]:
    for state in seen.streams:
        yield (state.name.source, str(state.name), state.state), 1.0


METRICS: Final = (
    Metric(
        "forebay_agent_info",
        GAUGE,
        "1 for the agent that answers: who it is, and the version of its program.",
        ("agent", "department", "version"),
        lambda seen: [((seen.own.agent, seen.own.department, __version__), 1.0)],
    ),
    _one(
        "forebay_agent_collector_connected",
        GAUGE,
        "Whether the collector takes batches from this agent now; left out where no line leads to it.",
        lambda seen: float(seen.situation.uplink.connected) if seen.situation.uplink.line else None,
    ),
    _one(
        "forebay_agent_heartbeat_acknowledged_timestamp_seconds",
        GAUGE,
        "When the collector last acknowledged a heartbeat.",
        lambda seen: _at(seen.situation.heard_at_us),
    ),
    _one(
        "forebay_agent_late_loops",
        GAUGE,
        "Loops of the process that did not go round in the time that they promised; the watchdog acts on them.",
        lambda seen: float(len(seen.situation.late)),
    ),
    _one(
        "forebay_agent_paused",
        GAUGE,
        "Whether the whole agent is paused: it captures nothing, and sends what it has.",
        lambda seen: float(bool(seen.situation.paused)),
    ),
    _one(
        "forebay_agent_configuration_refused",
        GAUGE,
        "Whether the newest configuration files are refused, so that the ones before are still in force.",
        lambda seen: float(bool(seen.situation.refusal)),
    ),
    _one(
        "forebay_agent_certificate_expiry_timestamp_seconds",
        GAUGE,
        "When the agent's certificate ends.",
        lambda seen: _at(seen.situation.renewal.expires_at_us),
    ),
    _one(
        "forebay_agent_certificate_renewal_failed",
        GAUGE,
        "Whether the last renewal of the certificate failed.",
        lambda seen: float(seen.situation.renewal.trouble is not None),
    ),
    _one(
        "forebay_agent_outbox_batches",
        GAUGE,
        "Sealed batches that wait in the outbox.",
        lambda seen: float(seen.outbox.batches),
    ),
    _one(
        "forebay_agent_outbox_bytes",
        GAUGE,
        "Bytes of the batches that wait in the outbox.",
        lambda seen: float(seen.outbox.bytes),
    ),
    _one(
        "forebay_agent_outbox_capacity_bytes",
        GAUGE,
        "Bytes of batches that the outbox takes at most.",
        lambda seen: float(seen.outbox.cap_bytes),
    ),
    _one(
        "forebay_agent_outbox_full",
        GAUGE,
        "Whether the last batch found no room: capture waits.",
        lambda seen: float(seen.outbox.full),
    ),
    _one(
        "forebay_agent_disk_free_bytes",
        GAUGE,
        "Free bytes of the disk that the outbox is on.",
        lambda seen: float(seen.outbox.disk_free_bytes),
    ),
    _one(
        "forebay_agent_sealed_batches_total",
        COUNTER,
        "Batches sealed and kept in the outbox since the start of the process.",
        lambda seen: float(seen.sealed.batches),
    ),
    _one(
        "forebay_agent_sealed_rows_total",
        COUNTER,
        "Rows of the batches sealed since the start of the process.",
        lambda seen: float(seen.sealed.rows),
    ),
    _one(
        "forebay_agent_sealing_in_bytes_total",
        COUNTER,
        "Bytes of the sealed batches before they were compressed.",
        lambda seen: float(seen.sealed.raw_bytes),
    ),
    _one(
        "forebay_agent_sealing_out_bytes_total",
        COUNTER,
        "Bytes of the sealed batches as they are kept and sent.",
        lambda seen: float(seen.sealed.bytes),
    ),
    _of_canaries(
        "forebay_agent_canary_made_timestamp_seconds",
        "When the source's newest canary was made.",
        lambda canary: _at(canary.made_at_us),
    ),
    _of_canaries(
        "forebay_agent_canary_loaded_timestamp_seconds",
        "When the agent heard that the source's canary is loaded; missing while the newest one is on its way.",
        lambda canary: _at(canary.loaded_at_us),
    ),
    _of_canaries(
        "forebay_agent_canary_round_trip_seconds",
        "From the source to the platform and back: of the source's last canary that was loaded.",
        lambda canary: _at(canary.round_trip_us),
    ),
    Metric(
        "forebay_agent_stream_state",
        GAUGE,
        "1 for the state that the stream is in: starting, snapshot, streaming, waiting or held.",
        ("source", "stream", "state"),
        _states,
    ),
    _of_streams(
        "forebay_agent_stream_paused",
        GAUGE,
        "Whether nothing of the stream is captured because somebody said so, or by the hours that are set.",
        lambda state: float(bool(state.paused)),
    ),
    _of_streams(
        "forebay_agent_stream_epoch",
        GAUGE,
        "The stream's epoch; a reset begins the next one.",
        lambda state: float(state.epoch) if state.epoch else None,
    ),
    _of_streams(
        "forebay_agent_stream_batches_sealed_total",
        COUNTER,
        "Batches of the stream's epoch that were sealed.",
        lambda state: float(state.sealed_seq),
    ),
    _of_streams(
        "forebay_agent_stream_batches_durable_total",
        COUNTER,
        "Batches of the stream's epoch that the collector has on disk.",
        lambda state: float(state.durable_seq),
    ),
    _of_streams(
        "forebay_agent_stream_batches_loaded_total",
        COUNTER,
        "Batches of the stream's epoch that the platform shows.",
        lambda state: float(state.loaded_seq),
    ),
    _of_streams(
        "forebay_agent_stream_rows_captured_total",
        COUNTER,
        "Rows of the stream's epoch that were captured.",
        lambda state: float(state.rows_captured),
    ),
    _of_streams(
        "forebay_agent_stream_last_change_timestamp_seconds",
        GAUGE,
        "When the newest change that was captured since the start of the process was committed at the source.",
        lambda state: _at(state.last_change_at_us),
    ),
    _of_streams(
        "forebay_agent_stream_last_poll_timestamp_seconds",
        GAUGE,
        "When the source was last looked at for the stream.",
        lambda state: _at(state.last_poll_at_us),
    ),
    _of_streams(
        "forebay_agent_stream_log_remaining_seconds",
        GAUGE,
        "Until the database forgets changes that were not captured; missing where it does not, or cannot tell.",
        lambda state: None if state.log_hours_left is None else state.log_hours_left * _HOUR_SECONDS,
    ),
    _of_streams(
        "forebay_agent_stream_log_behind_bytes",
        GAUGE,
        "Bytes of the database's log that were not captured yet.",
        lambda state: float(state.log_bytes_behind),
    ),
    _of_streams(
        "forebay_agent_stream_columns_waiting",
        GAUGE,
        "Configured columns that the centre has not approved: they wait, the rest flows.",
        lambda state: float(len(state.columns_waiting)),
    ),
    Metric("process_virtual_memory_bytes", GAUGE, "Virtual memory size in bytes."),
    Metric("process_resident_memory_bytes", GAUGE, "Resident memory size in bytes."),
    Metric("process_start_time_seconds", GAUGE, "Start time of the process since unix epoch in seconds."),
    Metric("process_cpu_seconds_total", COUNTER, "Total user and system CPU time spent in seconds."),
    Metric("process_open_fds", GAUGE, "Number of open file descriptors."),
    Metric("process_max_fds", GAUGE, "Maximum number of open file descriptors."),
)
