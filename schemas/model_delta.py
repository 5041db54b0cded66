"""The delta of a model directory: what a method that cannot be merged has trained, in `delta/` beside the base's files.

`delta/delta.json` names the method and its parameters; the weights beside it are in the method's own format, such as
peft's. Programs that read the directory without `delta/` read the base, which is another model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import base, make

FOLDER, SPEC = "delta", "delta.json"
_CARRIED = "carried_delta"


class Carried(NamedTuple):
    """The delta of an earlier stage that a model carries, and the names of the delta's weights."""

    delta: Any  # windtunnel.trainer.deltas._delta.Delta
    own: frozenset[str]

    def take_off(self, model: Any, out: Path) -> Any:
        """Write the delta into `out` and return the plain model; `model` is not usable afterwards."""
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self.own)  # the base's weights are not the delta's, if they trained too
        self.delta.save(model, out)
        return self.delta.base(model)


def carried(model: Any) -> Carried | None:
    """Return the delta that a loaded model carries from an earlier stage, or None."""
    return getattr(model, _CARRIED, None)


def set_carried(model: Any, found: Carried | None) -> None:
    """Mark a model as one that carries a delta."""
    if found is not None:
        setattr(model, _CARRIED, found)


def delta_of(directory: Path) -> str | None:
    """Return the name of the delta of a model directory, or None. Raises InputError for one that is not named."""
    spec = _spec(directory)
    return None if spec is None else next(iter(spec))


def with_delta(model: Any, directory: Path) -> Any:
    """Return a model that is loaded from a directory, with the directory's delta, if it has one.

    Raises InputError if the delta's method is not known here or its weights do not fit.
    """
    spec = _spec(directory)
    if spec is None:
        return model
    try:
        delta: Any = make(base("delta"), spec)
    except RecipeError as error:
        raise InputError(
            f"{directory} carries the delta {next(iter(spec))!r}, which is not known here ({error}): a method in a "
            "file of your own is found from the directory of the recipe that trained it"
        ) from error
    return delta.carry(model, directory / FOLDER)


def refuse_delta(directory: Path, reader: str) -> None:
    """Raise InputError if a model has a delta, for a `reader` that would take the base for the model."""
    if name := delta_of(directory):
        raise InputError(
            f"{directory} is a base with the delta {name!r} beside it, which {reader} cannot read: it would take the "
            "base for the model. Train it with a delta that is merged, such as `lora`, or train all weights"
        )


def _spec(directory: Path) -> dict[str, Any] | None:
    folder = directory / FOLDER
    if not folder.is_dir():
        return None
    try:
        spec = json.loads((folder / SPEC).read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no readable {SPEC}, which names its method: {error}") from error
    if not isinstance(spec, dict) or len(spec) != 1:
        raise InputError(f"{folder / SPEC} is not {{METHOD: {{PARAMETER: VALUE}}}}")
    return spec
