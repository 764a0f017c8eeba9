"""Answers of a person at the terminal, or of flags: every question has a flag, and where nobody can be asked it is named."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from forebay_agent.cli.problems import visible
from forebay_agent.errors import AgentError
from forebay_agent.policy import remedy_of

T = TypeVar("T")


class NobodyToAsk(Exception):
    """An answer is missing, and there is no terminal. The message names its flag."""


def can_ask() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def text(question: str, flag: str, given: str | None, *, default: str = "") -> str:
    """The flag's answer, else the person's; Enter takes the default."""
    if given is not None:
        return given
    if not can_ask():
        if default:
            return default
        raise NobodyToAsk(flag)
    while True:
        answer = input(f"{question}{f' [{default}]' if default else ''}: ").strip()
        if answer or default:
            return answer or default


def secret(question: str, flag: str) -> str:
    """What is typed does not show."""
    if not can_ask():
        raise NobodyToAsk(flag)
    return getpass.getpass(f"{question}: ")


def choice(question: str, flag: str, given: str | None, choices: Sequence[str]) -> str:
    """One of these."""
    if given is None and can_ask():
        for number, each in enumerate(choices, 1):
            print(f"  {number}  {visible(each)}")
    while True:
        answer = text(question, flag, given)
        if answer in choices:
            return answer
        if answer.isdecimal() and 1 <= int(answer) <= len(choices):
            return choices[int(answer) - 1]
        if given is not None:
            raise NobodyToAsk(f"{flag}, one of: {', '.join(choices)}")
        print(f"  answer with a number from 1 to {len(choices)}")


def several(question: str, flag: str, given: Sequence[str], choices: Sequence[str]) -> list[str]:
    """Some of these: numbers with commas or spaces between, `all`; also names with a mode, `orders:snapshot`."""
    if given:
        return list(given)
    if not can_ask():
        raise NobodyToAsk(flag)
    for number, each in enumerate(choices, 1):
        print(f"  {number:>3}  {visible(each)}")
    while True:
        parts = input(f"{question}: ").replace(",", " ").split()
        if parts == ["all"]:
            return list(choices)
        chosen = [choices[int(part) - 1] if _is_number(part, len(choices)) else part for part in parts]
        if chosen and all(name.partition(":")[0] in choices for name in chosen):
            return list(dict.fromkeys(chosen))
        print("  answer with the numbers of the tables, such as 1 3 4, or all")


def tried(deed: Callable[[], tuple[T, str]], *, asked: bool) -> T | None:
    """Does a deed, which gives its outcome and a word about it, and says how it went. -> the outcome; None where a person
    gave the answer and can give another. asked: whether one did; else the AgentError goes on."""
    try:
        outcome, said = deed()
    except AgentError as error:
        if not (asked and can_ask()):
            raise
        print(f"  no:     {visible(str(error))}\n  remedy: {visible(remedy_of(error))}")
        return None
    print(f"  ok:     {visible(said)}")
    return outcome


def _is_number(part: str, most: int) -> bool:
    return part.isdecimal() and 1 <= int(part) <= most
