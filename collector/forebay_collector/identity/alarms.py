"""Alarms of identity: which entries of the audit say that somebody may be using what is not theirs.

The audit is the one home of what happened; an alarm is derived from it: an entry with one of these actions, while it is
young. A refusal that is repeated is one entry at once and then one a minute with a `count` (`ledger/refusals.py`).

What can be audited and what cannot: a certificate that TLS refuses (another authority's, expired, none at all) never
reaches our code. gRPC closes the connection, gives no reason by any interface of its own, and writes a line to its log.
What is known is that a connection was accepted and no call came of it, and mostly its address: `NO_CALL`. A port scan
and a monitoring probe look the same. The appliance knows the reason and shows it (`forebay-agent status`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from forebay_collector.ledger import places, tokens

REVOKED: Final = "revoked certificate used"
REPLACED: Final = "replaced certificate used"
UNKNOWN: Final = "unknown certificate used"
EXPIRED: Final = "expired certificate used"
BOOTSTRAP: Final = "bootstrap certificate misused"
WRONG_DEPARTMENT: Final = "wrong department"
ENROL_REFUSED: Final = "enroll refused"
SPENT_TWICE: Final = tokens.SPENT_TWICE
TWO_PLACES: Final = places.ACTION
NO_CALL: Final = "connection without a call"

REFUSED: Final = "call refused"
"""A refusal that is no alarm: what an honest agent may meet, such as another protocol."""
UNCONFIRMED: Final = "certificate not confirmed"
"""No alarm: a renewed certificate came in before it was confirmed."""
ENDED: Final = "connection ended"
"""No alarm: a connection was open when its agent was revoked, or its certificate replaced or expired."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """urgent: someone may have a copy of a key. meaning, remedy: sentences for whoever is called."""

    urgent: bool
    meaning: str
    remedy: str


_COPY: Final = "If it is not an appliance restored from a copy, its key is in other hands: look at the peer's address."
ALARMS: Final[Mapping[str, Alarm]] = {
    REVOKED: Alarm(
        True,
        "A revoked agent tries to come in.",
        "Find the appliance at the peer's address and switch it off, or enrol it again if it was revoked by mistake.",
    ),
    REPLACED: Alarm(True, "A certificate came in that its agent replaced by a newer one.", _COPY),
    UNKNOWN: Alarm(
        True,
        "A certificate of this authority came in that the ledger does not know.",
        "If the ledger was restored from a copy, enrol the agent again. Otherwise the authority's key is in other hands.",
    ),
    EXPIRED: Alarm(False, "An agent's certificate expired without being renewed.", "Enrol the agent with a new token."),
    BOOTSTRAP: Alarm(
        True,
        "The certificate inside a token was used for something else than enrolment.",
        "Treat the token as stolen: revoke its agent, and make a new token.",
    ),
    WRONG_DEPARTMENT: Alarm(
        True,
        "An agent named streams of another department than its own.",
        "Revoke the agent, and find out what runs on its appliance.",
    ),
    ENROL_REFUSED: Alarm(
        False, "A token was refused: not known, expired, or another agent's.", "Make a new token if someone needs one."
    ),
    SPENT_TWICE: Alarm(
        True,
        "A token that was spent came again: two hold it.",
        "Unless both were the same person, revoke the agent, and enrol it with a new token.",
    ),
    TWO_PLACES: Alarm(
        True,
        "Two places use one agent's identity.",
        "Switch one of them off; if you know only one, revoke the agent and enrol that one again.",
    ),
    NO_CALL: Alarm(
        False,
        "Connections ended before their first call: TLS refused the certificate, or it was a probe.",
        "Look at the address: on an appliance `forebay-agent status` gives the reason.",
    ),
}
