"""Nouns: all that can be asked of the API, in the order in which it is described. What is added here is served, too."""

from __future__ import annotations

from typing import Final

from forebay_collector.api import (
    about,
    agents,
    alerts,
    approvals,
    audit,
    batches,
    certificates,
    commands,
    identity,
    maintenance,
    quarantine,
    repairs,
    rollouts,
    streams,
    tokens,
    users,
    verifications,
)
from forebay_collector.api.operation import Noun

NOUNS: Final[tuple[Noun, ...]] = (
    agents.NOUN,
    commands.NOUN,
    rollouts.NOUN,
    streams.NOUN,
    batches.NOUN,
    quarantine.NOUN,
    alerts.NOUN,
    maintenance.NOUN,
    approvals.NOUN,
    verifications.NOUN,
    repairs.NOUN,
    certificates.NOUN,
    audit.NOUN,
    identity.NOUN,
    users.NOUN,
    tokens.NOUN,
    about.NOUN,
)
