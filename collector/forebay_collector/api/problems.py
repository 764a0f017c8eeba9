"""Problems: what went wrong, as RFC 9457 has it, with the code and the remedy that it has everywhere else.

`type` is an address of this API where the kind is described. `code` never changes; `detail` says what, where and why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from pydantic import Field
from starlette.responses import Response

from forebay_collector import errors
from forebay_collector.api.values import Answer
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.platform.contract import PlatformError
from forebay_collector.policy import POLICIES, remedy_of

ROOT: Final = "/api/v1"
MEDIA: Final = "application/problem+json"
_STATUS: Final[Mapping[type[errors.CollectorError], int]] = {
    errors.CollectorError: 500,
    errors.RequestRefused: 400,
    errors.ApiTokenRefused: 401,
    errors.NotPermitted: 403,
    errors.LoginRefused: 403,
    errors.NotKnown: 404,
    errors.MethodRefused: 405,
    errors.NotPossible: 409,
    errors.RequestTooLong: 413,
    errors.MediaRefused: 415,
    errors.PasswordRefused: 422,
    errors.TooFast: 429,
    errors.LoginLocked: 429,
    errors.LedgerUnavailable: 503,
    errors.ArchiveUnavailable: 503,
}


class Wrong(Answer):
    """One part of a request that does not fit the description."""

    part: str = Field(description="path, query or body")
    name: str = Field(description="Of the parameter, or the way to the value within the body: `batches/0/seq`.")
    reason: str


class Kind(Answer):
    """A kind of problem."""

    code: str
    title: str
    remedy: str
    status: int


class Kinds(Answer):
    """Every kind of problem that the collector itself has. What agents and the platform tell has codes of its own."""

    items: list[Kind]


class Problem(Answer):
    """Why something was not done."""

    type: str = Field(
        description="The address at which the kind is described.", json_schema_extra={"format": "uri-reference"}
    )
    title: str = Field(description="The kind, in words.")
    status: int
    detail: str = Field(description="What, where and why.")
    code: str = Field(description="The kind, as a word that never changes.", pattern="^FB(-[A-Z0-9]+)+$")
    remedy: str = Field(description="What to do about it.")
    errors: list[Wrong] = Field(description="What does not fit the description, where that is the reason.")


def kinds() -> list[Kind]:
    """Every kind that the collector itself has, by code."""
    found = [
        Kind(code=kind.code, title=_title(kind), remedy=policy.remedy, status=_status(kind))
        for kind, policy in POLICIES.items()
    ]
    return sorted(found, key=lambda kind: kind.code)


def problem_of(error: errors.CollectorError | PlatformError, remedy: str = "") -> Problem:
    """remedy: in place of the kind's own."""
    if isinstance(error, PlatformError):
        return _problem(error.code, "The platform refuses.", 503, str(error), remedy_of_hold(error.code))
    kind = type(error)
    known = next(each for each in kind.__mro__ if each in POLICIES)
    wrong = error.wrong if isinstance(error, errors.RequestRefused) else ()
    parts = [Wrong(part=part, name=name, reason=reason) for part, name, reason in wrong]
    return _problem(error.code, _title(known), _status(kind), str(error), remedy or remedy_of(error), parts)


def response_of(error: errors.CollectorError | PlatformError) -> Response:
    problem = problem_of(error)
    headers = {}
    if isinstance(error, errors.TooFast | errors.LoginLocked):
        headers["retry-after"] = str(max(1, math.ceil(error.wait_s)))
    elif isinstance(error, errors.ApiTokenRefused):
        headers["www-authenticate"] = 'Bearer realm="forebay"'
    elif isinstance(error, errors.MethodRefused):
        headers["allow"] = ", ".join(error.allowed)
    elif problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "5"
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA)


def _problem(code: str, title: str, status: int, detail: str, remedy: str, wrong: list[Wrong] | None = None) -> Problem:
    return Problem(
        type=f"{ROOT}/problems/{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        remedy=remedy,
        errors=wrong or [],
    )


def _title(kind: type[errors.CollectorError]) -> str:
    return (kind.__doc__ or "").strip().partition(" Carries ")[0]


def _status(kind: type[errors.CollectorError]) -> int:
    return next(_STATUS[each] for each in kind.__mro__ if each in _STATUS)
