"""Texts that leave the appliance with a person: less every secret that this machine knows, and less what may quote a row.

Secrets are left out twice: nothing is taken from where they are kept, and what is taken is searched for each of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from forebay_agent.config.secret import FOLDER as SECRETS_FOLDER

REDACTED: Final = "[redacted]"
_FEWEST_CHARACTERS: Final = 4
"""what is shorter stands in every text: it is redacted only where a setting names it"""
_KEYS: Final = re.compile(
    r"""(?im)^(\s*["']?[\w.-]*(?:password|secret|token|passphrase)[\w.-]*["']?\s*[=:]\s*)(?!\{)(\S.*)$"""
)
_TOKENS: Final = re.compile(r"\bfbt1\.[A-Za-z0-9_-]+")
_ARMOUR: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_CODE: Final = re.compile(r'\bcode="?([A-Z-]+)')
_TOLD: Final = re.compile(r'\b(reason|remedy|effect)=("(?:[^"\\]|\\.)*"|\S+)')
_OURS: Final = re.compile(r"\btime=\S+ level=\w+ event=")


def secrets_of(configuration: Path, environment: Mapping[str, str]) -> frozenset[str]:
    """Every secret that can be found here: each line of the files that hold them, and what the variables hold.

    configuration: the folder of agent.toml. Files that cannot be read are passed over: nothing of them is taken either.
    """
    found = set()
    for file in _files(configuration / SECRETS_FOLDER):
        found |= set(_text(file).splitlines())
    for file, text in settings(configuration):
        for named in re.findall(r"""\bfile\s*=\s*["']([^"']+)["']""", text):
            found |= set(_text(file.parent / named).splitlines())
        for named in re.findall(r"""\benv\s*=\s*["']([^"']+)["']""", text):
            found.add(environment.get(named, ""))
    return frozenset(secret.strip() for secret in found if len(secret.strip()) >= _FEWEST_CHARACTERS)


def settings(configuration: Path) -> Iterator[tuple[Path, str]]:
    """The configuration's files with their texts, without comments; none of the folder of secrets."""
    for file in _files(configuration):
        if file.suffix == ".toml" and SECRETS_FOLDER not in file.relative_to(configuration).parts:
            lines = [line for line in _text(file).splitlines() if not line.lstrip().startswith("#")]
            yield file, "\n".join(lines) + "\n"


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text without secrets: those given, private keys, tokens, and what a setting named so holds."""
    text = _TOKENS.sub(REDACTED, _ARMOUR.sub(REDACTED, text))
    # the longest first: one may be part of another
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _KEYS.sub(rf"\g<1>{REDACTED}", text)


def withheld(journal: str, quoting: Collection[str], instead: str) -> str:
    """The journal's lines without what may quote a value: reasons of these codes, and lines that are neither an event nor the
    service manager's own (a traceback)."""
    kept = []
    for line in journal.splitlines():
        if not _OURS.search(line):
            kept.append(line if " systemd[" in line else instead)
            continue
        code = _CODE.search(line)
        kept.append(_TOLD.sub(rf"\g<1>={instead!r}", line) if code and code[1] in quoting else line)
    return "\n".join(kept) + "\n"


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.rglob("*") if path.is_file())
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
