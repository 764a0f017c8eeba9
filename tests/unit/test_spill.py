"""Spills: records come back as they were put in, and nothing of them can be read from the disk."""

from __future__ import annotations

import collections
import os
import random
import resource
import signal
from pathlib import Path

import pytest

from forebay_agent.errors import SourceError
from forebay_agent.spill import BLOCK_BYTES, Spill


def test_records_come_back_in_order_as_often_as_they_are_asked_for(tmp_path: Path) -> None:
    source = random.Random(1)
    records = [source.randbytes(source.choice([0, 1, 100, 300_000, BLOCK_BYTES + 7])) for _ in range(60)]
    spill = Spill(tmp_path)
    for number, record in enumerate(records):
        spill.append(record)
        if number in (0, 30):
            assert list(spill.records()) == records[: number + 1]
    assert list(spill.records()) == records
    assert list(spill.records()) == records
    spill.close()
    assert list(spill.records()) == []


def test_a_file_without_a_name_holds_only_what_is_encrypted(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    secret = b"geheim" * 1000
    for _ in range(BLOCK_BYTES // len(secret) + 2):
        spill.append(secret)
    assert list(tmp_path.iterdir()) == []
    assert spill._file is not None
    spill._file.flush()
    kept = Path(f"/proc/self/fd/{spill._file.fileno()}").read_bytes()
    assert kept
    assert b"geheim" not in kept
    spill.close()


def test_what_was_altered_on_the_disk_is_refused(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    spill.append(bytes(BLOCK_BYTES))
    assert spill._file is not None
    spill._file.seek(10)
    spill._file.write(b"x")
    with pytest.raises(SourceError, match="altered on the disk"):
        list(spill.records())
    spill.close()


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK_BYTES, before[1]))
    try:
        with pytest.raises(SourceError, match="cannot be put aside"):
            collections.deque(map(spill.append, (os.urandom(BLOCK_BYTES) for _ in range(5))))
        spill.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    with pytest.raises(SourceError, match="cannot be put aside"):
        Spill(tmp_path / "nowhere").append(bytes(BLOCK_BYTES))
