"""Runs only where it was asked for: it boots machines."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--boot", action="store_true", help="boot machines from the packages in build/packages/out")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if config.getoption("boot", False) else collection_path.name.startswith("test_")
