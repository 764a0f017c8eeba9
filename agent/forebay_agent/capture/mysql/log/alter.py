"""ALTER TABLE: which columns it may have changed, and whether rows that were there before still hold what they held.

Clause by clause, by its first words. What is not known here counts as a change of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay_agent.capture.mysql.log.tokens import Kind, Token


@dataclass(slots=True)
class Alteration:
    """Names of columns are in lower case, as the server compares them.

    content: rows or values may have changed in any way. key: keys changed. everything: all columns may have changed their type.
    renamed: the table has another name from here on. added: columns, and whether rows that were there before hold NULL in
    them, as far as the statement says. gone: dropped or renamed ones, and those that are computed now. modified: redefined ones. filled: redefined ones in
    which NULL may have become a value.
    """

    content: bool = False
    key: bool = False
    everything: bool = False
    renamed: bool = False
    added: dict[str, bool] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    modified: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)

    @property
    def touched(self) -> set[str]:
        """Columns that it names."""
        return {*self.added, *self.gone, *self.modified}

    def joined(self, other: Alteration) -> Alteration:
        """Both, one after the other."""
        return Alteration(
            self.content or other.content,
            self.key or other.key,
            self.everything or other.everything,
            self.renamed or other.renamed,
            # added twice, or added and changed again: not as simple as it looks
            {**self.added, **{name: safe and name not in self.touched for name, safe in other.added.items()}},
            self.gone | other.gone,
            self.modified | other.modified,
            self.filled | other.filled,
        )


UNKNOWN: Final = Alteration(content=True, key=True, everything=True)

_OPTIONS: Final = {
    *("ORDER", "ENABLE", "DISABLE", "FORCE", "ALGORITHM", "LOCK", "COMMENT", "AUTO_INCREMENT", "ROW_FORMAT", "DEFAULT"),
    *("CHARACTER", "CHARSET", "COLLATE", "CHECKSUM", "KEY_BLOCK_SIZE", "MAX_ROWS", "MIN_ROWS", "PACK_KEYS", "DATA"),
    *("STATS_AUTO_RECALC", "STATS_PERSISTENT", "STATS_SAMPLE_PAGES", "AVG_ROW_LENGTH", "ENCRYPTED", "ENCRYPTION"),
    *("ENCRYPTION_KEY_ID", "PAGE_CHECKSUM", "PAGE_COMPRESSED", "PAGE_COMPRESSION_LEVEL", "TRANSACTIONAL", "TABLESPACE"),
    *(
        "COMPRESSION",
        "CONNECTION",
        "DELAY_KEY_WRITE",
        "INSERT_METHOD",
        "PASSWORD",
        "STORAGE",
        "NOWAIT",
        "WAIT",
        "INDEX",
    ),
    *("SECONDARY_ENGINE", "SECONDARY_LOAD", "SECONDARY_UNLOAD", "AUTOEXTEND_SIZE", "ENGINE_ATTRIBUTE", "IETF_QUOTES"),
    *("SECONDARY_ENGINE_ATTRIBUTE", "TYPE", "ITEMS"),
    *("REORGANIZE", "REBUILD", "OPTIMIZE", "ANALYZE", "CHECK", "COALESCE", "REMOVE", "PARTITION"),
}
_CHANGES_WITHIN: Final = ("ADD", "DROP", "MODIFY", "CHANGE", "CONVERT", "RENAME", "TRUNCATE", "DISCARD", "IMPORT")
_KEYS: Final = ("INDEX", "KEY", "FULLTEXT", "SPATIAL", "UNIQUE", "CONSTRAINT", "PRIMARY", "FOREIGN", "CHECK", "VECTOR")
_FILLS: Final = ("DEFAULT", "NOT", "AS", "GENERATED", "AUTO_INCREMENT", "SERIAL", "ON", "PRIMARY", "ROW", "WITHOUT")
_REPLACES_NULL: Final = ("NOT", "AUTO_INCREMENT", "SERIAL", "PRIMARY")
_COMPUTES: Final = ("AS", "GENERATED")
_BLACK_HOLES: Final = ("BLACKHOLE",)


def alteration_of(tokens: Sequence[Token], *, ignore: bool) -> Alteration:
    """tokens: what follows the table's name. ignore: ALTER IGNORE, which may throw rows away."""
    found = Alteration(content=ignore)
    for clause in split(tokens):
        if clause:
            _clause(found, clause)
    return found


def split(tokens: Sequence[Token]) -> list[list[Token]]:
    """At the commas that are in no parentheses."""
    clauses: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.is_sign("("):
            depth += 1
        elif token.is_sign(")"):
            depth -= 1
        if token.is_sign(",") and depth == 0:
            clauses.append([])
        elif not token.is_sign(";"):
            clauses[-1].append(token)
    return clauses


def _clause(found: Alteration, clause: list[Token]) -> None:
    first = clause[0].text.upper() if clause[0].kind is Kind.WORD else ""
    known: dict[str, Callable[[Alteration, list[Token]], None]] = {
        "ADD": _add,
        "DROP": _drop,
        "MODIFY": _modify,
        "CHANGE": _change,
        "RENAME": _rename,
        "ALTER": _alter,
        "CONVERT": _convert,
        "ENGINE": _engine,
        "WITH": _with,
        "WITHOUT": _with,
        "UNION": _with,
    }
    if first in known:
        known[first](found, clause[1:])
    elif first not in _OPTIONS or any(token.is_word(*_CHANGES_WITHIN) for token in clause):
        _everything(found)


def _everything(found: Alteration) -> None:
    found.content = found.key = found.everything = True


def _add(found: Alteration, rest: list[Token]) -> None:
    named = _skip(rest, "COLUMN")
    if rest and rest[0].is_sign("("):
        for definition in split(_inside(rest)):
            _add_one(found, definition)
    elif not named and rest and rest[0].is_word(*_KEYS):
        found.key = True
    elif not named and rest and rest[0].is_word("PARTITION"):
        return
    elif not named and rest and rest[0].is_word("PERIOD", "SYSTEM"):
        _everything(found)
    else:
        _add_one(found, rest)


def _add_one(found: Alteration, definition: list[Token]) -> None:
    _skip(definition, "IF", "NOT", "EXISTS")
    if not definition:
        return _everything(found)
    if definition[0].is_word(*_KEYS):  # within parentheses
        found.key = True
        return None
    name = definition[0].text.lower()
    found.added[name] = _is_empty(definition[1:]) and name not in found.touched
    if any(token.is_word("UNIQUE", "PRIMARY", "KEY") for token in definition):
        found.key = True
    return None


def _is_empty(definition: list[Token]) -> bool:
    """Whether a new column so defined holds NULL in rows that were there before."""
    for place, token in enumerate(definition):
        if not token.is_word(*_FILLS):
            continue
        null = place + 1 < len(definition) and definition[place + 1].is_word("NULL")
        if not (token.is_word("DEFAULT") and null):
            return False
    return True


def _drop(found: Alteration, rest: list[Token]) -> None:
    named = _skip(rest, "COLUMN")
    if not named and rest and rest[0].is_word(*_KEYS):
        found.key = True
    elif not named and rest and rest[0].is_word("PARTITION", "PERIOD", "SYSTEM"):
        _everything(found)
    else:
        _skip(rest, "IF", "EXISTS")
        _gone(found, rest[:1])


def _modify(found: Alteration, rest: list[Token]) -> None:
    _skip(rest, "COLUMN", "IF", "EXISTS")
    _redefined(found, rest[:1], rest[1:])


def _change(found: Alteration, rest: list[Token]) -> None:
    _skip(rest, "COLUMN", "IF", "EXISTS")
    if len(rest) < 2:
        _everything(found)
    elif rest[0].text.lower() == rest[1].text.lower():
        _redefined(found, rest[:1], rest[2:])
    else:
        _gone(found, rest[:2])


def _redefined(found: Alteration, name: list[Token], definition: list[Token]) -> None:
    if not name:
        return _everything(found)
    column = name[0].text.lower()
    found.modified.add(column)
    if any(token.is_word(*_REPLACES_NULL) for token in definition):
        found.filled.add(column)
    if any(token.is_word(*_COMPUTES) for token in definition):
        found.gone.add(column)
    return None


def _gone(found: Alteration, names: list[Token]) -> None:
    found.gone.update(token.text.lower() for token in names)
    if not names:
        _everything(found)


def _rename(found: Alteration, rest: list[Token]) -> None:
    if rest and rest[0].is_word("COLUMN"):
        columns = [token for token in rest[1:] if not token.is_word("IF", "EXISTS")]
        _gone(found, [columns[0], columns[2]] if len(columns) > 2 and columns[1].is_word("TO") else [])
    elif not (rest and rest[0].is_word("INDEX", "KEY")):
        found.renamed = True


def _alter(found: Alteration, rest: list[Token]) -> None:
    """ALTER COLUMN changes defaults and visibility only."""
    if any(token.is_word("TYPE") for token in rest):
        _everything(found)


def _convert(found: Alteration, rest: list[Token]) -> None:
    if rest and rest[0].is_word("TO"):
        found.everything = True
    else:  # CONVERT PARTITION … TO TABLE, CONVERT TABLE … TO PARTITION
        _everything(found)


def _engine(found: Alteration, rest: list[Token]) -> None:
    names = [token for token in rest[:2] if not token.is_sign("=")]
    if not names or names[0].text.upper() in _BLACK_HOLES or any(token.is_word(*_CHANGES_WITHIN) for token in rest):
        _everything(found)


def _with(found: Alteration, rest: list[Token]) -> None:
    if not (rest and rest[0].is_word("VALIDATION", "PARSER")):
        _everything(found)


def _skip(tokens: list[Token], *words: str) -> bool:
    found = False
    while tokens and tokens[0].is_word(*words):
        del tokens[0]
        found = True
    return found


def _inside(tokens: list[Token]) -> list[Token]:
    """What stands in the parentheses that the tokens begin with."""
    depth = 0
    for place, token in enumerate(tokens):
        depth += token.is_sign("(") - token.is_sign(")")
        if depth == 0:
            return tokens[1:place]
    return tokens[1:]
