"""The way to the centre, as `check` looks at it: the certificate and its expiry, and whether a collector answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from forebay_agent import diagnosis, identity
from forebay_agent.capture.source import Severity
from forebay_agent.check.checked import Checked
from forebay_agent.config.model import AgentConfig
from forebay_agent.errors import AgentError

EXPIRY_WARNING: Final = timedelta(days=30)
_PLACE: Final = "collector"


def check_centre(config: AgentConfig, *, now: datetime | None = None) -> Iterator[Checked]:
    """The certificate first; without one no collector can be asked anything."""
    now = now or datetime.now(UTC)
    try:
        own = identity.load(config.state)
        own.check_dates(now)
    except AgentError as error:
        yield Checked.of_error(_PLACE, "certificate", error)
        return
    left = own.expires_at - now
    told = f"agent {own.agent} of {own.department}, valid until {own.expires_at:%Y-%m-%d}"
    if left < EXPIRY_WARNING:
        remedy = "Ask the centre for a token and enrol again: `forebay-agent enroll TOKENFILE`."
        yield Checked(_PLACE, Severity.WARNING, "certificate", f"{told}: {left.days} days left", remedy)
    else:
        yield Checked.fine(_PLACE, "certificate", told)
    addresses = config.collector.addresses or own.addresses
    failures: list[Checked] = []
    for address in addresses:
        failure = diagnosis.handshake(address, own.authority, own)
        if failure is None:
            yield Checked.fine(_PLACE, "connection", f"{address} answers and accepts this agent's certificate")
        else:
            failures.append(Checked.of_error(_PLACE, "connection", failure, key="collector.addresses"))
    yield from failures
