"""Log capture's puts under kill -9: of a source transaction all of it is shown, or nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from forebay_agent.config.model import OutboxConfig
from forebay_agent.outbox import START, Outbox
from forebay_wire.digest import GENESIS
from forebay_wire.seal import check_digests, parse_header
from tests.daemon.log_puts import shown
from tests.daemon.log_sealing_process import NAMES, WHERE, transaction

SEED = int(os.environ.get("SEED", "20261124"))
ROUNDS = int(os.environ.get("ROUNDS", "30"))


def test_kill_9_at_any_point_shows_all_of_a_transaction_or_nothing(tmp_path: Path) -> None:
    draw = random.Random(SEED)
    print(f"seed={SEED}")
    state, centre = tmp_path / "state", tmp_path / "centre"
    state.mkdir()
    promised, open_parts = 0, 0
    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.daemon.log_sealing_process", str(state), str(centre)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0.0, 0.1))
        process.kill()
        promised = max([promised, *map(int, process.stdout.read().split())])
        process.stdout.close()
        process.wait()
        open_parts += check(state, centre, promised)
    assert promised > 3 * ROUNDS
    assert open_parts > 2, "no kill hit an open transaction"


def expected(transactions: int, stream: int) -> tuple[list[tuple[int, int]], tuple[int, int], str]:
    """Of the stream: (epoch, seq) of all batches of the first transactions, where the next one goes, the checkpoint."""
    batches: list[tuple[int, int]] = []
    at, checkpoint = (1, 1), START
    for number in range(1, transactions + 1):
        for piece in transaction(number):
            for _, count, epochs in (part for part in piece if part[0] == stream):
                for begins in range(epochs + 1):
                    epoch, seq = (at[0] + 1, 1) if begins else at
                    batches += [(epoch, seq + each) for each in range(count)]
                    at, checkpoint = (epoch, seq + count), f'{{"rows":{number}}}'
    return batches, at, checkpoint


def check(state: Path, centre: Path, promised: int) -> bool:
    """-> whether a transaction was open when the process died."""
    sent: list[dict[tuple[int, int], bytes]] = [{} for _ in NAMES]
    for line in centre.read_text().splitlines() if centre.exists() else []:
        stream, epoch, seq, chain = line.split()
        # a batch may be sent again when its deletion was lost; then it is the very same
        assert sent[int(stream)].setdefault((int(epoch), int(seq)), bytes.fromhex(chain)) == bytes.fromhex(chain)
    with closing(Outbox.open(state, OutboxConfig(free_disk=0))) as outbox, closing(outbox.reader()) as reader:
        log = outbox.log(*WHERE)
        whole = int(log.checkpoint) if log else 0
        assert whole >= promised
        after_crash = [shown(reader, outbox.stream(name)) for name in NAMES]
        discarded = outbox.discard_open(*WHERE)
        for number, name in enumerate(NAMES):
            record = outbox.stream(name)
            batches, end, checkpoint = expected(whole, number)
            assert ((record.epoch, record.next_seq), record.checkpoint) == (end, checkpoint)
            assert shown(reader, record) == after_crash[number]
            assert sorted({*sent[number], *after_crash[number]}) == batches
            last = GENESIS
            for at in batches:
                kept = reader.next_batch(record.id, (at[0], at[1] - 1)) if at in after_crash[number] else None
                if kept is not None:
                    check_digests(kept)
                    assert parse_header(kept.header).previous_chain == last
                    assert sent[number].get(at, kept.chain) == kept.chain
                last = kept.chain if kept is not None else sent[number][at]
            assert record.chain == last
    return discarded > 0
