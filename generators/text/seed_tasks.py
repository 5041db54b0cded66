"""Seed tasks: human examples for bootstrapping kinds, read from a JSON Lines file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from windtunnel.schemas.errors import InputError

SHIPPED = Path(__file__).parents[1] / "seeds" / "self_instruct.jsonl"  # 175 tasks, 28 of them classification


class Instance(BaseModel):
    """One worked example; `input` is empty when the instruction needs none."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    input: str = ""
    output: str = Field(min_length=1)


class SeedTask(BaseModel):
    """An instruction with at least one worked example."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    name: str = ""
    instruction: str = Field(min_length=1)
    instances: tuple[Instance, ...] = Field(min_length=1)
    is_classification: bool = False


@cache
def read(path: str | None = None) -> tuple[SeedTask, ...]:
    """Return the tasks of a JSON Lines file (None: the shipped ones). Raises InputError with the invalid line."""
    file = Path(path) if path else SHIPPED
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"seed tasks cannot be read from {file}: {error}") from error
    tasks = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                tasks.append(SeedTask.model_validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "the line"
                raise InputError(f"{file}, line {number}: {where}: {first['msg']}") from error
    if not tasks:
        raise InputError(f"{file} holds no seed tasks")
    return tuple(tasks)


@cache
def digest(path: str | None = None) -> str:
    """Return the hash of the file's bytes, which is part of the identity of a kind that uses it."""
    return blake3((Path(path) if path else SHIPPED).read_bytes()).hexdigest()[:12]
