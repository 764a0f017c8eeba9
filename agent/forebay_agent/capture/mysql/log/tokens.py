"""SQL text taken apart as far as needed to tell what a statement does: words, names, literals and signs, without comments.

What stands in `/*! … */` and `/*M! … */` is code for the server that logged it, so it is read as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

from forebay_agent.capture.mysql.log.query_event import ANSI_QUOTES, NO_BACKSLASH_ESCAPES

_WORD: Final = re.compile(r"[\w$\u0080-\U0010ffff]+")
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?(?![\w$\u0080-\U0010ffff])")
_SPACE: Final = re.compile(r"\s+")
_CODE: Final = re.compile(r"/\*M?!\d*")
_QUOTED: Final = {
    "'": re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL),
    '"': re.compile(r'"((?:[^"\\]|""|\\.)*)"', re.DOTALL),
}
_QUOTED_PLAINLY: Final = {"'": re.compile(r"'((?:[^']|'')*)'"), '"': re.compile(r'"((?:[^"]|"")*)"')}
_NAME: Final = re.compile(r"`((?:[^`]|``)*)`")


class Kind(Enum):
    WORD = "word"  # an unquoted word: a keyword, or a name
    NAME = "name"  # a quoted name
    TEXT = "text"
    NUMBER = "number"
    SIGN = "sign"


class Token(NamedTuple):
    """text: of a WORD as it stands, of a NAME or TEXT without its quotes. start, end: where it stands."""

    kind: Kind
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        return self.kind is Kind.WORD and self.text.upper() in words

    def is_sign(self, sign: str) -> bool:
        return self.kind is Kind.SIGN and self.text == sign


def tokens(sql: str, sql_mode: int = 0) -> Iterator[Token]:
    """Ends where the statement, or what can be understood of it, ends."""
    quoted = _QUOTED_PLAINLY if sql_mode & NO_BACKSLASH_ESCAPES else _QUOTED
    at = 0
    while at < len(sql):
        sign = sql[at]
        if space := _SPACE.match(sql, at):
            at = space.end()
        elif sign == "#" or (sql.startswith("--", at) and (at + 2 == len(sql) or sql[at + 2].isspace())):
            at = sql.find("\n", at) + 1 or len(sql)
        elif code := _CODE.match(sql, at):
            at = code.end()
        elif sql.startswith("/*", at):
            end = sql.find("*/", at + 2)
            at = len(sql) if end < 0 else end + 2
        elif sql.startswith("*/", at):  # the end of code in a comment
            at += 2
        else:
            token = _token(sql, at, quoted, ansi=bool(sql_mode & ANSI_QUOTES))
            yield token
            at = token.end


def _token(sql: str, at: int, quoted: dict[str, re.Pattern[str]], *, ansi: bool) -> Token:
    sign = sql[at]
    if sign == "`" and (name := _NAME.match(sql, at)):
        return Token(Kind.NAME, name[1].replace("``", "`"), at, name.end())
    if sign in quoted and (text := quoted[sign].match(sql, at)):
        kind = Kind.NAME if ansi and sign == '"' else Kind.TEXT
        return Token(kind, text[1].replace(sign * 2, sign), at, text.end())
    if number := _NUMBER.match(sql, at):
        return Token(Kind.NUMBER, number[0], at, number.end())
    if word := _WORD.match(sql, at):
        return Token(Kind.WORD, word[0], at, word.end())
    return Token(Kind.SIGN, sign, at, at + 1)
