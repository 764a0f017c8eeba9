"""The locked wheels of one architecture: fetched by pip, every one checked against its hash in the lock."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

from forebay_packages.product import Architecture, Product, is_unused
from forebay_packages.running import TOOLS, run

_TAGS: Final = (
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_26",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
)


def fetch(product: Product, architecture: Architecture, folder: Path) -> list[Path]:
    """-> the wheels, in order of name. What is in the folder already is checked, not fetched again."""
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [f"--platform={tag}_{architecture.machine}" for tag in _TAGS]
    run(
        [
            *(TOOLS / "python", "-m", "pip", "download", "-q", "--disable-pip-version-check", "--require-hashes"),
            *("--no-deps", "--only-binary=:all:", "--python-version=3.11", "--implementation=cp"),
            *("--abi=cp311", "--abi=abi3", "--abi=none", *platforms),
            *("--find-links", folder, "-r", product.lock, "-d", folder),
        ]
    )
    return sorted(folder.glob("*.whl"))


def unpack(wheel: Path, product: Product, site: Path) -> None:
    """Lays a wheel's files into site-packages, without what the product does not use."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = entry.filename
            top, _, rest = path.partition("/")
            if top.endswith(".data"):
                # purelib and platlib belong into site-packages; scripts and headers are not used
                kind, _, path = rest.partition("/")
                if kind not in ("purelib", "platlib"):
                    continue
            if entry.is_dir() or is_unused(product, path) or path.endswith(".dist-info/RECORD"):
                continue
            target = site / path
            if not target.resolve().is_relative_to(site.resolve()):
                raise SystemExit(f"packages: {wheel.name} would write outside its folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))
            target.chmod(0o644)
