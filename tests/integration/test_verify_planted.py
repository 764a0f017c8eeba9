"""Differences planted in the platform are all found, named and repaired, and none is invented, while a workload goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verifying import round as rounds


@pytest.mark.parametrize("database", ["mariadb", "postgresql"])
def test_what_was_planted_is_found_named_and_repaired_under_a_workload(database: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)  # the servers' own users go through it
    line = getattr(rounds, database)(tmp_path, 20_000, 100, 60, 20261128)
    assert line.startswith("60 differences among 20000 rows found, named and repaired")
