"""The offline bundle: packages of one architecture, `install.sh`, SHA256SUMS and, where a key is named, its signature."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from forebay_packages.product import AGENT, EPOCH, ROOT, Architecture
from forebay_packages.running import run


def make(packages: Sequence[Path], architecture: Architecture, work: Path, into: Path) -> Path:
    """-> `forebay-<version>-<arch>.tar`. FOREBAY_SIGNING_KEY names the key of gpg that signs; without it nothing is signed."""
    name = f"forebay-{AGENT.version}-{architecture.debian}"
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in packages:
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(ROOT / "packaging" / "install.sh", folder / "install.sh")
    for guide in sorted((ROOT / "docs" / "guides").glob("*/install.md")):
        shutil.copyfile(guide, folder / f"install.{guide.parent.name}.md")
    listed = sorted(folder.iterdir())
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in listed), "utf-8")
    if key := os.environ.get("FOREBAY_SIGNING_KEY"):
        run(["gpg", "--batch", "--yes", "--local-user", key, "--armor", "--detach-sign", "-o", f"{sums}.asc", sums])
    bundle = into / f"{name}.tar"
    with tarfile.open(bundle, "w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, f"{name}/{file.name}", filter=_plain)
    return bundle


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = EPOCH
    entry.mode = 0o755 if entry.name.endswith(".sh") else 0o644
    return entry
