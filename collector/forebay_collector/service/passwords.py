"""Passwords: how they are kept (argon2id) and which are too easy to guess.

At most `_AT_ONCE` are computed at the same time: each takes 64 MiB and a good part of a second by intention.
"""

from __future__ import annotations

import itertools
import threading
import unicodedata
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from forebay_collector.errors import PasswordRefused

LEAST: Final = 12
MOST: Final = 256
_DIFFERENT: Final = 5
_AT_ONCE: Final = 2
# argon2id with 64 MiB, three passes and four lanes: RFC 9106's second recommendation
_hasher: Final = PasswordHasher()
_computing: Final = threading.BoundedSemaphore(_AT_ONCE)
# stems of what is tried first; case, digits and punctuation around them make no password of it
_COMMON: Final = frozenset(
    [
        "password",
        "passwd",
        "passw0rd",
        "p@ssw0rd",
        "p@ssword",
        "pa55word",
        "pass",
        "qwerty",
        "qwertyuiop",
        "qwertyuiopasdfghjkl",
        "asdfghjkl",
        "zxcvbnm",
        "qazwsx",
        "qazwsxedc",
        "qweasdzxc",
        "1qaz2wsx",
        "1q2w3e4r",
        "1q2w3e4r5t",
        "welcome",
        "letmein",
        "iloveyou",
        "woaini",
        "woaini1314",
        "admin",
        "administrator",
        "root",
        "superuser",
        "changeme",
        "changeit",
        "default",
        "secret",
        "guest",
        "test",
        "testtest",
        "user",
        "login",
        "monkey",
        "dragon",
        "football",
        "baseball",
        "sunshine",
        "princess",
        "trustno1",
        "shadow",
        "master",
        "abc",
        "abcdef",
        "abcdefg",
        "abcdefgh",
        "abcabc",
        "aaaaaa",
        "woaizhongguo",
        "zhongguo",
        "beijing",
        "shanghai",
        "guangzhou",
        "shenzhen",
        "wodemima",
        "mima",
        "mimamima",
        "forebay",
        "forebaycollector",
        "collector",
    ]
)


def hashed(password: str) -> str:
    """What is kept of the password."""
    with _computing:
        return _hasher.hash(_content(password))


def matches(kept: str, password: str) -> bool:
    """Whether it is the password. An empty `kept` never matches, and takes as long."""
    nobodys = _nobodys()
    with _computing:
        try:
            fits = _hasher.verify(kept or nobodys, _content(password[:MOST]))
        except (VerificationError, InvalidHashError):
            return False
    return fits and bool(kept) and len(password) <= MOST


def outdated(kept: str) -> bool:
    """Whether it was made with other parameters than today's."""
    return _hasher.check_needs_rehash(kept)


def check(password: str, name: str) -> None:
    """Raises PasswordRefused, which says what is wrong and never repeats the password."""
    text = _normal(password)
    plain = "".join(character for character in text.casefold() if character.isalnum())
    letters = plain.strip("0123456789")
    if len(text) < LEAST:
        raise PasswordRefused(f"it has fewer than {LEAST} characters")
    if max(len(text), len(password)) > MOST:
        raise PasswordRefused(f"it has more than {MOST} characters")
    if len(set(text)) < _DIFFERENT:
        raise PasswordRefused(f"it has fewer than {_DIFFERENT} different characters")
    own = "".join(character for character in name.casefold() if character.isalnum())
    if own and own in plain and len(plain) - len(own) < LEAST:
        raise PasswordRefused("it is the name with little around it")
    if letters in _COMMON or plain in _COMMON:
        raise PasswordRefused("it is among those that are tried first")
    if _repeats(plain):
        raise PasswordRefused("it repeats itself")
    if _is_run(plain):
        raise PasswordRefused("it is a run of neighbouring characters")


def _repeats(text: str) -> bool:
    """Whether it is one piece again and again."""
    return any(text[size:] == text[:-size] for size in range(1, len(text) // 2 + 1))


def _is_run(text: str) -> bool:
    steps = {ord(after) - ord(before) for before, after in itertools.pairwise(text)}
    return steps <= {0, 1, -9} or steps <= {0, -1, 9}


def _normal(password: str) -> str:
    """The same characters, however the keyboard composed them."""
    return unicodedata.normalize("NFKC", password)


def _content(password: str) -> bytes:
    return _normal(password).encode("utf-8", "surrogatepass")


@cache
def _nobodys() -> str:
    return _hasher.hash("nobody's")
