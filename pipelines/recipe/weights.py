"""The weights of a mix: numbers, or the word `tokens` for a corpus that counts by its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

BY_SIZE: Literal["tokens"] = "tokens"
_NUMBER: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(ge=0, allow_inf_nan=False)])


def _weight(value: Any) -> float | str:
    """Return a weight; its errors are those of a number, where a union would give one for each of its types."""
    if value == BY_SIZE:
        return BY_SIZE
    try:
        return _NUMBER.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        words = f"{first['msg']}, or the word {BY_SIZE!r}" if isinstance(value, str) else first["msg"]
        raise PydanticCustomError("weight", "{words}", {"words": words}) from None


Weight = Annotated[
    float | Literal["tokens"],
    PlainValidator(_weight),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"const": BY_SIZE}]}),
]


def positive(weights: Mapping[str, float | Literal["tokens"]]) -> dict[str, float | Literal["tokens"]]:
    """Return the weights without those that are zero."""
    return {name: weight for name, weight in weights.items() if weight == BY_SIZE or weight > 0}
