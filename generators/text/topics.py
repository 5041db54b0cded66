"""Topics of simulated dialogues: subjects, kinds of text, personas and goals, read from a YAML file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml
from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from windtunnel.schemas.errors import InputError

SHIPPED = Path(__file__).parents[1] / "seeds" / "ultrachat.yaml"


class Topics(BaseModel):
    """Subjects with their parts, kinds of text with details, uses of a text, personas, and goals by sector."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    world: dict[str, list[str]] = Field(min_length=1)
    creation: dict[str, list[str]] = Field(min_length=1)
    material: list[str] = Field(min_length=1)
    personas: list[str] = Field(min_length=1)
    goals: dict[str, list[str]]


@cache
def read(path: str | None = None) -> Topics:
    """Return the topics of a file (None: the shipped one). Raises InputError for an invalid file."""
    file = Path(path) if path else SHIPPED
    try:
        topics = Topics.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise InputError(f"topics cannot be read from {file}: {error}") from error
    if missing := {"world", "creation", "material"} - set(topics.goals):
        raise InputError(f"{file} names no goals for {', '.join(sorted(missing))}")
    return topics


@cache
def digest(path: str | None = None) -> str:
    """Return the hash of the file's bytes."""
    return blake3((Path(path) if path else SHIPPED).read_bytes()).hexdigest()[:12]
