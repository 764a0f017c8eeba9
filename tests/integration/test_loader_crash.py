"""A loader that is killed between the platform's commit and the ledger: the platform's own mark settles it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forebay_collector.ledger import BatchState
from forebay_collector.load import quarantine
from tests.loading.stage import Stage
from tests.receiving.batches import STREAM, chained

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
