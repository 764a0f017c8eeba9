"""`python -m tests.mutations`: applies each patch to a copy of the tree and shows which tests fail there."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
_TREE: Final = _HERE.parent.parent
_PARTS: Final = ("proto", "agent", "collector", "tests", "pyproject.toml", "docs", "packaging", "bench")
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - .*)?$", re.MULTILINE)
_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Mutation:
    """breaks: the invariant, in words. tests: files that look."""

    name: str
    patch: Path
    breaks: str
    tests: tuple[str, ...]

    @classmethod
    def read(cls, patch: Path) -> Mutation:
        head = patch.read_text("utf-8").partition("\ndiff --git")[0].strip().splitlines()
        tests = next(line.removeprefix("Tests:").split() for line in head if line.startswith("Tests:"))
        return cls(patch.stem, patch, head[0], tuple(tests))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    names = sorted(patch.stem for patch in _HERE.glob("*.patch"))
    parser.add_argument("--only", action="append", choices=names, help="only this one; may be given again")
    arguments = parser.parse_args()
    survived = []
    with tempfile.TemporaryDirectory(prefix="forebay-mutations-") as folder:
        copy = Copy(Path(folder))
        for name in arguments.only or names:
            mutation = Mutation.read(_HERE / f"{name}.patch")
            began = time.monotonic()
            caught = copy.caught_by(mutation)
            took = f"{time.monotonic() - began:.0f} s"
            if caught:
                print(f"{name}: caught ({took}): {', '.join(caught)}", flush=True)
            else:
                survived.append(name)
                print(f"{name}: SURVIVED ({took}): {mutation.breaks}", flush=True)
    if survived:
        print(f"mutations FAILED: {len(survived)} survived: {', '.join(survived)}")
        return 1
    print(f"mutations ok: {len(arguments.only or names)} caught")
    return 0


class Copy:
    """A copy of the tree, with one mutation at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        passed_over = shutil.ignore_patterns("*.egg-info", "node_modules", "images", "build")
        for part in _PARTS:
            source = _TREE / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=passed_over)
            else:
                shutil.copy2(source, folder / part)
        packages = [str(folder / part) for part in ("proto", "agent", "collector")]
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*packages, str(folder)])}
        self._refuse_other_tree()

    def caught_by(self, mutation: Mutation) -> list[str]:
        """The first test that fails in the mutated tree, and not in one that is as it was: that is what CI shows every day."""
        self._patch(mutation)
        try:
            command = [sys.executable, "-m", "pytest", "-q", "--maxfail=1", "--no-header", "-p", "no:cacheprovider"]
            ended = self._run([*command, *mutation.tests])
        finally:
            self._patch(mutation, "--reverse")
        if ended.returncode not in (0, 1):
            raise RuntimeError(
                f"{mutation.name}: pytest exited {ended.returncode}:\n{ended.stdout[-2_000:]}{ended.stderr}"
            )
        return _FAILED.findall(ended.stdout)

    def _patch(self, mutation: Mutation, *options: str) -> None:
        ended = self._run(["patch", "-p1", "--quiet", "--no-backup-if-mismatch", *options, "-i", str(mutation.patch)])
        if ended.returncode != 0:
            raise RuntimeError(f"{mutation.patch} does not fit the code any more: make it anew\n{ended.stdout}")

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def _refuse_other_tree(self) -> None:
        """The mutated code must be what is run."""
        told = "import forebay_agent, forebay_collector, forebay_wire as w;"
        told += "print(forebay_agent.__file__, forebay_collector.__file__, *w.__path__)"
        ended = self._run([sys.executable, "-c", told])
        if ended.returncode != 0 or any(not place.startswith(str(self._folder)) for place in ended.stdout.split()):
            raise RuntimeError(f"not the copy is run, but {ended.stdout.strip()}{ended.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main())
