"""The side of a verifier that runs in a process of its own."""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path
from typing import Any

from windtunnel.schemas import plugin_files
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.plugin import make
from windtunnel.trainer.rewards._reward import Reply, Reward, Verifier

_made: dict[str, Verifier] = {}


def reward(spec: dict[str, Any], directory: str, reply: dict[str, Any]) -> float:
    """Return the reward of a reply by the verifier of a spec, whose file lies relative to a directory."""
    key = canonical_json([spec, directory])
    if key not in _made:
        with plugin_files.relative_to(Path(directory)):
            made = make(Reward, spec)  # type: ignore[type-abstract]
        assert isinstance(made, Verifier)
        _made[key] = made
    verifier = _made[key]
    try:
        return float(verifier.reward(Reply(**reply)))
    except Exception as error:
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _file(verifier)]
        if not own or isinstance(error, MemoryError):
            raise
        told = type(type(error).__name__, (Exception,), {})  # whatever the class does with its arguments
        raise told(f"{error} ({Path(own[-1].filename).name}, line {own[-1].lineno})") from error


def _file(verifier: Verifier) -> str:
    """Return the file in which a verifier's `reward` is written, also where it is wrapped; empty if that is unknown."""
    code = getattr(inspect.unwrap(type(verifier).reward), "__code__", None)
    return code.co_filename if code is not None else ""
