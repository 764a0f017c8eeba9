"""Description: the API as OpenAPI 3.1 has it, made of the same operations that are served.

python -m forebay_collector.api.description          writes it, as docs/openapi.json keeps it
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from forebay_collector import __version__
from forebay_collector.api.operation import Noun, Operation
from forebay_collector.api.problems import MEDIA, ROOT, Problem

_REF: Final = "#/components/schemas/{model}"
_NUMBER: Final = {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999_999}
_TEXT: Final = {"type": "string", "minLength": 1}
_PARAMETERS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "agent": ("The agent's name.", _TEXT),
    "department": ("The stream's department.", _TEXT),
    "source": ("The stream's source.", _TEXT),
    "table": ("The stream's `schema.table`; a slash in it is written `%2F`.", _TEXT),
    "epoch": ("The batch's epoch.", _NUMBER),
    "seq": ("The batch's number in its epoch.", _NUMBER),
    "command": ("The command's id.", _TEXT),
    "rollout": ("The roll-out's number.", _NUMBER),
    "verification": ("The verification's number.", _NUMBER),
    "certificate": ("The certificate's number.", _NUMBER),
    "repair": ("The repair's number.", _NUMBER),
    "alert": ("The alert's number.", _NUMBER),
    "window": ("The maintenance window's number.", _NUMBER),
    "user": ("The account's name.", _TEXT),
    "token": ("The token's number.", _NUMBER),
    "code": ("The kind's code.", _TEXT),
}
_ALWAYS: Final = (400, 401, 403, 404, 409, 429, 503)
_OPEN: Final = (400, 404)
_WITH_BODY: Final = (413, 415)
_ABOUT: Final = """\
Everything that the console of a Forebay collector does, for programs, over the same service layer.

Send an API token as `Authorization: Bearer fba1_…`; it may at most what its account may. What belongs to other
departments than the token's does not exist: 404. Deeds are kept in the audit with `via` = api.

Moments are RFC 3339 texts in UTC, null where there is none; durations are numbers of seconds (`_s`) or microseconds
(`_us`). A listing's `next` is the `cursor` of its next page. A body, or a query, with a key that is not described is
refused. What goes wrong is a problem (RFC 9457) with a code that never changes and a remedy.
"""


class _Schemas(GenerateJsonSchema):
    """Without a title for every field: it says nothing that the field's name does not."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def text(nouns: Sequence[Noun]) -> str:
    """The description as a file has it."""
    return json.dumps(describe(nouns), ensure_ascii=False, indent=1) + "\n"


def describe(nouns: Sequence[Noun]) -> dict[str, Any]:
    """An OpenAPI document, as plain values."""
    operations = [operation for noun in nouns for operation in noun.operations]
    asked: set[type[BaseModel]] = {model for each in operations for model in (each.body, each.query) if model}
    answered: set[type[BaseModel]] = {each.answers for each in operations if each.answers} | {Problem}
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in _named(asked)]
    wanted += [(model, "serialization") for model in _named(answered)]
    _, defined = models_json_schema(wanted, ref_template=_REF, schema_generator=_Schemas)
    schemas: dict[str, Any] = defined["$defs"]
    paths: dict[str, Any] = {}
    for operation in operations:
        described = _operation(operation, schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    for query in {each.query.__name__ for each in operations if each.query}:
        del schemas[query]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Forebay collector", "version": __version__, "description": _ABOUT},
        "servers": [{"url": ROOT}],
        "tags": [{"name": noun.tag, "description": noun.about} for noun in nouns],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token, `fba1_…`."}
            },
            "responses": {
                str(status): _refused(status)
                for status in sorted(
                    {*_ALWAYS, *_OPEN, *_WITH_BODY, *(status for each in operations for status in each.refusals)}
                )
            },
            "schemas": dict(sorted(schemas.items())),
        },
    }


def _named(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    return sorted(models, key=lambda model: model.__name__)


def _operation(operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    right = f"Needs the permission *{operation.needs}*." if operation.needs else ""
    told: dict[str, Any] = {"operationId": operation.id, "summary": operation.summary, "tags": [operation.tag]}
    if about := " ".join(part for part in (operation.about, right) if part):
        told["description"] = about
    if operation.everybody:
        told["security"] = []
    if parameters := [*_of_path(operation.path), *_of_query(operation, schemas)]:
        told["parameters"] = parameters
    if operation.body is not None:
        schema = {"$ref": _REF.format(model=operation.body.__name__)}
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    refusals = (
        *(_OPEN if operation.everybody else _ALWAYS),
        *(_WITH_BODY if operation.body else ()),
        *operation.refusals,
    )
    told["responses"] = {str(operation.status): _answer(operation)} | {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(refusals)
    }
    return told


def _of_path(path: str) -> list[dict[str, Any]]:
    found = []
    for name in re.findall(r"\{(\w+)\}", path):
        about, schema = _PARAMETERS[name]
        found.append({"name": name, "in": "path", "required": True, "description": about, "schema": dict(schema)})
    return found


def _of_query(operation: Operation, schemas: Mapping[str, Any]) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    model = schemas[operation.query.__name__]
    found = []
    for name, schema in model["properties"].items():
        plain = {key: value for key, value in schema.items() if key != "description"}
        # what is not asked for is left out of an address: there is no null in it
        choices = [choice for choice in plain.pop("anyOf", ()) if choice != {"type": "null"}]
        if len(choices) == 1:
            plain = {key: value for key, value in plain.items() if key != "default"} | choices[0]
        required = name in model.get("required", ())
        about = schema.get("description", "")
        found.append({"name": name, "in": "query", "required": required, "description": about, "schema": plain})
    return found


def _answer(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase}
    if operation.answers is not None:
        schema = {"$ref": _REF.format(model=operation.answers.__name__)}
        told["content"] = {"application/json": {"schema": schema}}
    elif operation.files:
        told["content"] = {media: {"schema": {}} for media in operation.files}
    if operation.location:
        told["headers"] = {"Location": {"description": "Where it is found.", "schema": {"type": "string"}}}
    return told


def _refused(status: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA: {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
    if status in (429, 503):
        about = "Seconds until it is worth asking again."
        told["headers"] = {"Retry-After": {"description": about, "schema": {"type": "integer"}}}
    return told


if __name__ == "__main__":
    from forebay_collector.api.nouns import NOUNS

    sys.stdout.write(text(NOUNS))
