"""Every mutation fits the code as it is, and names tests that are there: else `make test-mutations` would end in the middle."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.mutations.__main__ import Mutation

TREE = Path(__file__).parents[2]
PATCHES = sorted((TREE / "tests" / "mutations").glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_mutation_fits_the_code_and_names_tests_that_are_there(patch: Path) -> None:
    fits = subprocess.run(
        ["patch", "-p1", "--dry-run", "-i", str(patch)], cwd=TREE, capture_output=True, text=True, check=False
    )
    assert fits.returncode == 0, fits.stdout
    tests = Mutation.read(patch).tests
    assert tests
    for test in tests:
        file, _, name = test.partition("::")
        assert f"def {name}" in (TREE / file).read_text("utf-8")
