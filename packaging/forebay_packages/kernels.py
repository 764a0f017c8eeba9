"""Our own compiled kernels, for any architecture, against the oldest glibc that is promised."""

from __future__ import annotations

from pathlib import Path

from forebay_packages.product import GLIBC, PYTHON, Architecture
from forebay_packages.running import TOOLS, run


def build(distribution: Path, architecture: Architecture, interpreter: Path, work: Path, site: Path) -> None:
    """Compiles every kernel of a distribution, if it has some, into its package under site-packages.

    distribution: its folder, `agent`. interpreter: the tree whose headers are compiled against.
    """
    target = f"{architecture.machine}-linux-gnu.{GLIBC[0]}.{GLIBC[1]}"
    folder = work / "kernels" / f"{distribution.name}-{architecture.debian}"
    folder.mkdir(parents=True, exist_ok=True)
    for kernel in sorted(distribution.glob("forebay_*/kernel/*.pyx")):
        # named from the distribution on: the generated code repeats the name
        source = kernel.relative_to(distribution)
        generated = folder / f"{kernel.stem}.c"
        run([TOOLS / "python", "-m", "cython", "-3", source, "-o", generated], where=distribution)
        made = site / source.parent / f"{kernel.stem}.cpython-311-{architecture.machine}-linux-gnu.so"
        run(
            [
                *(TOOLS / "python", "-m", "ziglang", "cc", "-target", target, "-shared", "-fPIC", "-O3", "-g0", "-s"),
                *("-fno-sanitize=undefined", "-fwrapv", "-DNDEBUG", f"-ffile-prefix-map={folder}=."),
                *("-I", interpreter / "include" / PYTHON, generated.name, "-o", made, "-lm"),
            ],
            where=folder,
        )
