"""Packages of other versions, made of the tree that was built: what came before, and what may come after."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from forebay_packages import package, tree
from forebay_packages.product import AGENT, ARCHITECTURES, PYTHON, ROOT

_WORK = ROOT / "build" / "packages"
_AMD64 = ARCHITECTURES["amd64"]


def previous(into: Path) -> Path:
    """The version before this one. There is none that was ever shipped: it is this one's code under a lower number."""
    return _packed("0.0.9", _WORK / "trees" / "forebay-agent-amd64", into)


def next_with_another_state(into: Path) -> Path:
    """A version to come, whose outbox has a format that this one does not know."""
    root = into / "next"
    shutil.copytree(_WORK / "trees" / "forebay-agent-amd64", root, symlinks=True)
    outbox = root / "usr/lib/forebay-agent/lib" / PYTHON / "site-packages/forebay_agent/outbox"
    for name, before, after in (
        ("file.py", "FORMAT: Final = 2", "FORMAT: Final = 3"),
        ("upgrade.py", "STEPS: Final = {", "STEPS: Final = {\n    2: (),"),
    ):
        text = (outbox / name).read_text("utf-8")
        assert before in text
        (outbox / name).write_text(text.replace(before, after), "utf-8")
    tree.compile_bytecode(AGENT, _WORK, root)
    tree.settle(root)
    return _packed("0.2.0", root, into)


def _packed(version: str, root: Path, into: Path) -> Path:
    (made,) = package.pack(replace(AGENT, called=version), _AMD64, root, into / "work", into, ("deb",), "gzip")
    return made
