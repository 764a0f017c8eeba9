"""Two builds give the same bytes: of tree, .deb and .rpm, in folders with other names, on what `make packages` left."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from forebay_packages import bundle, package, tree
from forebay_packages.product import AGENT, ARCHITECTURES, ROOT

WORK = ROOT / "build" / "packages"
AMD64 = ARCHITECTURES["amd64"]
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (WORK / "python-amd64/stamp").exists(), reason="no packages were built: make packages"),
]


def built(folder: Path) -> list[Path]:
    """A whole build but for the interpreter and the fetching of wheels, which are shared."""
    folder.mkdir()
    (folder / "python-amd64").symlink_to(WORK / "python-amd64")
    (folder / "wheels-forebay-agent-amd64").symlink_to(WORK / "wheels-forebay-agent-amd64")
    root = folder / "tree"
    tree.lay(AGENT, AMD64, folder, root)
    package.lay_system_files(AGENT, root)
    made = package.pack(AGENT, AMD64, root, folder, folder / "out")
    return [*made, bundle.make(made, AMD64, folder, folder)]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_two_builds_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOREBAY_SIGNING_KEY", raising=False)
    one = built(tmp_path / "one")
    two = built(tmp_path / "another-folder-with-a-longer-name")
    first, second = digests(tmp_path / "one" / "tree"), digests(tmp_path / "another-folder-with-a-longer-name" / "tree")
    assert {name for name in first if first[name] != second.get(name)} == set()
    assert set(first) == set(second)
    for before, after in zip(one, two, strict=True):
        assert before.name == after.name
        assert before.read_bytes() == after.read_bytes(), before.name
