"""The outbox under kill -9 and on full disks: nothing that was put is lost, nothing is twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from forebay_agent.config.model import OutboxConfig
from forebay_agent.errors import OutboxFull
from forebay_agent.outbox import Outbox
from forebay_wire.digest import GENESIS
from forebay_wire.seal import check_digests, parse_header
from tests.receiving.batches import SCHEMA, STREAM, chained

SEED = int(os.environ.get("SEED", "20261123"))
ROUNDS = 12


def test_kill_9_between_put_and_ack_neither_loses_nor_doubles_a_batch(tmp_path: Path) -> None:
    draw = random.Random(SEED)
    print(f"seed={SEED}")
    state, centre = tmp_path / "state", tmp_path / "centre"
    state.mkdir()
    promised = 0
    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.daemon.sealing_process", str(state), str(centre)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0.0, 0.25))
        process.kill()
        said = process.stdout.read().split()
        process.stdout.close()
        process.wait()
        promised = max(promised, *(int(line) for line in said), 0) if said else promised
        _check(state, centre, promised)
    assert promised > 50


def _check(state: Path, centre: Path, promised: int) -> None:
    """Collector and outbox together hold every batch that put promised, once each, as one chain."""
    lines = centre.read_text().splitlines() if centre.exists() else []
    held: dict[int, bytes] = {}
    for line in lines:
        _, seq, chain = line.split()
        # a batch may be sent again when its deletion was lost; then it is the very same
        assert held.setdefault(int(seq), bytes.fromhex(chain)) == bytes.fromhex(chain)
    with closing(Outbox.open(state, OutboxConfig(free_disk=0))) as outbox, closing(outbox.reader()) as reader:
        record = outbox.stream(STREAM)
        assert record.next_seq - 1 >= promised
        assert record.checkpoint == f'{{"rows":{record.next_seq - 1}}}'
        previous = {0: GENESIS} | held
        for batch in reader.waiting(record.id):
            whole = reader.next_batch(record.id, (batch.epoch, batch.seq - 1))
            assert whole is not None
            check_digests(whole)
            assert parse_header(batch.header).previous_chain == previous[batch.seq - 1]
            previous[batch.seq] = batch.chain
        assert sorted(previous) == list(range(record.next_seq))
        assert previous[record.next_seq - 1] == record.chain


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_loses_nothing_and_goes_on_when_the_collector_has_taken_some(small_disk: Path) -> None:
    sealed: list[tuple[int, int]] = []
    delivered: list[tuple[int, int]] = []
    refusals = 0
    with closing(Outbox.open(small_disk, OutboxConfig(free_disk=0))) as outbox:
        record = outbox.stream(STREAM)
        while len(sealed) < 120:
            batches = chained(1, link=record.link, text_bytes=40_000)
            try:
                record = outbox.put(record, batches, f'{{"rows":{batches[0].seq}}}', schema=SCHEMA)
            except OutboxFull:
                refusals += 1
                assert refusals < 100, "no room ever again"
                assert outbox.stream(STREAM) == record
                with closing(outbox.reader()) as reader:
                    waiting = [(batch.epoch, batch.seq) for batch in reader.waiting(record.id)]
                outbox.delete({record.id: waiting[len(waiting) // 2]})
                delivered += waiting[: len(waiting) // 2 + 1]
                continue
            sealed.append((batches[0].epoch, batches[0].seq))
    assert refusals
    with closing(Outbox.open(small_disk, OutboxConfig(free_disk=0))) as outbox, closing(outbox.reader()) as reader:
        waiting = [(batch.epoch, batch.seq) for batch in reader.waiting(outbox.stream(STREAM).id)]
    assert delivered + waiting == sealed


def test_a_disk_that_others_filled_refuses_and_the_file_is_whole_afterwards(small_disk: Path) -> None:
    with closing(Outbox.open(small_disk, OutboxConfig(free_disk=0))) as outbox:
        record = outbox.stream(STREAM)
        record = outbox.put(record, chained(2, link=record.link), '{"rows":2}', schema=SCHEMA)
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        with pytest.raises(OutboxFull):
            outbox.put(record, chained(1, link=record.link, text_bytes=9_000), "{}", schema=SCHEMA)
        assert outbox.delete({record.id: (1, 1)}) in (0, 1)
        before = outbox.stream(STREAM)
        ballast.unlink()
        after = outbox.put(before, chained(1, link=before.link), '{"rows":9}', schema=SCHEMA)
    with closing(Outbox.open(small_disk, OutboxConfig(free_disk=0))) as outbox:
        assert outbox.stream(STREAM) == after
