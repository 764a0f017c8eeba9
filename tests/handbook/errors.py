"""docs/reference/errors.md: every code that the two programs tell, with meaning and remedy as the console shows them.

What codes there are is read off the programs' sources: a code is a text of its own there.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Final

import forebay_agent
import forebay_agent.policy
import forebay_collector
import forebay_wire
from forebay_collector.alerts import texts
from forebay_collector.alerts.kinds import KINDS
from forebay_collector.console.language import LANGUAGES, words_of
from forebay_collector.policy import POLICIES

_PREFIX: Final = "FB-"
_HEAD: Final = """\
# Error codes / 错误代码

Every code that forebay-agent and forebay-collector tell, in messages, listings, logs, alerts and pages. A code never changes. What
stands beside it there is the very case; here is what it means in general. This page is written from the programs
(`make reference`), and a test compares them. `forebay-agent check` and `doctor` print the remedy of the case, with SQL where a DBA
has to run some.

两个程序在消息、列表、日志、告警和页面中使用的全部代码。代码不会改变。此处是一般含义与处置；具体情形以当时显示的原因和处置为准。
本页由程序生成（`make reference`），并由测试核对。

| code / 代码 | meaning | remedy | 含义 | 处置 |
|---|---|---|---|---|
"""


@cache
def codes() -> tuple[str, ...]:
    """Every code, in order."""
    found: set[str] = set()
    for package in (forebay_agent, forebay_collector, forebay_wire):
        (folder,) = package.__path__
        for file in Path(folder).rglob("*.py"):
            found |= {
                node.value
                for node in ast.walk(ast.parse(file.read_bytes()))
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_code(node.value)
            }
    return tuple(sorted(found))


def text() -> str:
    lines = []
    for code in codes():
        cells = (part for language in reversed(LANGUAGES) for part in told(code, language))
        lines.append(f"| `{code}` | {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n")
    return _HEAD + "".join(lines)


def told(code: str, language: str) -> tuple[str, str]:
    """What the code means and what to do, in a language; empty where nothing says so."""
    trouble = words_of(language).trouble(code)
    what, remedy = trouble.what, trouble.remedy
    alert = next((kind.name for kind in KINDS.values() if kind.code == code), "")
    what = what or (texts.name(alert, language) if alert else "")
    if not remedy:
        remedy = (
            _english(code) if language == "en" and _english(code) else texts.remedy(alert, language) if alert else ""
        )
    return what, remedy


def _english(code: str) -> str:
    """The kind's own remedy; of what is no kind, the English that the Chinese one translates."""
    for table in (forebay_agent.policy.POLICIES, POLICIES):
        for kind, policy in table.items():
            if kind.code == code:
                return policy.remedy
    translated = words_of("zh-CN").troubles.get(code, {}).get("english", [])
    return str(translated[0]) if translated else ""


def _is_code(value: str) -> bool:
    return value.startswith(_PREFIX) and value.replace("-", "").isalpha() and value.isupper() and value != _PREFIX
