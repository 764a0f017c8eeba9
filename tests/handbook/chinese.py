"""The Chinese pages of the reference: the English ones, with every text in the words of `zh_cn/PAGE.toml`.

A catalogue is one table, English = Chinese. `{}` stands for one word, the same in both: a number, a duration, a size. A paragraph is
one text, its lines joined.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

CATALOGUES: Final = Path(__file__).parent / "zh_cn"
_CODE: Final = re.compile(r"`[^`]*`")
_MARK: Final = re.compile(r"#+ |- ")
_RULE: Final = re.compile(r"\|[-|]+\|$")


class NotTranslatedError(Exception):
    """A text that the catalogue does not have."""


class Catalogue:
    """The translations of one page. `used` keeps which of them were asked for."""

    def __init__(self, page: str) -> None:
        self.file = CATALOGUES / f"{page}.toml"
        self.chinese: dict[str, str] = tomllib.loads(self.file.read_text("utf-8"))
        self.used: set[str] = set()
        self._forms = [(re.compile(_form(english)), english) for english in self.chinese if "{}" in english]

    def say(self, english: str) -> str:
        """The Chinese for a text; what is nothing but code stays as it is.

        Raises NotTranslatedError for a text that the catalogue does not have.
        """
        text = " ".join(english.split())
        if not re.search(r"[A-Za-z]", _CODE.sub("", text)):
            return text
        if text in self.chinese:
            self.used.add(text)
            return self.chinese[text]
        for form, key in self._forms:
            if found := form.match(text):
                self.used.add(key)
                return self.chinese[key].format(*found.groups())
        raise NotTranslatedError(f"tests/handbook/zh_cn/{self.file.name} has no Chinese for: {text}")

    def page(self, english: str) -> str:
        """A page of headings, paragraphs, lists and tables in Chinese."""
        return "\n".join(self._block(block) for block in english.split("\n\n"))

    def _block(self, block: str) -> str:
        if block.startswith("|"):
            lines = [line if _RULE.match(line) else self._row(line) for line in block.splitlines()]
        else:
            lines = [self._marked(text) for text in re.split(r"\n(?=- |#+ )", block.strip("\n"))]
        return "".join(f"{line}\n" for line in lines)

    def _marked(self, text: str) -> str:
        mark = _MARK.match(text)
        begin = mark[0] if mark else ""
        return begin + self.say(text.removeprefix(begin))

    def _row(self, line: str) -> str:
        return f"| {' | '.join(self.say(cell) for cell in line[2:-2].split(' | '))} |"


def _form(english: str) -> str:
    return "^" + re.escape(english).replace(re.escape("{}"), r"([^\s,]+)") + "$"
