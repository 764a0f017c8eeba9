"""The agent's compiled kernels, for any architecture, against the oldest glibc that is promised."""

from __future__ import annotations

import sys
from pathlib import Path

from forebay_packages.product import GLIBC, PYTHON, ROOT, Architecture
from forebay_packages.running import run

_SOURCE = ROOT / "agent" / "forebay_agent" / "kernel"


def build(architecture: Architecture, interpreter: Path, folder: Path, into: Path) -> None:
    """Compiles every kernel into `into`. interpreter: the tree whose headers are compiled against."""
    folder.mkdir(parents=True, exist_ok=True)
    target = f"{architecture.machine}-linux-gnu.{GLIBC[0]}.{GLIBC[1]}"
    for kernel in sorted(_SOURCE.glob("*.pyx")):
        generated = folder / f"{kernel.stem}.c"
        # named from the repository on: the generated code repeats the name
        run(
            [sys.executable, "-m", "cython", "-3", kernel.relative_to(ROOT / "agent"), "-o", generated],
            where=ROOT / "agent",
        )
        made = into / f"{kernel.stem}.cpython-311-{architecture.machine}-linux-gnu.so"
        run(
            [
                *(sys.executable, "-m", "ziglang", "cc", "-target", target, "-shared", "-fPIC", "-O3", "-g0", "-s"),
                *("-fno-sanitize=undefined", "-fwrapv", "-DNDEBUG", f"-ffile-prefix-map={folder}=."),
                *("-I", interpreter / "include" / PYTHON, generated.name, "-o", made, "-lm"),
            ],
            where=folder,
        )
