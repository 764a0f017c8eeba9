"""The centre's offer in force and what became of the newest one: `<state>/offer.json`, over restarts.

The last good offer is laid over the files at every load. Where the files have changed so that it does not fit any more,
the files win: nothing is overlaid from then on, durably, and that is reported as a failed offer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from forebay_agent import kept
from forebay_agent.config.load import load
from forebay_agent.config.model import AgentConfig
from forebay_agent.config.offer import Offer, effective_hash, laid_over
from forebay_agent.errors import OfferRefused, StateFolderUnusable

FILE_NAME: Final = "offer.json"
APPLIED: Final = "APPLIED"
FAILED: Final = "FAILED"
_FORGOTTEN: Final = "nothing that the centre offered is in force then, masks included"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an offer. reason: one line for each setting that was refused."""

    revision: int = 0
    outcome: str = ""
    reason: str = ""
    decided_at_us: int = 0
    digest: str = ""


class KeptOffer:
    """Used by one thread, but for reading its attributes. Raises StateFolderUnusable when the file cannot be used."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE_NAME
        self.in_force: Offer | None = None
        self.newest = Outcome()
        self._hashed: tuple[str, Offer | None, str] = ("", None, "")
        content = kept.read(self._path, without=_FORGOTTEN)
        if content is None:
            return
        try:
            offer = content["in_force"]
            self.in_force = None if offer is None else Offer(int(offer["revision"]), dict(offer["settings"]))
            self.newest = Outcome(**content["newest"])
        except (KeyError, TypeError, ValueError):
            raise StateFolderUnusable(
                f"{self._path} is damaged", remedy=f"Bring the file back from a copy, or remove it: {_FORGOTTEN}."
            ) from None

    def over(self, files: AgentConfig) -> AgentConfig:
        """The files with the offer in force. Raises OfferRefused when it does not fit."""
        return files if self.in_force is None else laid_over(files, self.in_force)

    def hash_of(self, files: AgentConfig) -> str:
        """Of the configuration in force."""
        offer = self.in_force
        if self._hashed[:2] != (files.hash, offer):
            self._hashed = files.hash, offer, effective_hash(files, offer)
        return self._hashed[2]

    def accept(self, offer: Offer, now_us: int) -> Callable[[], None]:
        """Puts an offer in force, durably. -> what undoes it."""
        before = self.in_force, self.newest
        self._keep(offer, Outcome(offer.revision, APPLIED, "", now_us, offer.digest))
        return lambda: self._keep(*before)

    def refuse(self, offer: Offer, reason: str, now_us: int) -> None:
        """What is in force stays in force."""
        self._keep(self.in_force, Outcome(offer.revision, FAILED, reason, now_us, offer.digest))

    def drop(self, reason: str, now_us: int) -> None:
        """The files changed: the offer that was in force does not fit any more."""
        assert self.in_force is not None
        newest = Outcome(self.in_force.revision, FAILED, reason, now_us, self.in_force.digest)
        self.in_force, self.newest = None, newest  # even where it cannot be kept: the next load finds the same
        self._keep(None, newest)

    def _keep(self, in_force: Offer | None, newest: Outcome) -> None:
        offer: dict[str, Any] | None = None
        if in_force is not None:
            offer = {"revision": in_force.revision, "settings": dict(in_force.settings)}
        kept.write(self._path, {"in_force": offer, "newest": asdict(newest)})
        self.in_force, self.newest = in_force, newest


@dataclass(frozen=True, slots=True)
class Effective:
    """The configuration as the running agent would have it. offer: laid over the files, None: nothing is. refusal: why the
    one that was kept does not fit the files as they are now."""

    config: AgentConfig
    offer: Offer | None
    refusal: str


def load_effective(folder_or_file: Path) -> Effective:
    """For commands that show what is in force; changes nothing. Raises ConfigurationError, StateFolderUnusable."""
    files = load(folder_or_file)
    kept_offer = KeptOffer(files.state)
    try:
        return Effective(kept_offer.over(files), kept_offer.in_force, "")
    except OfferRefused as error:
        return Effective(files, None, str(error))
