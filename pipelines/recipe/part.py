"""What the parts of a recipe have in common: they are frozen, refuse unknown keys, and name things safely."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

Spec = str | dict[str, Any]  # a plug-in: its name, or {name: parameters}


def safe_name(name: str) -> str:
    """Return the name. Raises ValueError for one that cannot be that of a directory."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError(
            f"{name!r} is no name: letters, digits, '_', '-' and '.', at most 64, starting with one of the first two"
        )
    return name


Name = Annotated[str, AfterValidator(safe_name)]  # names become directory names


class Part(BaseModel):
    """A frozen part of a recipe that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)
