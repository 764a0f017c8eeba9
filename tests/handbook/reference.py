"""The pages of docs/reference, each with what writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.handbook import commands, commands_chinese, errors, settings
from tests.handbook.chinese import Catalogue
from tests.monitoring import listing

FOLDER: Final = Path(__file__).parents[2] / "docs" / "reference"
CHINESE: Final[dict[str, Callable[[Catalogue], str]]] = {
    "settings": lambda catalogue: catalogue.page(settings.text()),
    "metrics": lambda catalogue: catalogue.page(listing.text()),
    "commands": commands_chinese.page,
}
"""the pages that have a Chinese one of their own; errors.md holds both languages"""


def _chinese(page: str) -> Callable[[], str]:
    return lambda: CHINESE[page](Catalogue(page))


PAGES: Final[dict[Path, Callable[[], str]]] = {
    FOLDER / "settings.md": settings.text,
    FOLDER / "commands.md": commands.text,
    FOLDER / "errors.md": errors.text,
    listing.FILE: listing.text,
    **{FOLDER / "zh-CN" / f"{page}.md": _chinese(page) for page in CHINESE},
}
