"""What a compiled file asks of the system: its libraries, and the versions of the symbols that it takes from them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAGIC: Final = b"\x7fELF"
_VERSION: Final = re.compile(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC)_([0-9.]+)")
_NEEDED: Final = re.compile(r"\(NEEDED\)\s+Shared library: \[(.+)\]")


@dataclass(frozen=True, slots=True)
class Needs:
    """libraries: by soname. versions: the newest of each kind (`GLIBC`, `GLIBCXX`, …) as numbers."""

    libraries: frozenset[str]
    versions: dict[str, tuple[int, ...]]


def compiled_files(folder: Path) -> Iterator[Path]:
    """Every ELF file under a folder, links left aside, in order of name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as stream:
                if stream.read(4) == _MAGIC:
                    yield path


def needs(file: Path) -> Needs:
    """Raises CalledProcessError when binutils cannot read the file."""
    said = subprocess.run(
        ["/usr/bin/readelf", "-W", "-d", "-V", str(file)],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C"},
    ).stdout
    versions: dict[str, tuple[int, ...]] = {}
    # only what is needed: a library's own definitions stand in a section of their own
    wanted = said[said.find("Version needs section") :] if "Version needs section" in said else ""
    for kind, number in _VERSION.findall(wanted):
        version = tuple(int(part) for part in number.strip(".").split("."))
        versions[kind] = max(versions.get(kind, ()), version)
    return Needs(frozenset(_NEEDED.findall(said)), versions)
