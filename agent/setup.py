"""Builds the compiled kernels; everything else stands in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = sorted(Path("forebay_agent/kernel").glob("*.pyx"))

setup(
    ext_modules=cythonize(
        [
            Extension(f"forebay_agent.kernel.{path.stem}", [str(path)], extra_compile_args=["-O3", "-g0"])
            for path in KERNELS
        ],
        language_level=3,
    )
)
