"""The package of the version before this one: its own code and kernels, of its commit, on this one's interpreter and wheels."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

from forebay_packages import kernels, package, tree
from forebay_packages.product import AGENT, ARCHITECTURES, PYTHON, ROOT
from tests.systemd.box import run

PREVIOUS: Final = "82075a68f11ef458c9b52087b091e2e89589bc0a"
"""the first commit that had packages; none was ever released. Its outbox has format 2, its wire no canonical digests."""
PREVIOUS_FORMAT: Final = 2

_WORK = ROOT / "build" / "packages"
_AMD64 = ARCHITECTURES["amd64"]


def previous(into: Path) -> Path:
    """A .deb of it, called 0.0.9. Needs the repository's history."""
    source, root = into / "source", into / "previous"
    source.mkdir(parents=True)
    archive = into / "source.tar"
    run("git", "-C", str(ROOT), "archive", "-o", str(archive), PREVIOUS, "proto", "agent", "systemd")
    run("tar", "-C", str(source), "-xf", str(archive))
    shutil.copytree(_WORK / "trees" / "forebay-agent-amd64", root, symlinks=True)
    site = root / "usr/lib/forebay-agent/lib" / PYTHON / "site-packages"
    for name in ("forebay_agent", "forebay_wire"):
        shutil.rmtree(site / name)
        for about in site.glob(f"{name}-*.dist-info"):
            shutil.rmtree(about)
    for distribution in AGENT.distributions:
        tree.lay_distribution(source / distribution, site)
        kernels.build(source / distribution, _AMD64, _WORK / "python-amd64", into / "work", site)
    for unit in (root / "usr/lib/systemd/system").iterdir():
        unit.unlink()
        if (source / "systemd" / unit.name).exists():
            shutil.copyfile(source / "systemd" / unit.name, unit)
    tree.compile_bytecode(AGENT, _WORK, root)
    tree.settle(root)
    (made,) = package.pack(replace(AGENT, called="0.0.9"), _AMD64, root, into / "work", into, ("deb",), "gzip")
    return made
