"""The bill of materials in CycloneDX 1.5: every wheel with its hash, the interpreter and what is linked into it."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
import zipfile
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final

from forebay_packages.product import EPOCH, ROOT, Architecture, Product

_SOURCE: Final = re.compile(r"^([0-9a-f]{64})  (.+)_(.+)\.dsc$", re.MULTILINE)


def lay(product: Product, architecture: Architecture, interpreter: Path, fetched: list[Path], root: Path) -> None:
    """Writes /usr/share/doc/<name>/sbom.cdx.json."""
    itself = {
        "type": "application",
        "bom-ref": product.name,
        "name": product.name,
        "version": product.version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    components = [*_linked(), *(_wheel(file) for file in fetched)]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "serialNumber": f"urn:uuid:{_serial(product, architecture, components)}",
        "metadata": {
            "timestamp": datetime.fromtimestamp(EPOCH, UTC).isoformat(),
            "component": itself,
            "properties": [{"name": "forebay:architecture", "value": architecture.debian}],
        },
        "components": components,
        "dependencies": [{"ref": product.name, "dependsOn": [component["bom-ref"] for component in components]}],
    }
    file = root / "usr/share/doc" / product.name / "sbom.cdx.json"
    file.write_text(json.dumps(bill, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _linked() -> list[dict[str, Any]]:
    """The interpreter and the libraries in it, as Debian's source packages that they were built from."""
    found = _SOURCE.findall((ROOT / "packaging" / "sources.sha256").read_text("utf-8"))
    return [
        {
            "type": "library",
            "bom-ref": f"pkg:deb/debian/{name}@{version}?arch=source",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{name}@{version}?arch=source",
            "hashes": [{"alg": "SHA-256", "content": digest}],
        }
        for digest, name, version in found
    ]


def _wheel(file: Path) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        about = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        said = HeaderParser().parsestr(archive.read(about).decode("utf-8"))
    name, version = str(said["Name"]).lower(), str(said["Version"])
    licence = said["License-Expression"] or said["License"] or ""
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}],
    }
    if licence and "\n" not in licence and len(licence) < 200:
        component["licenses"] = [{"license": {"name": licence}}]
    return component


def _serial(product: Product, architecture: Architecture, components: list[dict[str, Any]]) -> uuid.UUID:
    """The same for the same contents."""
    text = f"{product.name} {product.version} {architecture.debian} {json.dumps(components)}"
    return uuid.uuid5(uuid.NAMESPACE_URL, text)
