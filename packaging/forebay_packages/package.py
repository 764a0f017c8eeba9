"""A .deb and an .rpm of one tree, by nfpm; their times and their order do not depend on when and where they are made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from forebay_packages.product import EPOCH, GLIBC, ROOT, Architecture, Product
from forebay_packages.running import TOOLS, run
from forebay_packages.tree import settle

_FOLDERS: Final = {
    "forebay-agent": "/etc/forebay-agent /etc/forebay-agent/sources.d /etc/forebay-agent/secrets /var/lib/forebay-agent",
    "forebay-collector": "/etc/forebay-collector /etc/forebay-collector/secrets /var/lib/forebay-collector",
}
_NOT_SHIPPED: Final = shutil.ignore_patterns("images", "NEXT.md", "openapi.json")
"""of docs: what nobody reads on a machine that it is installed on"""
_GLIBC: Final = ".".join(map(str, GLIBC))
_DEPENDS: Final[dict[str, list[str]]] = {
    "deb": [f"libc6 (>= {_GLIBC})", "libstdc++6 (>= 8)", "libgcc-s1 | libgcc1", "zlib1g", "systemd"],
    "rpm": [f"glibc >= {_GLIBC}", "libstdc++ >= 8", "libgcc", "libz.so.1()(64bit)", "systemd"],
}


def lay_system_files(product: Product, root: Path) -> None:
    """Units, users, folders and the guides, beside the tree."""
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for file in _units(product):
        shutil.copyfile(file, units / file.name)
    for folder in sorted((ROOT / "systemd").glob(f"{product.name}*.service.d")):
        shutil.copytree(folder, units / folder.name)
    for kind in ("sysusers", "tmpfiles"):
        folder = root / "usr/lib" / f"{kind}.d"
        folder.mkdir(parents=True)
        shutil.copyfile(ROOT / "systemd" / f"{product.name}.{kind}", folder / f"{product.name}.conf")
    shutil.copytree(ROOT / "docs", root / "usr/share/doc" / product.name, ignore=_NOT_SHIPPED, dirs_exist_ok=True)
    settle(root)


def pack(
    product: Product,
    architecture: Architecture,
    root: Path,
    work: Path,
    into: Path,
    kinds: Sequence[str] = ("deb", "rpm"),
    compression: str = "xz",
) -> list[Path]:
    """-> the packages of these kinds, in `into`. compression: `gzip` is quicker and a third larger."""
    scripts = work / f"scripts-{product.name}"
    scripts.mkdir(parents=True, exist_ok=True)
    for kind in ("preinst", "postinst", "prerm", "postrm"):
        text = (ROOT / "packaging" / "scripts" / f"{kind}.sh").read_text("utf-8")
        text = text.replace("@NAME@", product.name).replace("@FOLDERS@", _FOLDERS[product.name])
        text = text.replace("@UNITS@", " ".join(file.name for file in _units(product) if "@" not in file.name))
        (scripts / kind).write_text(text, "utf-8")
    names = {
        "deb": f"{product.name}_{product.version}_{architecture.debian}.deb",
        "rpm": f"{product.name}-{product.version}-1.{architecture.rpm}.rpm",
    }
    made = []
    for kind in kinds:
        name = names[kind]
        described = work / f"{product.name}-{architecture.debian}-{kind}.json"
        # JSON is YAML, and needs no library
        described.write_text(
            json.dumps(_described(product, architecture, kind, root, scripts, compression), indent=1), "utf-8"
        )
        into.mkdir(parents=True, exist_ok=True)
        run([TOOLS / "nfpm", "package", "-f", described, "-p", kind, "-t", into / name])
        made.append(into / name)
    return made


def _described(
    product: Product, architecture: Architecture, kind: str, root: Path, scripts: Path, compression: str
) -> dict[str, Any]:
    return {
        "name": product.name,
        "arch": architecture.debian if kind == "deb" else architecture.rpm,
        "platform": "linux",
        "version": product.version,
        "release": "1" if kind == "rpm" else "",
        "section": "database",
        "priority": "optional",
        "maintainer": "Forebay <forebay@localhost>",
        "description": f"{product.summary[0].upper()}{product.summary[1:]}",
        "license": "Apache-2.0",
        "mtime": f"{_moment()}",
        "depends": _DEPENDS[kind],
        "contents": _contents(root),
        "scripts": {
            "preinstall": str(scripts / "preinst"),
            "postinstall": str(scripts / "postinst"),
            "preremove": str(scripts / "prerm"),
            "postremove": str(scripts / "postrm"),
        },
        "deb": {"compression": compression},
        "rpm": {"compression": compression, "buildhost": "forebay"},
    }


def _contents(root: Path) -> list[dict[str, Any]]:
    """Every file by itself: folders that the system owns too (/usr/bin) are not claimed."""
    contents: list[dict[str, Any]] = []
    for path in sorted(root.rglob("*")):
        target = "/" + str(path.relative_to(root))
        if path.is_symlink():
            contents.append({"src": str(path.readlink()), "dst": target, "type": "symlink"})
        elif path.is_file():
            mode = path.stat().st_mode & 0o777
            contents.append({"src": str(path), "dst": target, "file_info": {"mode": mode, "mtime": _moment()}})
        elif target.startswith(("/usr/lib/forebay-", "/usr/share/doc/forebay-")):
            contents.append({"dst": target, "type": "dir", "file_info": {"mode": 0o755, "mtime": _moment()}})
    return contents


def _moment() -> str:
    return datetime.fromtimestamp(EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _units(product: Product) -> list[Path]:
    found = [*(ROOT / "systemd").glob(f"{product.name}*.service"), *(ROOT / "systemd").glob(f"{product.name}*.timer")]
    return sorted(found)
