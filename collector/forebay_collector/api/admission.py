"""Admission: which program asks, by the token that it carries in `Authorization`, and how often it may.

Guesses are slowed down by address: after a burst, one a second. A token that was good a moment ago is none, so that a
program with a token that has expired shuts nobody out who comes from the same address. A refusal is an entry in the
audit, as long as there are not too many of them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from starlette.requests import Request

from forebay_collector.errors import ApiTokenRefused, TooFast
from forebay_collector.ledger import Ledger
from forebay_collector.service import tokens
from forebay_collector.service.login import peer_subject, secret_hash
from forebay_collector.service.pace import Pace
from forebay_collector.service.tokens import Holder

GUESSES_PER_S: Final = 1.0
GUESSES_BURST: Final = 20
CALLS_PER_S: Final = 50.0
CALLS_BURST: Final = 200
_TOLD_PER_S: Final = 1 / 60
_TOLD_BURST: Final = 5
_KNOWN: Final = 10_000
_LONGEST: Final = 200


class Admission:
    """Safe to use from any thread."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        calls: tuple[float, int] = (CALLS_PER_S, CALLS_BURST),
        guesses: tuple[float, int] = (GUESSES_PER_S, GUESSES_BURST),
    ) -> None:
        """What one token may do, and what one address may try: a second, after a burst."""
        self._ledger = ledger
        self._guesses = Pace(*guesses)
        self._told = Pace(_TOLD_PER_S, _TOLD_BURST)
        self._calls = Pace(*calls)
        self._lock = threading.Lock()
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def admit(self, request: Request) -> Holder:
        """Raises ApiTokenRefused, TooFast; LedgerUnavailable, LedgerDamaged."""
        token = _bearer(request)
        peer = peer_subject(request.client.host if request.client else "")
        digest = secret_hash(token)
        if not self._was_good(digest) and (wait_s := self._guesses.wait_s(peer)):
            raise TooFast("too many tokens from this address were refused", wait_s=wait_s)
        holder = tokens.holder(self._ledger, token)
        self._note(digest, good=holder is not None)
        if holder is None:
            if not self._told.wait_s(peer):
                tokens.note_refusal(self._ledger, token, peer)
            raise ApiTokenRefused
        if wait_s := self._calls.wait_s(str(holder.token)):
            raise TooFast("this token asks too often", wait_s=wait_s)
        return holder

    def _was_good(self, digest: bytes) -> bool:
        with self._lock:
            return digest in self._good

    def _note(self, digest: bytes, *, good: bool) -> None:
        with self._lock:
            self._good.pop(digest, None)
            if good:
                self._good[digest] = None
                while len(self._good) > _KNOWN:
                    self._good.popitem(last=False)


def _bearer(request: Request) -> str:
    """Raises ApiTokenRefused."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > _LONGEST:
        raise ApiTokenRefused("no API token was given", remedy="Send it as `Authorization: Bearer fba1_…`.")
    return token
