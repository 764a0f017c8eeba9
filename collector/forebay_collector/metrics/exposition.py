"""The page that Prometheus reads, in its text format 0.0.4.

The lines of a thousand agents are sixty thousand: they are written here, in a tenth of the time that the client's library
takes for them; of the library are the figures of the process itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from forebay_collector.ledger import Ledger
from forebay_collector.metrics import definitions
from forebay_collector.metrics.definitions import Metric
from forebay_collector.metrics.process import Process
from forebay_collector.metrics.reading import AgentFigures, escaped, read
from forebay_collector.metrics.tally import ACK_BOUNDS_S, Tally
from forebay_collector.service.actor import Actor

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
KEPT_S: Final = 2.0
"""For so long one look at the fleet serves whoever asks."""
T = TypeVar("T")


class Exposition:
    """Any thread may call; one look at the ledger is under way at a time."""

    def __init__(self, ledger: Ledger, process: Process, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._process = process
        self._clock = clock
        self._looking = threading.Lock()
        self._seen: tuple[float, list[AgentFigures]] | None = None

    def page(self, actor: Actor) -> bytes:
        """What the actor may see: with a scope of departments only their agents and streams, and nothing of the process.

        Raises LedgerUnavailable, LedgerDamaged.
        """
        agents = [one for one in self._agents() if actor.sees(one.view.department)]
        lines = list(_fleet(agents))
        if actor.departments is None:
            with self._looking:
                figures = self._process.look()
            lines += _lines(definitions.OF_PROCESS, [("", figures)])
            lines += _acks(figures.tally)
            lines.append(_by_the_client())
        return ("\n".join(lines) + "\n").encode()

    def _agents(self) -> list[AgentFigures]:
        with self._looking:
            if self._seen is None or self._clock() - self._seen[0] > KEPT_S:
                self._seen = self._clock(), read(self._ledger)
            return self._seen[1]


def _fleet(agents: Sequence[AgentFigures]) -> Iterator[str]:
    there = [one for one in agents if not one.revoked]
    yield from _lines(definitions.OF_EVERY_AGENT, [(one.labels, one) for one in agents])
    yield from _lines(definitions.OF_AGENT, [(one.labels, one) for one in there])
    yield from _lines(definitions.OF_CANARY, [pair for one in there for pair in one.canaries])
    yield from _lines(definitions.OF_STREAM, [(stream.labels, stream) for one in there for stream in one.streams])


def _lines(metrics: Iterable[Metric[T]], things: Sequence[tuple[str, T]]) -> Iterator[str]:
    """things: each with its labels as they stand in the text."""
    for metric in metrics:
        name, value_of, words_of = metric.name, metric.value, metric.words
        yield from _head(metric)
        for labels, thing in things:
            value = value_of(thing)
            if value is None:
                continue
            if words_of is not None:
                labels = _joined(labels, metric.labels, words_of(thing))
            yield f"{name}{{{labels}}} {value!r}" if labels else f"{name} {value!r}"


def _head(metric: Metric[T]) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"


def _joined(labels: str, names: Sequence[str], words: Sequence[str]) -> str:
    more = [f'{name}="{escaped(word)}"' for name, word in zip(names[-len(words) :], words, strict=True)]
    return ",".join([labels, *more] if labels else more)


def _acks(tally: Tally) -> Iterator[str]:
    name = definitions.ACKS.name
    counts, total_s = tally.ack_histogram()
    yield from _head(definitions.ACKS)
    for bound, count in zip((*map(str, ACK_BOUNDS_S), "+Inf"), counts, strict=True):
        yield f'{name}_bucket{{le="{bound}"}} {count}'
    yield f"{name}_sum {total_s!r}"
    yield f"{name}_count {counts[-1]}"


def _by_the_client() -> str:
    # imported by the first who asks: a collector that nobody asks does without
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode().rstrip("\n")
