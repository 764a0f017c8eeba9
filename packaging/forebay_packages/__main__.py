"""`python -m forebay_packages`: builds what is asked for into build/packages, and prints the sizes."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from forebay_packages import bundle, package, tree
from forebay_packages.product import ARCHITECTURES, PRODUCTS, ROOT
from forebay_packages.running import run

_MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="forebay_packages", description=__doc__)
    parser.add_argument("--arch", default="amd64", help="architectures, with commas between: amd64,arm64")
    parser.add_argument("--product", default=",".join(PRODUCTS), help="products, with commas between")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "packages", help="interpreters, wheels, trees")
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "packages" / "out", help="where packages go")
    options = parser.parse_args()
    work, into = options.work.absolute(), options.into.absolute()
    for arch in options.arch.split(","):
        architecture = ARCHITECTURES[arch]
        for needed in dict.fromkeys(("amd64", arch)):
            run([ROOT / "packaging" / "interpreter.sh", needed, work])
        made: list[Path] = []
        for product in (PRODUCTS[name] for name in options.product.split(",")):
            began = time.monotonic()
            root = work / "trees" / f"{product.name}-{arch}"
            tree.lay(product, architecture, work, root)
            package.lay_system_files(product, root)
            files = package.pack(product, architecture, root, work, into)
            made += files
            print(
                f"{product.name} {product.version} {arch}: installed {tree.installed_bytes(root) / _MIB:.1f} MiB",
                end="",
            )
            for file in files:
                print(f", {file.name} {file.stat().st_size / _MIB:.1f} MiB", end="")
            print(f"; {time.monotonic() - began:.0f} s\n  largest (MiB): {tree.sizes(root)}", flush=True)
        if len(made) == 2 * len(PRODUCTS):
            whole = bundle.make(made, architecture, work, into)
            print(f"{whole.name} {whole.stat().st_size / _MIB:.1f} MiB")


main()
