"""What schemathesis is told in its own process: the program under test keeps the token that it needs to go on."""

from __future__ import annotations

import os
from typing import Any

import schemathesis

OWN = "FOREBAY_FUZZER_TOKEN"
"""The variable with the number of the token that is used; another one is revoked in its place."""
SPARE = "1"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    if case.operation.path.endswith("/tokens/{token}/revoke") and str(case.path_parameters["token"]) == os.environ[OWN]:
        case.path_parameters["token"] = SPARE
