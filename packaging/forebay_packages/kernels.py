"""Our own compiled kernels, for any architecture, against the oldest glibc that is promised."""

from __future__ import annotations

import sys
from pathlib import Path

from forebay_packages.product import GLIBC, PYTHON, ROOT, Architecture
from forebay_packages.running import run


def build(distribution: str, architecture: Architecture, interpreter: Path, work: Path, site: Path) -> None:
    """Compiles every kernel of a distribution, if it has some, into its package under site-packages.

    distribution: its folder in the repository. interpreter: the tree whose headers are compiled against.
    """
    target = f"{architecture.machine}-linux-gnu.{GLIBC[0]}.{GLIBC[1]}"
    folder = work / "kernels" / f"{distribution}-{architecture.debian}"
    folder.mkdir(parents=True, exist_ok=True)
    for kernel in sorted((ROOT / distribution).glob("forebay_*/kernel/*.pyx")):
        # named from the distribution on: the generated code repeats the name
        source = kernel.relative_to(ROOT / distribution)
        generated = folder / f"{kernel.stem}.c"
        run([sys.executable, "-m", "cython", "-3", source, "-o", generated], where=ROOT / distribution)
        made = site / source.parent / f"{kernel.stem}.cpython-311-{architecture.machine}-linux-gnu.so"
        run(
            [
                *(sys.executable, "-m", "ziglang", "cc", "-target", target, "-shared", "-fPIC", "-O3", "-g0", "-s"),
                *("-fno-sanitize=undefined", "-fwrapv", "-DNDEBUG", f"-ffile-prefix-map={folder}=."),
                *("-I", interpreter / "include" / PYTHON, generated.name, "-o", made, "-lm"),
            ],
            where=folder,
        )
