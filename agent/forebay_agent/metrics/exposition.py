"""The page that Prometheus reads: every metric of the list, as of this moment, in its text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from forebay_agent.metrics import definitions
from forebay_agent.report import Seen

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class Exposition:
    """`page` is called by one thread at a time. look: how the process stands now."""

    def __init__(self, look: Callable[[], Seen]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(look))
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        """Raises what looking raises."""
        return generate_latest(self._registry)


class _Figures(Collector):
    def __init__(self, look: Callable[[], Seen]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        seen = self._look()
        for metric in definitions.METRICS:
            if metric.samples is None:
                continue
            kind = CounterMetricFamily if metric.kind == definitions.COUNTER else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.samples(seen):
                if value is not None:
                    family.add_metric(labels, value)
            yield family
