"""A loader that is killed between the platform's commit and the ledger: the platform's own mark settles it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forebay_collector.ledger import BatchState
from forebay_collector.load import quarantine
from forebay_wire.key_range import KeyRange
from forebay_wire.seal import Link, SealedBatch, seal
from tests.loading.stage import Stage
from tests.receiving.batches import SCHEMA, STREAM, chained, rows

_CHILD = """
import os, pathlib, signal, sys
from tests.loading.stage import Stage
from tests.receiving.batches import STREAM

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

stage = Stage(pathlib.Path(sys.argv[1]))
stage.ledger.batches.mark_loaded = die
stage.loader().load_step(STREAM)
print("was not killed")
"""


def load_and_die(folder: Path) -> None:
    """Loads in a process that is killed -9 after the platform's commit, before the ledger hears of it."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == -9, done.stdout + done.stderr


_KILLED_AT_A_COMMIT = """
import os, pathlib, signal, sys
from pyiceberg.catalog.sql import SqlCatalog
from forebay_collector.load.group import GroupSize
from tests.loading.stage import Stage
from tests.receiving.batches import STREAM

left, after = int(sys.argv[2]), sys.argv[3] == "after"
real = SqlCatalog.commit_table

def commit(*arguments):
    global left
    left -= 1
    if left == 0 and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(*arguments)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

SqlCatalog.commit_table = commit
stage = Stage(pathlib.Path(sys.argv[1]))
loader = stage.loader(size=GroupSize(raw_bytes=1, linger_s=0))
loader.settle()
while loader.load_step(STREAM):
    stage.platform.maintain(STREAM)
stage.close()
"""


def anew(first: int, count: int, link: Link, bounds: KeyRange | None = None) -> list[SealedBatch]:
    """A snapshot of `count` batches of two rows each, an open transaction between them."""
    made: list[SealedBatch] = []
    for number in range(count):
        part = number % 3 != 1  # else it is of the log, and its transaction goes on in the batch after it
        more: dict[str, Any] = {"ends_transaction": part}
        if part:
            more |= {"snapshot": 2, "last_of_snapshot": number == count - 1}
            more |= {"first_seq": link.seq, "key_range": bounds} if bounds is not None else {}
        content = rows(first + 2 * number, 2)
        made.append(seal(STREAM, link if not made else link.after(made[-1]), SCHEMA, content, captured_at_us=1, **more))
    return made


@pytest.mark.parametrize("what", ["a table taken anew", "a range taken anew"])
def test_killed_at_any_commit_readers_see_old_or_new_and_never_half(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "collector"
    stage = Stage(folder)
    before = chained(2)
    if what == "a table taken anew":
        after = anew(100, 4, Link(2, 1, before[-1].chain))
        new = set(range(100, 108))
    else:
        after = anew(100, 4, Link(1, 3, before[-1].chain), KeyRange("5", "1000"))
        new = {3, 4, *range(100, 108)}
    old = set(range(3, 9))
    stage.receive([*before, *after])
    stage.close()
    seen, kills = set(), 0
    for round_ in range(60):
        arguments = [str(folder), str(1 + round_ % 3), "after" if round_ % 2 else "before"]
        done = subprocess.run(
            [sys.executable, "-c", _KILLED_AT_A_COMMIT, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode in (0, -9), done.stderr
        stage = Stage(folder)
        shown = frozenset(stage.mirror(STREAM))
        stage.close()
        seen.add(shown)
        assert shown in (frozenset(), frozenset({3, 4, 5}), old, new), "readers see half of it"
        kills += done.returncode != 0
        if done.returncode == 0:
            break
    assert old in seen
    assert kills > 3
    stage = Stage(folder)
    assert set(stage.mirror(STREAM)) == new
    assert stage.loaded(STREAM) == (after[-1].epoch, after[-1].seq)
    assert len(stage.history(STREAM)) == 6 + 8
    stage.close()


def test_a_crash_between_load_and_ledger_is_settled_by_the_platforms_own_mark(tmp_path: Path) -> None:
    folder = tmp_path / "collector"
    stage = Stage(folder)
    stage.receive(chained(4))
    stage.close()

    load_and_die(folder)

    stage = Stage(folder)
    assert stage.loaded(STREAM) == (0, 0), "the ledger did not hear of the load"
    mark = stage.platform.mark(STREAM)
    assert (mark.epoch, mark.seq) == (1, 4), "the platform has it"
    loader = stage.loader()
    loader.settle()
    assert stage.loaded(STREAM) == (1, 4)
    assert not loader.load_step(STREAM)
    assert stage.history(STREAM) == [(seq, row) for seq in range(1, 5) for row in range(3)]
    assert stage.told == [(STREAM, 1, 4)]
    stage.close()


def test_even_without_settling_nothing_is_loaded_twice(tmp_path: Path) -> None:
    folder = tmp_path / "collector"
    stage = Stage(folder)
    stage.receive(chained(4))
    stage.close()

    load_and_die(folder)

    stage = Stage(folder)
    assert stage.loader().load_step(STREAM)
    assert stage.loaded(STREAM) == (1, 4)
    assert stage.history(STREAM) == [(seq, row) for seq in range(1, 5) for row in range(3)]
    stage.close()


@pytest.mark.parametrize("gone", ["all of it", "its newest loads"])
def test_a_platform_that_lost_loads_is_brought_up_from_the_archive(tmp_path: Path, gone: str) -> None:
    folder = tmp_path / "collector"
    copy = tmp_path / "copy"
    stage = Stage(folder)
    batches = chained(6)
    stage.receive(batches[:3])
    stage.loader().load_step(STREAM)
    shutil.copytree(stage.settings.data.platform, copy)
    stage.receive(batches[3:5])
    stage.loader().load_step(STREAM)
    stage.receive(batches[5:])
    stage.close()

    shutil.rmtree(stage.settings.data.platform)
    if gone == "its newest loads":
        copy.rename(stage.settings.data.platform)

    stage = Stage(folder)
    loader = stage.loader()
    loader.settle()
    assert stage.loaded(STREAM) == (1, 5), "the ledger's mark never moves back"
    assert loader.load_step(STREAM)
    assert stage.history(STREAM) == [(seq, row) for seq in range(1, 7) for row in range(3)]
    assert len(stage.mirror(STREAM)) == 18
    stage.close()


def test_a_lost_load_that_the_archive_does_not_hold_any_more_holds_the_stream_instead_of_leaving_a_gap(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "collector"
    stage = Stage(folder)
    batches = chained(4)
    stage.receive(batches[:3])
    stage.loader().load_step(STREAM)
    stage.receive(batches[3:])
    stage.archive.delete(STREAM, 1, 2)
    stage.close()
    shutil.rmtree(stage.settings.data.platform)

    stage = Stage(folder)
    loader = stage.loader()
    loader.settle()
    assert not loader.load_step(STREAM)
    assert stage.states(STREAM)[4] is BatchState.QUARANTINED
    record = stage.ledger.streams.get(STREAM)
    assert record is not None
    assert record.hold is not None
    assert record.hold.code == "FB-ARCHIVE-MISSING"
    stage.archive.write(batches[1])
    stage.archive.sync()
    quarantine.replay(stage.ledger, STREAM, None, who="ops", why="restored")
    assert loader.load_step(STREAM)
    assert {seq for seq, _ in stage.history(STREAM)} == {1, 2, 3, 4}
    stage.close()
