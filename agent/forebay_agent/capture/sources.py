"""Which dialect speaks to which kind of source. A dialect's libraries are loaded only when a source needs them.

A dialect is a package beside this file with a function `open(config) -> Source`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final, cast

from forebay_agent.capture.source import Source
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import ConfigurationError

DIALECTS: Final = {
    "sqlite": "forebay_agent.capture.sqlite",
    "mysql": "forebay_agent.capture.mysql",
    "postgresql": "forebay_agent.capture.postgresql",
}


def open_source(config: SourceConfig) -> Source:
    """Opens a read-only session with the source's database.

    Raises:
        ConfigurationError: no dialect of that kind.
        SourceUnreachable, SourceDenied, SourceError: the database cannot be reached, refuses, or is not one.
    """
    package = DIALECTS.get(config.kind)
    if package is None:
        raise ConfigurationError(
            f"there is no kind of source called {config.kind!r}",
            file=config.file,
            key="kind",
            remedy=f"Use one of: {', '.join(DIALECTS)}.",
        )
    opener = cast("Callable[[SourceConfig], Source]", import_module(package).open)
    return opener(config)
