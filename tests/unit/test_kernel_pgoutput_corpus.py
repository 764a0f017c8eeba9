"""The decoders hold on the seeded corpus and its first mutations, so that a fuzz target cannot rot."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fuzz import mysql_text, pgoutput, postgresql_copy
from tests.fuzz.driver import loop


@pytest.mark.parametrize(
    ("name", "one"),
    [("pgoutput", pgoutput.one), ("mysql_text", mysql_text.one), ("postgresql_copy", postgresql_copy.one)],
)
def test_no_mutation_of_the_corpus_makes_kernel_and_reference_differ(name: str, one: Callable[[bytes], object]) -> None:
    assert loop(name, one, seconds=120, seed=20_260_731, most=3_000) == 3_000
