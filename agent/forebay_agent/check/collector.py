"""The way to the collector, as `check` looks at it: this agent's certificate, and a handshake with every address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from forebay_agent import diagnosis, identity
from forebay_agent.capture.source import Severity
from forebay_agent.check.checked import Checked
from forebay_agent.config.model import AgentConfig
from forebay_agent.errors import AgentError
from forebay_agent.identity import Identity

RENEW_BEFORE: Final = timedelta(days=30)
"""a certificate that ends sooner is worth a word"""

_PLACE: Final = "collector"
_BY_ITSELF: Final = (
    "It should have been renewed by itself: `forebay-agent status` says why it was not. If that cannot be mended, ask the "
    "centre for a token and run `forebay-agent enroll TOKENFILE` before that day."
)
_BY_DISK: Final = (
    "Two rounds before that day renew it: `forebay-agent outbox export DIR` asks for a new one, and `forebay-agent outbox "
    "acknowledge DIR` takes it from the answer. After that day, enrol with a new token."
)


def check_collector(config: AgentConfig, file: str, *, now: datetime | None = None) -> Iterator[Checked]:
    """The identity and, with it, every collector address where there is a line. Sends nothing beyond the TLS handshake."""
    now = now or datetime.now(UTC)
    try:
        own = identity.load(config.state)
        own.check_dates(now)
    except AgentError as error:
        yield Checked.of_error(_PLACE, "certificate", error)
        return
    yield _certificate(own, now, _BY_DISK if not config.collector.line else _BY_ITSELF)
    if config.collector.line:
        yield from _addresses(config.collector.addresses or own.addresses, own, file)
    else:
        yield Checked.fine(_PLACE, "connection", "there is no line (`collector.line`): all is carried on a disk")


def _addresses(addresses: tuple[str, ...], own: Identity, file: str) -> Iterator[Checked]:
    """One that answers is enough; the others are then worth a word only."""
    failures = [(address, diagnosis.handshake(address, own.authority, own)) for address in addresses]
    for address, failure in failures:
        if failure is None:
            yield Checked.fine(_PLACE, "connection", f"{address} answers and takes this agent's certificate")
            continue
        checked = Checked.of_error(_PLACE, "connection", failure, file=file, key="collector.addresses")
        if any(other is None for _, other in failures):
            checked = replace(checked, severity=Severity.WARNING, exit_code=0)
        yield checked


def _certificate(own: Identity, now: datetime, remedy: str) -> Checked:
    left = own.expires_at - now
    message = (
        f"agent {own.agent} of department {own.department}, valid until {own.expires_at:%Y-%m-%d} ({left.days} days)"
    )
    if left >= RENEW_BEFORE:
        return Checked.fine(_PLACE, "certificate", message)
    return Checked(_PLACE, Severity.WARNING, "certificate", message, remedy)
