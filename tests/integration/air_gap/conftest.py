"""A centre and an appliance between which only disks go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.daemon.by_disk import Centre, founded, lives
from tests.daemon.isolated import Isolated


@pytest.fixture
def centre(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Centre]:
    """Approves by itself, unless a test asks for `manual`."""
    made = founded(tmp_path / "centre", getattr(request, "param", "auto"))
    yield made
    if made.daemon is not None:
        made.daemon.stop()


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Isolated]:
    made = Isolated(tmp_path / "appliance")
    yield made
    made.end()


@pytest.fixture
def certificates_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    return lives(monkeypatch)
