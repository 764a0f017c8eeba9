"""What is packaged: two products, two architectures, and what each leaves out of the packages that it depends on."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
GLIBC: Final = (2, 28)
"""The oldest glibc that the packages run on: what pyarrow's and cryptography's wheels ask for (manylinux_2_28)."""
EPOCH: Final = 1_700_000_000
"""The time of every file: the same bytes whenever it is built."""
PYTHON: Final = "python3.11"


@dataclass(frozen=True, slots=True)
class Architecture:
    """One kind of processor under its four names."""

    debian: str
    rpm: str
    machine: str


@dataclass(frozen=True, slots=True)
class Product:
    """One package. `distributions`: the folders of this repository that are in it. `unused`: what of the wheels it does
    without, as patterns of paths under site-packages."""

    name: str
    summary: str
    distributions: tuple[str, ...]
    unused: tuple[str, ...]
    called: str = ""

    @property
    def prefix(self) -> Path:
        """Where the tree stands on the machine that it is installed on."""
        return Path("/usr/lib", self.name)

    @property
    def lock(self) -> Path:
        return ROOT / "requirements" / f"{self.name.removeprefix('forebay-')}.lock"

    @property
    def version(self) -> str:
        if self.called:
            return self.called
        text = (ROOT / self.distributions[-1] / "pyproject.toml").read_text("utf-8")
        return str(tomllib.loads(text)["project"]["version"])


ARCHITECTURES: Final = {
    "amd64": Architecture("amd64", "x86_64", "x86_64"),
    "arm64": Architecture("arm64", "aarch64", "aarch64"),
}

# headers, sources, tests and the parts of pyarrow that nobody here opens: Flight, ORC, most object stores
_UNUSED_OF_ALL: Final = (
    r"pyarrow/(include|tests|includes|src)\b",
    r"pyarrow/.*\.(pyx|pxd|pxi|h|cmake)$",
    r"pyarrow/(libarrow_flight|libarrow_python_flight|_flight|_gcsfs|_azurefs|_hdfs)\.",
    r"pyarrow/(_orc|_substrait|_cuda|_dataset_orc|_pyarrow_cpp_tests)\.",
    r"zstandard/_cffi\.",
    r"(^|.*/)(tests?|__pycache__)/",
    r".*\.(c|cpp|pyi|a)$",
    r"bin/",
    r"grpc/_cython/_credentials/",
)

AGENT: Final = Product(
    name="forebay-agent",
    summary="captures every committed change of a department's shared tables and streams it to the centre",
    distributions=("proto", "agent"),
    unused=(
        *_UNUSED_OF_ALL,
        r"pyarrow/(_parquet|_parquet_encryption|_dataset|_dataset_parquet|_dataset_parquet_encryption|_acero|_csv|_json)\.",
        r"pyarrow/(_feather|_fs|_s3fs|libarrow_s3)\.",
        r"(pycparser|pip|setuptools)\b",
    ),
)
COLLECTOR: Final = Product(
    name="forebay-collector",
    summary="receives, archives and loads the departments' changes into the big-data platform, exactly once",
    distributions=("proto", "collector"),
    unused=(*_UNUSED_OF_ALL, r"(pycparser|pip|setuptools)\b"),
)
PRODUCTS: Final = {product.name: product for product in (AGENT, COLLECTOR)}


def is_unused(product: Product, path: str) -> bool:
    """Whether a file, named from site-packages on, stays out of the package."""
    return any(re.match(pattern, path) for pattern in product.unused)
