"""`make fuzz`: every decoder for some time, its kernel built with AddressSanitizer and UndefinedBehaviorSanitizer.

The sanitized kernels are built beside the others, in build/sanitized, and looked at first by the processes started here.
An access out of bounds, an overflow or a shift that C does not define ends a process at once, and so the run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fuzz.driver import FAILURES

DECODERS: Final = ("binlog", "pgoutput", "mysql_text", "postgresql_copy")
ROOT: Final = Path(__file__).resolve().parents[2]
SANITIZED: Final = ROOT / "build" / "sanitized"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for each decoder (default 600)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=DECODERS, action="append", default=[])
    parser.add_argument("--atheris", action="store_true", help="guided by coverage of the reference decoders")
    asked = parser.parse_args()
    build()
    failed = []
    for name in asked.only or DECODERS:
        command = [
            sys.executable,
            "-m",
            f"tests.fuzz.{name}",
            "--seconds",
            str(asked.seconds),
            "--seed",
            str(asked.seed),
        ]
        if asked.atheris:
            command.append("--atheris")
        if subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode:
            failed.append(name)
    print(f"fuzz {'FAILED: ' + ', '.join(failed) if failed else 'ok'}; failing inputs stand in {FAILURES}/")
    return 1 if failed else 0


def build() -> None:
    """The agent's package with sanitized kernels, made anew where a source is newer."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.c", "*.egg-info", "build")
    shutil.copytree(ROOT / "agent", SANITIZED, ignore=ignored, dirs_exist_ok=True)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=SANITIZED,
        env={**os.environ, "FOREBAY_SANITIZE": "1"},
        check=True,
    )


def environment() -> dict[str, str]:
    """Of a process that runs the sanitized kernels: the sanitizer's library has to be there before all others."""
    library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return {
        **os.environ,
        "LD_PRELOAD": library.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # else the interpreter's own pools hide what is out of bounds
        "PYTHONPATH": os.pathsep.join((str(SANITIZED), str(ROOT))),
    }


if __name__ == "__main__":
    sys.exit(main())
