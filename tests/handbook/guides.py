"""The guides as data: their blocks, their order, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs" / "guides"
LANGUAGES: Final = ("en", "zh-CN")
INDEX: Final = "README.md"
PROGRAMS: Final = ("forebay-agent", "forebay-collector")
_FENCE: Final = re.compile(r"^```(.*)$")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_COMMENT: Final = re.compile(r"(^|\s)(#|-- ).*$")
# what stands before a command, not before an argument
_BEFORE_COMMANDS: Final = {"", "until", "while", "if", "then", "do", "!", "exec", ";", "|", "&&", "||", "$("}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. info: what follows the fence: `sh centre`. line: of its first line."""

    guide: str
    line: int
    info: str
    text: str

    @property
    def kind(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def where(self) -> str:
        return self.info.partition(" ")[2]

    @property
    def without_comments(self) -> str:
        lines = (_COMMENT.sub("", line).rstrip() for line in self.text.splitlines())
        return "\n".join(line for line in lines if line)

    @property
    def file(self) -> str:
        """Of a file that is shown whole: its path."""
        first = self.text.partition("\n")[0]
        return first.removeprefix("# ") if first.startswith("# /") else ""


def blocks(file: Path) -> list[Block]:
    """Raises AssertionError when a fence is not closed."""
    found: list[Block] = []
    began, info = 0, ""
    lines: list[str] = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and not began:
            began, info, lines = number, fence[1].strip(), []
        elif fence:
            found.append(Block(file.name, began + 1, info, "".join(f"{each}\n" for each in lines)))
            began = 0
        elif began:
            lines.append(line)
    assert not began, f"{file}: the block that begins at line {began} does not end"
    return found


def headings(file: Path) -> list[int]:
    """How deep each heading is, in order."""
    inside, found = False, []
    for line in file.read_text("utf-8").splitlines():
        inside ^= line.startswith("```")
        if not inside and (depth := re.match(r"#+(?= )", line)):
            found.append(len(depth[0]))
    return found


def links(file: Path) -> list[str]:
    """Where its links lead that are no web addresses, without what follows `#`."""
    text = re.sub(r"^```.*?^```", "", file.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = (target.partition("#")[0] for target in _LINK.findall(text))
    return [target for target in targets if target and not re.match(r"\w+:", target)]


def path(language: str) -> list[Path]:
    """The guides in the order in which they are to be read."""
    folder = FOLDER / language
    named = [target for target in links(folder / INDEX) if "/" not in target]
    return [folder / name for name in dict.fromkeys(named)]


def commands(block: Block) -> Iterator[list[str]]:
    """Every call of one of the programs: its name and its arguments, as a shell would split them."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if not any(program in line for program in PROGRAMS):
            continue
        lexer = shlex.shlex(line.replace('"$(', '$("'), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for place, word in enumerate(words):
            before = words[place - 1] if place else ""
            if word in PROGRAMS and before in _BEFORE_COMMANDS:
                yield [word, *_arguments(words[place + 1 :])]


def _arguments(words: list[str]) -> Iterator[str]:
    for word in words:
        if set(word) <= set("();<>|&"):
            return
        yield word
