"""A model as an artifact: a sample fetched and converted, or a directory of the user's own, under `model/`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work

NEEDED = ("config.json", "tokenizer.json")


class SampleModel(Work):
    """Fetches the sample model `sample` and puts it under `model/`; the fingerprint names its package and bytes."""

    sample: str
    fingerprint: dict[str, Any] = Field(default_factory=dict)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.pipelines.samples.models import fetch

        return _take(fetch(self.sample), out / "model")


class ModelDirectory(Work):
    """Puts a directory's files under `model/`, as hard links where the file system allows."""

    path: str
    files: tuple[tuple[str, int, int], ...]  # name, bytes, time of change in ns: other files are another step

    @classmethod
    def of(cls, path: str) -> ModelDirectory:
        """Return the work for a directory; raises InputError when it holds no model that can be read safely."""
        folder = Path(path)
        missing = [name for name in NEEDED if not (folder / name).is_file()]
        if missing:
            raise InputError(f"{path} is no model directory: {', '.join(missing)} is missing")
        if not list(folder.glob("*.safetensors")):
            raise InputError(f"{path} holds no *.safetensors; other weight formats can run code and are not read")
        names = sorted(file for file in folder.iterdir() if _wanted(file))
        return cls(path=path, files=tuple((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in names))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        return _take(Path(self.path), out / "model")


def _wanted(file: Path) -> bool:
    return file.is_file() and file.suffix in (".json", ".safetensors", ".jinja", ".model", ".txt")


def _take(source: Path, target: Path) -> Counts:
    counts = Counts()
    for file in sorted(source.iterdir()):
        if not _wanted(file):
            continue
        with writing(target / file.name) as partial:
            try:
                os.link(file, partial)
            except OSError:  # another file system, or one without links
                shutil.copyfile(file, partial)
        counts.bytes += file.stat().st_size
    return counts
