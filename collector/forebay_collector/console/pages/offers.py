"""Offers: settings that tune or tighten, rolled out to agents; and what became of each."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from forebay_collector.console.answers import Done, Page
from forebay_collector.console.visit import Visit
from forebay_collector.errors import NotPossible
from forebay_collector.service import configuration

HERE: Final = "/offers"
MOST: Final = 50
FEW: Final = 100
"""Up to so many agents stand in the form one by one; of more, some are named, or a department."""


def rollouts(visit: Visit) -> Page:
    found = configuration.rollouts(visit.ledger, visit.actor, MOST)
    operable = [view for view in visit.agents() if not view.revoked_at and visit.may("operate", view.department)]
    return Page(
        "offers.html",
        {
            "rollouts": found,
            "agents": operable,
            "few": len(operable) <= FEW,
            "departments": sorted({view.department for view in operable}),
            "chosen": visit.query.getlist("agent"),
            "open": ("trial", "rest"),
        },
    )


def offer(visit: Visit) -> Done:
    """Offers what the form says, one setting a line: `path = value`."""
    agents = [name for said in visit.all_said("agent") for name in said.replace(",", " ").split()]
    if department := visit.said("department"):
        agents += [view.name for view in visit.agents() if view.department == department and not view.revoked_at]
    if not agents:
        raise NotPossible("no agent is marked", remedy="Mark the agents first.")
    settings = {} if visit.said("clear") == "yes" else _settings(visit.secret("settings"))
    if not settings and visit.said("clear") != "yes":
        raise NotPossible("no setting is named", remedy="Write one setting a line, or take everything back.")
    staged = visit.said("staged") == "yes"
    made = configuration.offer(visit.ledger, visit.actor, agents, settings, visit.why(), staged=staged)
    return visit.done(f"{HERE}#r{made}", "offers.made", number=made, count=len(agents))


def cancel(visit: Visit) -> Done:
    number = visit.said("rollout")
    if not number.isdecimal() or len(number) > 18:
        raise NotPossible("no roll-out is named", remedy="Choose one of the list.")
    configuration.cancel(visit.ledger, visit.actor, int(number), visit.why())
    return visit.done(HERE, "offers.cancelled", number=number)


def _settings(text: str) -> Mapping[str, Any]:
    """Path -> value of lines `path = value`; a path may stand without quotes, a value as TOML or JSON writes it.

    Raises NotPossible, naming the line.
    """
    found: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        path, equals, value = line.partition("=")
        name = path.strip().strip('"')
        if not equals or not name:
            raise NotPossible(f"line {number} is not `path = value`", remedy="Write one setting a line.")
        if name in found:
            raise NotPossible(f"line {number}: {name} stands there twice", remedy="Leave one of them out.")
        found[name] = _value(value.strip(), number)
    return found


def _value(text: str, number: int) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        value = tomllib.loads(f"value = {text}")["value"]
        json.dumps(value)
    except (tomllib.TOMLDecodeError, TypeError):
        raise NotPossible(
            f"line {number}: the value cannot be read", remedy='Write texts in quotes: "30s"; numbers and true without.'
        ) from None
    return value
