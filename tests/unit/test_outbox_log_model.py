"""The outbox under random log capture, against plain lists."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from forebay_agent.config.model import OutboxConfig
from forebay_agent.outbox import LogRecord, Outbox
from forebay_wire.digest import GENESIS
from forebay_wire.stream import StreamName
from tests.daemon.log_puts import put_of, shown
from tests.receiving.batches import SCHEMA, STREAM

CONFIG = OutboxConfig()
WHERE = (STREAM.department, STREAM.source)
NAMES = [StreamName(*WHERE, f"public.t{number}") for number in range(3)]


class Played:
    """An outbox and the lists that it must equal. hidden: per stream, from which batch on they are not shown. taken: how
    many the collector has."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder = folder
        self.draw = draw
        self.outbox = Outbox.open(folder, CONFIG)
        self.records = {name: self.outbox.stream(name) for name in NAMES}
        self.batches: dict[StreamName, list[bytes]] = {name: [] for name in NAMES}
        self.hidden: dict[StreamName, int] = {}
        self.taken = dict.fromkeys(NAMES, 0)
        self.log: LogRecord | None = None
        self.step = 0

    def put_log(self, *, is_open: bool) -> None:
        log = LogRecord(str(self.step), frozenset(name.table for name in NAMES))
        puts = [
            put_of(
                self.records[name], self.draw.randint(0, 3), f'{{"rows":{self.step}}}', epochs=self.draw.random() < 0.2
            )
            for name in self.draw.sample(NAMES, self.draw.randint(0, 3))
        ]
        self.outbox.put_log(*WHERE, puts, log, open=is_open)
        for put in puts:
            name = put.before.name
            if is_open:
                self.hidden.setdefault(name, len(self.batches[name]))
            self.batches[name] += [batch.chain for batch in put.batches]
            self.records[name] = put.after
        if not is_open:
            self.hidden, self.log = {}, log

    def put(self) -> None:
        name = self.draw.choice(NAMES)
        if name not in self.hidden:
            put = put_of(self.records[name], 2)
            self.records[name] = self.outbox.put(self.records[name], put.batches, "{}", schema=SCHEMA)
            self.batches[name] += [batch.chain for batch in put.batches]

    def discard(self) -> None:
        gone = sum(len(self.batches[name]) - start for name, start in self.hidden.items())
        assert self.outbox.discard_open(*WHERE) == gone
        for name, start in self.hidden.items():
            del self.batches[name][start:]
            self.records[name] = self.outbox.stream(name)
        self.hidden = {}

    def delete(self) -> None:
        name = self.draw.choice(NAMES)
        with closing(self.outbox.reader()) as reader:
            waiting = shown(reader, self.records[name])
        if waiting:
            through = self.draw.randrange(len(waiting))
            self.outbox.delete({self.records[name].id: waiting[through]})
            self.taken[name] += through + 1

    def reset(self) -> None:
        name = self.draw.choice(NAMES)
        with closing(Outbox.open(self.folder, CONFIG, check=False)) as cli:
            self.records[name] = cli.reset(name, who="model", why="drawn")
        if name in self.hidden:
            del self.batches[name][self.hidden.pop(name) :]

    def restart(self) -> None:
        self.outbox.close()
        self.outbox = Outbox.open(self.folder, CONFIG)

    def check(self) -> None:
        with closing(self.outbox.reader()) as reader:
            for name in NAMES:
                assert self.outbox.stream(name) == self.records[name]
                visible = self.batches[name][self.taken[name] : self.hidden.get(name)]
                assert [batch.chain for batch in reader.waiting(self.records[name].id)] == visible
                assert self.records[name].chain == [GENESIS, *self.batches[name]][-1]
                shown(reader, self.records[name])
        assert self.outbox.log(*WHERE) == self.log


@pytest.mark.parametrize("seed", range(8))
def test_the_outbox_behaves_as_lists_whatever_log_capture_does(tmp_path: Path, seed: int) -> None:
    """Random open and closing puts over several streams, discards, deletes, resets, new epochs and restarts."""
    draw = random.Random(seed)
    played = Played(tmp_path, draw)
    chances = {
        "open": lambda: played.put_log(is_open=True),
        "close": lambda: played.put_log(is_open=False),
        "put": played.put,
        "discard": played.discard,
        "delete": played.delete,
        "reset": played.reset,
        "restart": played.restart,
    }
    for step in range(120):
        played.step = step
        chances[
            draw.choice(["open", "open", "close", "close", "put", "discard", "delete", "delete", "reset", "restart"])
        ]()
        played.check()
    played.outbox.put_log(*WHERE, [], LogRecord("end", frozenset()), open=False)
    held = sum(len(played.batches[name]) - played.taken[name] for name in NAMES)
    assert played.outbox.state().batches == held
    played.outbox.close()
