"""Builds the compiled kernels; everything else stands in pyproject.toml.

FOREBAY_SANITIZE=1 in the environment: with AddressSanitizer and UndefinedBehaviorSanitizer, for fuzzing.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = sorted(Path("forebay_wire/kernel").glob("*.pyx"))
SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
FLAGS = SANITIZED if os.environ.get("FOREBAY_SANITIZE") else ["-O3", "-g0"]

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"forebay_wire.kernel.{path.stem}",
                [str(path)],
                extra_compile_args=FLAGS,
                extra_link_args=FLAGS if FLAGS is SANITIZED else [],
            )
            for path in KERNELS
        ],
        language_level=3,
    )
)
