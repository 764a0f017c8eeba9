"""Values as text, the same from Spark, pyiceberg and DuckDB."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from typing import Any


def told(value: Any) -> Any:
    """One value; timestamps with a zone in UTC, those without as they are."""
    if isinstance(value, dt.datetime):
        return (value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value).isoformat()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, list):
        return [told(part) for part in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each row as one line, in the order of the lines."""
    return sorted(
        json.dumps({name: told(value) for name, value in row.items()}, ensure_ascii=False, sort_keys=True)
        for row in rows
    )
