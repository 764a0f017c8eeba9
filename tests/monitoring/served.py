"""A page of metrics, read by Prometheus' own client library."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring.listing import Entry

_HELP: Final = re.compile(r"^# HELP (\S+) (.*)$", re.MULTILINE)
_TYPE: Final = re.compile(r"^# TYPE (\S+) (\S+)$", re.MULTILINE)


class Page:
    """One answer. `values`: by the sample's name and its labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self.labels: dict[str, set[tuple[str, ...]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.values, f"{key} stands twice"
                self.values[key] = sample.value
                self.labels.setdefault(sample.name, set()).add(tuple(sorted(sample.labels)))

    def value(self, name: str, **labels: str) -> float | None:
        return self.values.get((name, frozenset(labels.items())))

    def of(self, name: str, **labels: str) -> list[float]:
        """Of every sample with these labels, whatever others it has."""
        wanted = labels.items()
        return [value for (told, has), value in self.values.items() if told == name and wanted <= has]

    def assert_is(self, entries: Iterable[Entry]) -> None:
        """Names, kinds, texts and labels are exactly the listed ones, in order; a metric may have no sample now."""
        listed = list(entries)
        assert _HELP.findall(self.text) == [(name, help_) for name, _, _, help_ in listed]
        assert _TYPE.findall(self.text) == [(name, kind) for name, kind, _, _ in listed]
        for name, kind, labels, _ in listed:
            samples = {f"{name}_bucket": (*labels, "le"), f"{name}_sum": labels, f"{name}_count": labels}
            for sample, expected in (samples if kind == "histogram" else {name: labels}).items():
                wanted = {tuple(sorted(expected))}
                assert self.labels.get(sample, wanted) == wanted, sample
        known = {name for name, _, _, _ in listed}
        assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in self.labels} <= known
