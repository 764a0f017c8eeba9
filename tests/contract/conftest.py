"""The platforms under contract, each opened in a folder of its own; the sources, each on its own server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forebay_agent.capture.source import Source
from forebay_collector.platform.contract import Platform
from forebay_collector.platform.iceberg import IcebergPlatform, Upkeep
from tests.contract.dialects import DIALECTS, Dialect
from tests.contract.harness import SourceHarness

# compaction as soon as anything can be compacted
_EAGER = Upkeep(deleted_share=0.0, small_rows=1_000, merge_files=2)
PLATFORMS: dict[str, Callable[[Path], Platform]] = {"iceberg": lambda folder: IcebergPlatform(folder, upkeep=_EAGER)}


@pytest.fixture(params=sorted(PLATFORMS))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Platform]]:
    """Opens the same platform, again and again."""
    made: list[Platform] = []

    def opening() -> Platform:
        made.append(PLATFORMS[request.param](tmp_path / "platform"))
        return made[-1]

    yield opening
    for platform in made:
        platform.close()


@pytest.fixture
def platform(opened: Callable[[], Platform]) -> Platform:
    return opened()


@pytest.fixture
def words(source_harness: SourceHarness) -> Dialect:
    return DIALECTS[source_harness.kind]


@pytest.fixture
def source(source_harness: SourceHarness) -> Source:
    return source_harness.open()
