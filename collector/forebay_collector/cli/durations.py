"""Durations and moments as people type them: `90s`, `24h`, `7d`; `2026-11-23T08:00` (UTC unless it has a zone)."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from forebay_collector import setting_texts


def duration(text: str) -> timedelta:
    """Raises ArgumentTypeError."""
    try:
        return setting_texts.duration(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: a number and s, m, h or d, as in 24h") from None


def since(text: str) -> int:
    """A moment, or a duration before now, as microseconds since 1970 UTC. Raises ArgumentTypeError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = datetime.now(UTC) - duration(text)
        except (argparse.ArgumentTypeError, OverflowError):
            raise argparse.ArgumentTypeError(
                f"{text!r} is neither a moment (2026-11-23T08:00) nor a duration before now (2h)"
            ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000_000)
