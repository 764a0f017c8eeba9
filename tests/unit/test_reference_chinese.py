"""The Chinese reference: every text of the English pages has its Chinese, and both say the same of code and numbers."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.handbook.chinese import Catalogue, NotTranslatedError
from tests.handbook.reference import CHINESE

_CHINESE: Final = re.compile("[一-鿿]")


@pytest.mark.parametrize("page", CHINESE)
def test_every_text_has_its_chinese_and_every_chinese_its_text(page: str) -> None:
    catalogue = Catalogue(page)
    CHINESE[page](catalogue)
    assert sorted(catalogue.chinese.keys() - catalogue.used) == []


@pytest.mark.parametrize("page", CHINESE)
def test_code_options_placeholders_and_numbers_are_the_same_in_both(page: str) -> None:
    pairs = Catalogue(page).chinese.items()
    assert [english for english, chinese in pairs if _fixed(english) != _fixed(chinese)] == []


@pytest.mark.parametrize("page", CHINESE)
def test_every_entry_is_chinese_unless_it_is_a_name(page: str) -> None:
    pairs = Catalogue(page).chinese.items()
    assert [english for english, chinese in pairs if " " in english and not _CHINESE.search(chinese)] == []


def test_a_text_without_chinese_is_named() -> None:
    with pytest.raises(NotTranslatedError, match=r"zh_cn/settings\.toml has no Chinese for: a new key's `meaning`"):
        Catalogue("settings").page("| `key` | a new key's `meaning` |\n")


def test_what_is_nothing_but_code_or_numbers_stays_as_it_is() -> None:
    row = Catalogue("settings").page("| `key` |  | `15s` | at least 10ms |\n")
    assert row == "| `key` |  | `15s` | 不小于 10ms |\n"


def _fixed(text: str) -> list[str]:
    """What no translation changes: code, options, placeholders, numbers; sorted."""
    return sorted(re.findall(r"`[^`]+`|--[a-z][a-z-]*|%\(\w+\)s|\{\}|\d+", text))
