"""What a comparison says, for people and for programs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from forebay_collector.verify.compare import Comparison
from forebay_wire.stream import StreamName


def to_json(stream: StreamName, result: Comparison, key: Sequence[str], seconds: float) -> dict[str, Any]:
    def shown(keys: Sequence[str]) -> list[dict[str, str | None] | str]:
        return [key_values(text, key) or text for text in keys]

    return {
        "stream": str(stream),
        "equal": result.equal,
        "source": {"rows": result.source.rows, "digest": result.source.digest.hex()},
        "platform": {"rows": result.platform.rows, "digest": result.platform.digest.hex()},
        "key": list(key),
        "missing": shown(result.missing),
        "extra": shown(result.extra),
        "different": shown(result.different),
        "in_flight": result.in_flight,
        "complete": result.complete,
        "seconds": round(seconds, 3),
    }


def to_text(stream: StreamName, result: Comparison, key: Sequence[str], seconds: float) -> str:
    verdict = "equal" if result.equal else "NOT EQUAL"
    counts = f"missing={len(result.missing)} extra={len(result.extra)} different={len(result.different)}"
    lines = [
        f"{stream}: {verdict}",
        f"  source    rows={result.source.rows} digest={result.source.digest.hex()}",
        f"  platform  rows={result.platform.rows} digest={result.platform.digest.hex()}",
        f"  {counts} in flight={result.in_flight} seconds={seconds:.1f}",
    ]
    for kind, keys in (("missing", result.missing), ("extra", result.extra), ("different", result.different)):
        lines += [f"  {kind:9} {_key_text(text, key)}" for text in keys]
    if result.equal and result.source != result.platform:
        lines.append("  the two digests are of different moments: rows changed meanwhile, and were compared key by key")
    if result.in_flight:
        lines.append("  keys in flight changed during every look: verify again when the table is quieter")
    if not result.complete:
        lines.append("  the list ends here; there may be more (--keys)")
    return "\n".join(lines) + "\n"


def key_values(text: str, key: Sequence[str]) -> dict[str, str | None] | None:
    """The key's columns and values in a canonical key text; None when it holds bytes that are not text."""
    rest = text.encode("utf-8", "surrogatepass")
    values: list[str | None] = []
    while rest:
        if rest.startswith(b"-"):
            values.append(None)
            rest = rest[1:]
            continue
        match = re.match(rb"(\d+):", rest)
        if match is None:
            return None
        end = match.end() + int(match[1])
        values.append(rest[match.end() : end].decode("utf-8", "replace"))
        if len(rest) < end:
            return None
        rest = rest[end:]
    return dict(zip(key, values, strict=True)) if len(values) == len(key) else None


def _key_text(text: str, key: Sequence[str]) -> str:
    values = key_values(text, key)
    if values is None:
        return text
    return ", ".join(f"{name}={'NULL' if value is None else value}" for name, value in values.items())
