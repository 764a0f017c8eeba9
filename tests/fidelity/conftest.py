from __future__ import annotations

from collections.abc import Iterator

import pytest

from forebay_collector.platform.iceberg import IcebergPlatform


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IcebergPlatform]:
    made = IcebergPlatform(tmp_path_factory.mktemp("lake"))
    yield made
    made.close()
