"""Artifacts: content-addressed directories with a manifest that is written last.

key = blake3(step, version, complete configuration, input keys). A directory is finished if and only if it has a
manifest. A step writes into `<name>.partial/`, which is then renamed to `<name>/`; the manifest follows. A crash leaves
either a finished artifact or finished shards that the next run reuses.

The manifest has the size and digest of every file, and a digest of itself: a flipped bit, a cut or a missing file is
not taken for a result.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field

from windtunnel.schemas import journal
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.journal import FileDigest
from windtunnel.schemas.printable import escaped

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

MANIFEST = "manifest.json"
_MEND = "`windtunnel run RECIPE --verify` does its step again"
FOREIGN = "was not written by its step"
PARQUET: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}  # how every Parquet file is written


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
    files: dict[str, FileDigest] = Field(default_factory=dict)  # by path in the directory, this one left out
    seal: str = ""  # digest of all the rest

    def sealed(self) -> Manifest:
        """Return the manifest with the digest of its content."""
        content = self.model_dump(mode="json", exclude={"seal"})
        return self.model_copy(update={"seal": blake3(canonical_json(content).encode()).hexdigest()[:32]})

    @staticmethod
    def parsed(content: bytes) -> Manifest:
        """Return the manifest in a file's content; raises ValueError where it is not as it was written."""
        manifest = Manifest.model_validate_json(content)
        if manifest.seal != manifest.sealed().seal:
            raise ValueError("the content does not fit its seal")
        return manifest

    @staticmethod
    def read(path: Path) -> Manifest:
        """Return the manifest in a file; raises InputError where it is not as it was written."""
        with contextlib.suppress(ValueError):
            return Manifest.parsed(path.read_bytes())
        state = "damaged, or of another version" if path.stat().st_size else "empty"
        raise InputError(
            f"{escaped(path)} is {state}: run the recipe again, which does its step again, or delete its directory"
        )

    def write(self, path: Path) -> None:
        """Write the manifest with its seal, atomically."""
        write_text(path, self.sealed().model_dump_json(indent=1))


@dataclass(frozen=True)
class Artifact:
    """A finished directory of the store."""

    path: Path

    @cached_property
    def manifest(self) -> Manifest:
        """Raises InputError where it is damaged."""
        return Manifest.read(self.path / MANIFEST)

    @property
    def done(self) -> bool:
        return (self.path / MANIFEST).exists()

    @property
    def sound(self) -> bool:
        """Whether there is a manifest, and it is as it was written."""
        try:
            return bool(self.manifest)
        except (OSError, InputError):
            return False

    def intact(self, *entries: str) -> Artifact:
        """Return the artifact if its files have the content that was written; `entries` names some folders or files.

        Reads them once. Raises InputError with the first file that is damaged or missing, or lies between them and was
        not written with them.
        """
        chosen = [file for file in self.manifest.files if not entries or file.partition("/")[0] in entries]
        try:
            digests = journal.digests_of(self.path / file for file in chosen)
        except FileNotFoundError as error:
            raise InputError(f"{escaped(error.filename)} is missing: {_MEND}") from None
        for file, digest in zip(chosen, digests, strict=True):
            if digest != self.manifest.files[file]:
                raise InputError(f"{escaped(self.path / file)} has other content than was written: {_MEND}")
        for folder in {file.rpartition("/")[0] for file in chosen} - {""}:
            for file in self.files(folder, ""):
                if f"{folder}/{file.name}" not in self.manifest.files and not file.is_dir():
                    raise InputError(f"{escaped(file)} {FOREIGN}: move it elsewhere")
        return self

    def files(self, folder: str, suffix: str = ".parquet") -> list[Path]:
        """Return the files of a subdirectory in name order, which is shard order; hidden ones are nobody's data."""
        return sorted(f for f in (self.path / folder).glob(f"*{suffix}") if not f.name.startswith("."))


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
        journal.record(path, partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def writing_directory(path: Path) -> Iterator[Path]:
    """Yield a new temporary directory beside `path`, which takes its place on success and is removed on failure."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in _files_below(partial):
            with open(file, "rb+") as handle:
                os.fsync(handle.fileno())
        remove(path)
        partial.rename(path)
        journal.record_all(_files_below(path))  # now, since what is recorded and not there counts as lost
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def remove(path: Path) -> None:
    """Remove a file or a directory, where there is one, that a task wrote and no longer needs."""
    if not os.path.lexists(path):
        return
    journal.record_gone(_files_below(path) if path.is_dir() else [path])
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _files_below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def discard(path: Path) -> None:
    """Remove a directory or a file; of a link only the link, since what it leads to may be somebody's own."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
            pq.write_table(table, partial, **PARQUET)
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
