"""The configuration as people and the centre may see it: plain values, and of a secret only where it is kept."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from forebay_agent.config.model import AgentConfig, DailyWindow, MaskConfig
from forebay_agent.config.secret import Secret


def shown(config: AgentConfig) -> dict[str, Any]:
    """For JSON; named as in the model, durations as `15s`."""
    told: dict[str, Any] = _plain(config)
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, Secret | DailyWindow | Path):
        return str(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        if value and all(isinstance(each, MaskConfig) for each in value):
            return {mask.column: mask.kind for mask in value}
        return [_plain(each) for each in value]
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    raise TypeError(f"a {type(value).__name__} in the configuration has no plain form")
