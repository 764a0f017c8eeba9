"""What a comparison says, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from forebay_collector.verify.promise import promise_of
from forebay_collector.verify.verify import Verified
from forebay_wire.canonical import key_text
from forebay_wire.canonical_keys import values_of
from forebay_wire.errors import Malformed
from forebay_wire.stream import StreamName

KINDS: Final = ("missing", "extra", "different")


def to_json(stream: StreamName, verified: Verified, seconds: float) -> dict[str, Any]:
    result, key = verified.comparison, verified.key

    return {
        "stream": str(stream),
        "equal": result.equal,
        "source": {"rows": result.source.rows, "digest": result.source.digest.hex()},
        "platform": {"rows": result.platform.rows, "digest": result.platform.digest.hex()},
        "key": list(key),
        "counts": {kind: getattr(result, kind).count for kind in KINDS},
        "missing": shown_keys(result.missing.named, key),
        "extra": shown_keys(result.extra.named, key),
        "different": shown_keys(result.different.named, key),
        "different_columns": [list(result.columns.get(one, ())) for one in result.different.named],
        "in_flight": result.in_flight,
        "complete": result.complete,
        "mode": verified.mode,
        "promise": promise_of(verified.mode),
        "seconds": round(seconds, 3),
        "source_seconds": round(result.source_seconds, 3),
        "platform_seconds": round(result.platform_seconds, 3),
    }


def to_text(stream: StreamName, verified: Verified, seconds: float) -> str:
    result, key = verified.comparison, verified.key
    verdict = "equal" if result.equal else "NOT EQUAL"
    counts = " ".join(f"{kind}={getattr(result, kind).count}" for kind in KINDS)
    lines = [
        f"{stream}: {verdict}",
        f"  source    rows={result.source.rows} digest={result.source.digest.hex()}",
        f"  platform  rows={result.platform.rows} digest={result.platform.digest.hex()}",
        f"  {counts} in flight={result.in_flight} seconds={seconds:.1f}",
    ]
    for kind in KINDS:
        for one in getattr(result, kind).named:
            columns = ", ".join(result.columns.get(one, ()))
            lines.append(f"  {kind:9} {_key_text(one, key)}" + (f": {columns}" if columns else ""))
    if result.equal and result.source != result.platform:
        lines.append("  the two digests are of different moments: rows changed meanwhile, and were compared key by key")
    if result.in_flight:
        lines.append("  keys in flight changed during every look: verify again when the table is quieter")
    if not result.complete:
        lines.append(f"  {len(result.named)} of {result.differing} are listed (--keys)")
    if promise := promise_of(verified.mode):
        lines.append(f"  mode {verified.mode}: {promise}")
    return "\n".join(lines) + "\n"


def shown_keys(keys: Sequence[bytes], key: Sequence[str]) -> list[dict[str, str | None] | str]:
    """Each as its columns and values; as escaped text where it holds bytes that are not text."""
    return [key_values(one, key) or key_text(one) for one in keys]


def key_values(canonical: bytes, key: Sequence[str]) -> dict[str, str | None] | None:
    """The key's columns and values; None when it holds bytes that are not text."""
    try:
        values = [None if value is None else value.decode() for value in values_of(canonical)]
    except (Malformed, UnicodeDecodeError):
        return None
    return dict(zip(key, values, strict=True)) if len(values) == len(key) else None


def _key_text(canonical: bytes, key: Sequence[str]) -> str:
    values = key_values(canonical, key)
    if values is None:
        return key_text(canonical)
    return ", ".join(f"{name}={'NULL' if value is None else value}" for name, value in values.items())
