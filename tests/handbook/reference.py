"""The pages of docs/reference, each with what writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.handbook import commands, errors, settings
from tests.monitoring import listing

FOLDER: Final = Path(__file__).parents[2] / "docs" / "reference"
PAGES: Final[dict[Path, Callable[[], str]]] = {
    FOLDER / "settings.md": settings.text,
    FOLDER / "commands.md": commands.text,
    FOLDER / "errors.md": errors.text,
    listing.FILE: listing.text,
}
