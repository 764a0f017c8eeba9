"""All that `check` looks at, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Iterator

from forebay_agent.check.appliance import check_state
from forebay_agent.check.checked import Checked
from forebay_agent.check.collector import check_collector
from forebay_agent.check.databases import check_source
from forebay_agent.config.load import agent_file
from forebay_agent.config.model import AgentConfig


def check_everything(config: AgentConfig, only: str) -> Iterator[Checked]:
    """State folder, certificate, the way to the collector, every source. only: this source alone, empty for all."""
    file = str(agent_file(config.folder))
    if not only:
        yield from check_state(config, file)
        yield from check_collector(config, file)
    for source in config.sources:
        if only in ("", source.name):
            yield from check_source(source)
