"""The licences of everything in the tree, under /usr/share/doc."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from forebay_packages.product import ROOT, Product

_NAMES: Final = re.compile(r"(licen[cs]e|copying|notice|authors)", re.IGNORECASE)


def lay(product: Product, interpreter: Path, site: Path, root: Path) -> None:
    """`copyright` (ours, and where the others stand) and `licences/<package>/…`; moved there from the wheels' metadata."""
    folder = root / "usr/share/doc" / product.name
    folder.mkdir(parents=True)
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    for file in sorted((interpreter / "licences").iterdir()):
        _put(file, folder / "licences" / "interpreter" / file.name)
    for about in sorted(site.glob("*.dist-info")):
        for file in sorted(about.rglob("*")):
            if file.is_file() and (_NAMES.search(file.name) or "licenses" in file.parts):
                _put(file, folder / "licences" / about.name.removesuffix(".dist-info") / file.name)
                file.unlink()
        for place in sorted((path for path in about.rglob("*") if path.is_dir()), reverse=True):
            if not any(place.iterdir()):
                place.rmdir()
    (folder / "copyright").write_text(
        f"{product.name} is licensed under the Apache License 2.0, see LICENSE beside this file.\n"
        "It is installed together with an interpreter and libraries of others: what they are stands in sbom.cdx.json,\n"
        "their licences under licences/.\n",
        "utf-8",
    )


def _put(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
