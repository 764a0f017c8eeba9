"""An appliance has little memory: what a busy time left unused goes back to the system."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

from forebay_agent.memory import Slack

MIB = 1 << 20
_FREED = """
import forebay_agent.memory as memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
memory.keep_small()
held = [bytearray(1000) for _ in range(100_000)]
kept = held[-1]  # at the end of the heap: what lies below it stays with the process
del held
before = resident()
memory.give_back()
print(before - resident())
"""


def looked(sealed: list[int]) -> list[int]:
    """-> at which looks memory was given back."""
    given: list[bool] = []
    slack = Slack(lambda: given.append(True))
    counts = []
    for each in sealed:
        slack.look(each)
        counts.append(len(given))
    return [at for at, (before, after) in enumerate(pairwise([0, *counts])) if after > before]


def test_after_a_busy_time_once() -> None:
    assert looked([0, 8 * MIB, 40 * MIB, 80 * MIB, 80 * MIB, 80 * MIB, 80 * MIB]) == [4]
    assert looked([20 * MIB, 20 * MIB, 50 * MIB, 50 * MIB]) == [1, 3]


def test_neither_while_it_is_busy_nor_for_a_few_changes() -> None:
    assert looked([each * MIB for each in range(0, 200, 5)]) == []
    assert looked([0, 0, 1, 1, 2, 2, MIB, MIB]) == []


def test_what_was_freed_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", _FREED], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) > 50 * MIB
