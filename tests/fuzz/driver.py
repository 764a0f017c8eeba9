"""Runs a fuzz target: with atheris, as a seeded loop, or over one file."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.fuzz.mutate import mutated

CORPUS: Final = Path(__file__).parent / "corpus"
FAILURES: Final = Path("build/fuzz")


def corpus(name: str) -> list[bytes]:
    """The files of `corpus/<name>/`, in the order of their names."""
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir()) if file.is_file()]


def loop(name: str, one: Callable[[bytes], object], *, seconds: float, seed: int, most: int = 1 << 62) -> int:
    """Runs `one` over the corpus, then over mutations, until the time or the count is over; -> how many inputs.

    Inputs depend on the seed alone. An exception ends it; the input that caused it is written down first.
    """
    entries = corpus(name)
    source = random.Random(seed)
    deadline = time.monotonic() + seconds
    count = 0
    for data in entries:
        _run(name, one, data)
        count += 1
    while count < most and time.monotonic() < deadline:
        _run(name, one, mutated(source.choice(entries), entries, source))
        count += 1
    return count


def _run(name: str, one: Callable[[bytes], object], data: bytes) -> None:
    try:
        one(data)
    except BaseException:
        FAILURES.mkdir(parents=True, exist_ok=True)
        file = FAILURES / f"{name}-{sha256(data).hexdigest()[:16]}"
        file.write_bytes(data)
        print(f"failing input: {file}", file=sys.stderr)
        raise


def main(name: str, one: Callable[[bytes], object], arguments: Sequence[str] | None = None) -> None:
    """The command line of a target."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.fuzz.{name}")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, help="a file with one input")
    parser.add_argument("--atheris", action="store_true", help="guided by coverage; needs atheris (PyPI)")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        one(options.replay.read_bytes())
        print(f"{name}: {options.replay} passes")
    elif options.atheris:
        _with_atheris(name, one, options.seconds, options.seed)
    else:
        count = loop(name, one, seconds=options.seconds, seed=options.seed)
        print(f"{name}: {count} inputs, seed {options.seed}, nothing found")


def _with_atheris(name: str, one: Callable[[bytes], object], seconds: float, seed: int) -> None:
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    FAILURES.mkdir(parents=True, exist_ok=True)
    found = FAILURES / f"{name}-corpus"
    found.mkdir(exist_ok=True)
    atheris.Setup(
        [
            name,
            f"-max_total_time={int(seconds)}",
            f"-seed={seed}",
            f"-artifact_prefix={FAILURES}/{name}-",
            str(found),
            str(CORPUS / name),
        ],
        atheris.instrument_func(one),
    )
    atheris.Fuzz()
