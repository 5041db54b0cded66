"""Artifacts: content-addressed directories with a manifest that is written last.

key = blake3(step, version, complete configuration, input keys). A directory is finished if and only if it has a
manifest. A step writes into `<name>.partial/`, which is then renamed to `<name>/`; the manifest follows. A crash leaves
either a finished artifact or finished shards that the next run reuses.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

MANIFEST = "manifest.json"


class Part(BaseModel):
    """A plug-in that a step used to make an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str
    reference: str
    version: int
    digest: str  # blake3 of the file that defines its class


class Manifest(BaseModel):
    """Provenance, record counts and cost of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: str
    version: int
    key: str
    config: dict[str, Any]
    inputs: dict[str, str] = Field(default_factory=dict)  # role -> directory name of the input artifact
    counts: dict[str, Any] = Field(default_factory=dict)
    shards: int = 1
    seconds: float = 0.0  # wall time, summed over all runs of the step
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    bytes: int = 0  # size of the artifact's files
    versions: dict[str, str] = Field(default_factory=dict)
    parts: list[Part] = Field(default_factory=list)
    git: str = ""


@dataclass(frozen=True)
class Artifact:
    """A finished directory of the store."""

    path: Path

    @cached_property
    def manifest(self) -> Manifest:
        return Manifest.model_validate_json((self.path / MANIFEST).read_bytes())

    @property
    def done(self) -> bool:
        return (self.path / MANIFEST).exists()

    def files(self, folder: str, suffix: str = ".parquet") -> list[Path]:
        """Return the files of a subdirectory in name order, which is shard order."""
        return sorted((self.path / folder).glob(f"*{suffix}"))


def key_of(step: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return the content key of a step: 32 hexadecimal digits of blake3 over canonical JSON."""
    content = {"step": step, "version": version, "config": config, "inputs": dict(inputs)}
    return blake3(canonical_json(content).encode()).hexdigest()[:32]


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces, so that equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same directory; rename it to `path` on success, remove it on failure.

    The file is synced to disk before the rename: a power failure leaves either the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with open(partial, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_parquet(path: Path, table: pa.Table | pl.DataFrame) -> None:
    """Write a table as Parquet with zstd compression, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with writing(path) as partial:
        if isinstance(table, pa.Table):
            pq.write_table(table, partial, compression="zstd")
        else:
            table.write_parquet(partial)


@cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that can change results, by name."""
    packages = ("windtunnel", "datatrove", "polars", "pyarrow", "numba", "numpy", "torch", "transformers", "tokenizers")
    installed = {"python": platform.python_version(), "machine": platform.machine()}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed
