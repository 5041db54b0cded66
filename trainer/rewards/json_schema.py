"""JSON of a given schema."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pydantic import field_validator

from windtunnel.trainer.constraints.json_format import JsonFormat
from windtunnel.trainer.rewards._reward import Example, Reply, Verifier

_SCHEMA = {"type": "object", "required": ["year"], "properties": {"year": {"type": "integer"}}}


class JsonSchema(Verifier):
    """1 for a reply that is JSON of a JSON Schema and nothing else, with a Markdown fence or without; else 0.

    JSON of another form gets `other_json`.
    """

    primary: ClassVar[str | None] = "expect"
    examples: ClassVar[tuple[Example, ...]] = (
        Example('{"year": 1843}', 1.0, params={"expect": _SCHEMA}),
        Example('{"year": "1843"}', 0.0, params={"expect": _SCHEMA}),
        Example('{"year": "1843"}', 0.5, params={"expect": _SCHEMA, "other_json": 0.5}),
        Example("The year is 1843.", 0.0, params={"expect": _SCHEMA}),
    )

    expect: dict[str, Any]
    other_json: float = 0.0

    @field_validator("expect")
    @classmethod
    def _is_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for

        try:
            validator_for(schema).check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"this is no JSON Schema: {error.message}") from error
        _resolved(schema)
        return schema

    def reward(self, reply: Reply) -> float:
        if not JsonFormat().holds(reply.text):
            return 0.0
        text = reply.text.strip().removeprefix("```").removesuffix("```")
        value = json.loads(text[4:] if text[:4].lower() == "json" else text)
        return 1.0 if _validator(self.expect).is_valid(value) else self.other_json


def _validator(schema: dict[str, Any]) -> Any:
    """Return what validates by a schema; it fetches nothing."""
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY

    return validator_for(schema)(schema, registry=REGISTRY)


def _resolved(schema: dict[str, Any]) -> None:
    """Raise ValueError for a reference that leads out of the schema, nowhere, or to itself."""
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resolver = REGISTRY.resolver_with_root(DRAFT202012.create_resource(schema))
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        if isinstance(part, dict) and isinstance(reference := part.get("$ref"), str):
            try:
                resolver.lookup(reference)
            except (Unresolvable, ValueError) as error:
                raise ValueError(
                    f"`$ref: {reference}` leads nowhere within the schema, and nothing is fetched: put it under `$defs`"
                ) from error
    try:
        for value in ({}, [], "", 0, None):
            _validator(schema).is_valid(value)
    except RecursionError as error:
        raise ValueError("a `$ref` of this schema leads to itself") from error
