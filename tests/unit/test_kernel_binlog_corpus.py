"""The binlog kernel holds on the seeded corpus and its first mutations, so that the fuzz target cannot rot."""

from __future__ import annotations

from tests.fuzz import binlog
from tests.fuzz.driver import loop


def test_no_mutation_of_the_corpus_makes_kernel_and_reference_differ() -> None:
    assert loop("binlog", binlog.one, seconds=120, seed=20_260_731, most=5_000) == 5_000
