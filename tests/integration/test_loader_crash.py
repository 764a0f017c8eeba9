"""A loader that is killed between the platform's commit and the ledger: the platform's own mark settles it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
