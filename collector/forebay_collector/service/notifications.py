"""Notifications: by which channels people are told of alerts, how that went last, and trying one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay_collector.alerts.settings import CHANNELS, AlertSettings
from forebay_collector.errors import CollectorError, NotKnown, NotPermitted
from forebay_collector.ledger import Ledger, audit, notifications
from forebay_collector.ledger.notifications import FAILED, SENT, TEST, NotificationRecord
from forebay_collector.service.actor import Actor, Permission

TESTED: Final = "notification tested"
UNTRIED: Final = "untried"


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel that is on. state: untried, or of its newest message: sent, waiting (not reached so far), failed (given up).
    Times in microseconds, 0: never. outcome: what the other end said. departments: only of these it tells, empty: of all.
    """

    name: str
    state: str
    last_at: int
    last_sent_at: int
    outcome: str
    attempts: int
    waiting: int
    language: str
    least: str
    departments: tuple[str, ...]


def channels(ledger: Ledger, actor: Actor, settings: AlertSettings) -> list[ChannelView]:
    """Those that are on; to those who see some departments only, the ones that tell of these. Raises NotPermitted."""
    actor.require(Permission.SEE)
    found = []
    for name, channel in settings.channels.items():
        theirs = set(channel.departments)
        if actor.departments is not None and theirs and not theirs & actor.departments:
            continue
        told = ledger.notifications.channel(name)
        shown = theirs if actor.departments is None else theirs & actor.departments
        found.append(
            ChannelView(
                name=name,
                state=told.last.state if told.last is not None else UNTRIED,
                last_at=told.last.ended_at if told.last is not None else 0,
                last_sent_at=told.last_sent_at,
                outcome=told.last.outcome if told.last is not None else "",
                attempts=told.last.attempts if told.last is not None else 0,
                waiting=told.waiting,
                language=channel.language,
                least=channel.least,
                departments=tuple(sorted(shown)),
            )
        )
    return found


def sent(ledger: Ledger, actor: Actor, *, channel: str = "", limit: int = 100) -> list[NotificationRecord]:
    """Messages of all departments, newest first. Raises NotPermitted."""
    _require(actor, Permission.SEE)
    return ledger.notifications.listing(channel=channel, limit=limit)


def test(ledger: Ledger, actor: Actor, name: str, settings: AlertSettings, folder: Path) -> str:
    """Sends a test message through the channel, now; -> what the other end said. folder: from where files are named.

    Raises:
        NotPermitted: the actor does not operate all departments.
        NotKnown: there is no such channel, or it is off.
        NotSent: it did not reach the other end, and is not tried again.
        ConfigurationError: a file of the channel cannot be used.
    """
    _require(actor, Permission.OPERATE)
    if name not in settings.channels:
        remedy = f"Set its section in `[alerts]`; there are {', '.join(CHANNELS)}."
        raise NotKnown(f"channel {name} is not on", remedy=remedy)
    from forebay_collector.alerts.channels import open_channel
    from forebay_collector.alerts.message import Wording

    channel = open_channel(name, settings, folder)
    at = ledger.database.clock()
    with ledger.database.write() as connection:
        note = notifications.begun(connection, name, TEST, at)
        audit.record(connection, at, actor.name, TESTED, name, detail={"via": actor.via}, department="")
    state, outcome = FAILED, ""
    try:
        outcome = channel.send(Wording(note, (), settings.channels[name].language, settings.console))
        state = SENT
    except CollectorError as error:
        outcome = str(error)
        raise
    finally:
        channel.close()
        ledger.notifications.end(note.id, state, outcome)
    return outcome


def _require(actor: Actor, permission: Permission) -> None:
    """Raises NotPermitted. A channel tells of all departments."""
    actor.require(permission)
    if actor.departments is not None:
        raise NotPermitted(f"{actor.name} may not {permission} all departments")
