"""Message: what a notification says, as title, plain text, Markdown and JSON, in Chinese, English, or both.

What agents, databases and people wrote is put into Markdown with the characters that mean something there replaced by
their wide forms, so that nobody's table name becomes a link or calls somebody. No message holds a secret or a row's value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from forebay_collector.alerts import texts
from forebay_collector.alerts.kinds import Severity
from forebay_collector.alerts.settings import BOTH
from forebay_collector.ledger.alerts import AlertRecord
from forebay_collector.ledger.notifications import RESOLVED, TEST, NotificationRecord

SHOWN: Final = 20
"""So many alerts are told one by one in a text; the others are counted."""
SHOWN_IN_JSON: Final = 1_000
LONGEST_LINE: Final = 400
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WIDE: Final = str.maketrans(
    {"[": "［", "]": "］", "<": "＜", ">": "＞", "*": "＊", "`": "｀", "#": "＃", "@": "＠", "\\": "＼", "|": "｜"}
)


@dataclass(frozen=True, slots=True)
class Wording:
    """What a notification says in one channel. console: where browsers reach the console, for a link; empty: none."""

    note: NotificationRecord
    alerts: Sequence[AlertRecord]
    language: str
    console: str = ""

    @property
    def languages(self) -> tuple[str, ...]:
        return texts.LANGUAGES if self.language == BOTH else (self.language,)

    @property
    def title(self) -> str:
        """One line, in each language."""
        return " / ".join(self.title_in(language) for language in self.languages)

    def title_in(self, language: str) -> str:
        """`Forebay: critical: 3 agents silent` or, of one, `Forebay: critical: Agent silent: scjg-01`."""
        said = texts.words(language)
        comma = "：" if language == "zh-CN" else ": "
        parts = [said["message"]["product"]]
        if what := said["what"].get(self.note.what, self.note.what):
            parts.append(what)
        if self.note.what != TEST:
            if self.note.what != RESOLVED:
                parts.append(said["severity"][self.severity])
            if len(self.alerts) == 1:
                parts += [texts.name(self.note.kind, language), _line(self.alerts[0].subject)]
            else:
                parts.append(texts.many(self.note.kind, language, len(self.alerts)))
        return comma.join(parts)

    @property
    def severity(self) -> Severity:
        """The worst of them."""
        worst = any(one.severity == Severity.CRITICAL for one in self.alerts)
        return Severity.CRITICAL if worst else Severity.WARNING

    def plain(self) -> str:
        """The whole text, for a mail."""
        parts = [self._text(language, SHOWN) for language in self.languages]
        return "\n\n――――\n\n".join(parts) + (f"\n\n{self.link}\n" if self.console else "\n")

    def markdown(self, most_bytes: int) -> str:
        """For a robot: at most so many bytes, with fewer alerts one by one where they do not fit."""
        for shown in (SHOWN, 10, 5, 3, 1, 0):
            parts = [self._marked(language, shown) for language in self.languages]
            text = "\n\n".join(parts) + (f"\n\n[{self.link}]({self.link})" if self.console else "")
            if len(text.encode()) <= most_bytes:
                return text
        return text.encode()[:most_bytes].decode("utf-8", "ignore")

    def json(self) -> dict[str, Any]:
        """For programs: everything, in both languages."""
        return {
            "version": 1,
            "id": self.note.id,
            "what": self.note.what,
            "kind": self.note.kind,
            "severity": self.severity.value if self.alerts else None,
            "made_at": _iso(self.note.made_at),
            "title": {language: self.title_in(language) for language in texts.LANGUAGES},
            "text": self.plain(),
            "count": len(self.alerts),
            "alerts": [_told(one) for one in self.alerts[:SHOWN_IN_JSON]],
            "console": self.link if self.console else None,
        }

    @property
    def link(self) -> str:
        return f"{self.console.rstrip('/')}/alerts"

    def _text(self, language: str, shown: int) -> str:
        lines = [self.title_in(language), ""]
        if self.note.what == TEST:
            return "\n".join([*lines, texts.words(language)["message"]["test"].format(channel=self.note.channel)])
        lines += [f"- {line}" for line in self._lines(language, shown)]
        if self.note.what != RESOLVED:
            lines += ["", f"{texts.words(language)['message']['remedy']}: {texts.remedy(self.note.kind, language)}"]
        return "\n".join(lines)

    def _marked(self, language: str, shown: int) -> str:
        said = texts.words(language)["message"]
        lines = [f"**{_safe(self.title_in(language))}**"]
        if self.note.what == TEST:
            return "\n\n".join([*lines, said["test"].format(channel=self.note.channel)])
        lines += ["\n".join(f"> {_safe(line)}" + "  " for line in self._lines(language, shown))]
        if self.note.what != RESOLVED:
            lines.append(f"{said['remedy']}: {texts.remedy(self.note.kind, language)}")
        return "\n\n".join(lines)

    def _lines(self, language: str, shown: int) -> list[str]:
        said = texts.words(language)["message"]
        lines = []
        for one in self.alerts[:shown]:
            when = said["over"].format(at=texts.moment(one.closed_at)) if one.closed_at else ""
            when = when or said["since"].format(at=texts.moment(one.opened_at))
            place = (
                f" ({one.department})" if one.department and not one.subject.startswith(f"{one.department}/") else ""
            )
            lines.append(_line(f"{one.subject}{place}: {texts.reason(one, language)} · {when}"))
        if len(self.alerts) > shown:
            lines.append(said["more"].format(count=len(self.alerts) - shown))
        return lines


def _told(one: AlertRecord) -> Mapping[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind,
        "code": one.code,
        "subject": one.subject,
        "department": one.department,
        "agent": one.agent,
        "severity": one.severity,
        "name": {language: texts.name(one.kind, language) for language in texts.LANGUAGES},
        "reason": {language: texts.reason(one, language) for language in texts.LANGUAGES},
        "remedy": {language: texts.remedy(one.kind, language) for language in texts.LANGUAGES},
        "opened_at": _iso(one.opened_at),
        "closed_at": _iso(one.closed_at),
    }


def _iso(at_us: int) -> str | None:
    if not at_us:
        return None
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(text: str) -> str:
    """One line of printable characters, not too long."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= LONGEST_LINE else f"{shown[: LONGEST_LINE - 1]}…"


def _safe(text: str) -> str:
    return text.translate(_WIDE)
