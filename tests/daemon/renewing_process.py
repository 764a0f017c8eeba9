"""Renews a certificate and is killed on the way: `python -m tests.daemon.renewing_process STATE`.

Reads numbers from standard input. For each, a child of its own renews the identity in STATE and kills itself (-9) before it
executes that line of the code that renews, counted from 1; then one line tells `killed` or `done`. Children are forked
before gRPC has begun anything, so that one costs little.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

from forebay_agent import durable, entrance, identity, renewal
from forebay_agent.config.model import CollectorConfig
from forebay_agent.entrance import Entrance
from forebay_agent.pulse import Pulses

TRACED: Final = {module.__file__ for module in (durable, entrance, identity, renewal, shutil)}


def main(state: Path) -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _renew(state, int(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        told = "killed" if killed else "done" if status == 0 else f"failed {status}"
        sys.stdout.write(f"{told}\n")
        sys.stdout.flush()


def _renew(state: Path, lines: int) -> None:
    left = lines

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    renewing = renewal.Renewal(state, CollectorConfig(), Entrance(state), Pulses(lambda: 0.0), lambda: None)
    sys.settrace(trace)
    renewing.rotate()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
