"""Artifacts of a recipe's store as frames, by the names of their steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
import pyarrow as pa

from windtunnel.pipelines.engine.mirrors.opening import address_of, fetched, open_store, store_address
from windtunnel.pipelines.readers.paths import shown
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest
from windtunnel.schemas.errors import InputError, nearest
from windtunnel.schemas.printable import escaped

DEFAULT = ("kept", "rows", "documents", "decisions", "measures")  # the table that is read when none is named


@dataclass(frozen=True)
class StoredArtifact:
    """A finished step of a store: its tables as frames, its manifest, its directory."""

    path: Path

    @cached_property
    def manifest(self) -> Manifest:
        """What made it, with counts, seconds and package versions."""
        try:
            return Artifact(self.path).manifest
        except (InputError, OSError) as error:
            file = f"{escaped(address_of(Artifact(self.path)))}/{MANIFEST}"
            raise InputError(f"{file} is damaged, or written by another version: delete its directory") from error

    @property
    def whole(self) -> bool:
        """Whether the manifest can be read."""
        try:
            return bool(self.manifest)
        except InputError:
            return False

    @property
    def name(self) -> str:
        """The step's name and the first 8 digits of its key, such as `corpus:filtered-1a2b3c4d`."""
        return f"{self.manifest.step}-{self.manifest.key[:8]}"

    @property
    def tables(self) -> list[str]:
        """The names of the tables: folders of Parquet files, such as `kept` and `dropped`, and single files."""
        fetched(Artifact(self.path))
        files = [file.relative_to(self.path) for file in self.path.glob("**/[!.]*.parquet")]
        return sorted({str(file.parent if len(file.parts) > 1 else file.with_suffix("")) for file in files})

    def files(self, table: str | None = None) -> list[Path]:
        """Return the Parquet files of a table, in the order of their rows; see `scan`."""
        tables = self.tables
        if not (table is None or isinstance(table, str)):
            raise InputError(f"{self.name} has tables by name, and {table!r} is none: {', '.join(tables)}")
        if not tables:
            held = ", ".join(sorted(file.name for file in self.path.iterdir()))
            raise InputError(f"{self.name} holds no table, but {held}: its directory is {self.path}")
        if table is None:
            table = next((name for name in DEFAULT if name in tables), tables[0] if len(tables) == 1 else None)
            if table is None:
                raise InputError(f"{self.name} holds several tables: name one of {', '.join(map(repr, tables))}")
        if table not in tables:
            raise InputError(f"{self.name} has no table {table!r}: {nearest(table, tables)}")
        return Artifact(self.path).files(table) or [self.path / f"{table}.parquet"]

    def scan(self, table: str | None = None) -> pl.LazyFrame:
        """Return a table as a LazyFrame, which reads nothing before it is collected.

        The files are not held against what was written, as `to_polars` does. Without a name it is `kept` of a corpus,
        `rows` of generated rows, `documents` of what a source read or of a held-out set, or the one table that there
        is. Raises InputError with the names of the tables for another one.
        """
        return pl.scan_parquet(self.files(table), hive_partitioning=False)

    def to_polars(self, table: str | None = None) -> pl.DataFrame:
        """Return a table as a polars DataFrame; see `scan`. Raises InputError where a file is damaged."""
        try:
            return pl.scan_parquet(self._intact(table), hive_partitioning=False).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._damaged(error) from error

    def to_arrow(self, table: str | None = None) -> pa.Table:
        """Return a table as a pyarrow Table, with the Arrow types that the files have; see `to_polars`."""
        import pyarrow.parquet as pq

        try:
            return pa.concat_tables([pq.read_table(file, partitioning=None) for file in self._intact(table)])
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def _intact(self, table: str | None) -> list[Path]:
        files = self.files(table)
        Artifact(self.path).intact(*{file.relative_to(self.path).parts[0] for file in files})
        return files

    def _damaged(self, error: Exception) -> InputError:
        first = next(iter(str(error).splitlines()), "")
        address = address_of(Artifact(self.path))
        copy = "" if address == str(self.path) else f" and its copy, {self.path},"
        return InputError(f"{self.name} is damaged ({first}): delete {address}{copy} and run the recipe again")

    def __repr__(self) -> str:
        return f"StoredArtifact({self.name!r}, tables={self.tables})"


@dataclass(frozen=True)
class Store:
    """The finished artifacts of a recipe's store directory, by the names of their steps.

        Store.open("runs/quickstart")["corpus:filtered"].to_polars()

    After a recipe was changed, a store holds several artifacts of one name. The name means the one that was finished
    last; a name with the first digits of the key, `corpus:filtered-1a2b3c4d`, means exactly one. Directories with a
    damaged manifest are not listed; asking for one by its name raises InputError.
    """

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Return the store in a directory or at an address such as `s3://...`; raises InputError when there is none."""
        store = cls(open_store(str(path)))
        if not store.path.is_dir():
            raise InputError(f"there is no store {shown(path)}: name the directory of a recipe's `store:`")
        if not store._artifacts():
            for artifact in store._folders():
                if re.fullmatch(r".+-[0-9a-f]{8}", artifact.path.name):  # the name of an artifact's directory
                    _ = artifact.manifest  # raises: it is damaged, and so are the others
            raise InputError(f"{shown(path)} holds no finished artifact: run its recipe first")
        return store

    def names(self) -> list[str]:
        """Return the names of all finished artifacts with their keys, in the order in which they were finished."""
        return [artifact.name for artifact in self._artifacts()]

    def __getitem__(self, name: str) -> StoredArtifact:
        if not isinstance(name, str):  # a position would mean another artifact as soon as one more is finished
            raise InputError(f"{shown(self.path)} has artifacts by name, and {name!r} is none: see `names()`")
        folders = self._folders()
        latest = [artifact for artifact in folders if _is_step(name, artifact)][-1:]
        found = latest or [artifact for artifact in folders if _means(name, artifact)]
        if len(found) == 1:
            _ = found[0].manifest  # raises where it is damaged
            return found[0]
        if found:
            raise InputError(f"{name!r} means several artifacts: {', '.join(a.name for a in found if a.whole)}")
        steps = {artifact.manifest.step for artifact in self._artifacts()}
        where = escaped(store_address(self.path))
        raise InputError(f"{where} has no artifact {name!r}: {nearest(name, steps | set(self.names()))}")

    def __contains__(self, name: object) -> bool:
        return any(_is_step(str(name), artifact) or _means(str(name), artifact) for artifact in self._artifacts())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._artifacts())

    def _artifacts(self) -> list[StoredArtifact]:
        """Return what is finished now, oldest first: a recipe may be running meanwhile."""
        return [artifact for artifact in self._folders() if artifact.whole]

    def _folders(self) -> list[StoredArtifact]:
        """Return the directories with a manifest, oldest first; one that is damaged or foreign stops no other."""
        manifests = [
            (file.stat().st_mtime_ns, file.parent.name, file.parent) for file in self.path.glob(f"*/{MANIFEST}")
        ]
        return [StoredArtifact(folder) for _, _, folder in sorted(manifests)]


def _is_step(name: str, artifact: StoredArtifact) -> bool:
    """Return whether a name is that of the artifact's step; of a damaged artifact the directory tells it."""
    if artifact.whole:
        return name == artifact.manifest.step
    return name.replace(":", ".") == artifact.path.name.rpartition("-")[0]


def _means(name: str, artifact: StoredArtifact) -> bool:
    step, _, key = name.rpartition("-")
    if artifact.whole:
        held = artifact.manifest.key
    else:
        held, key = artifact.path.name.rpartition("-")[2], key[:8]
    return _is_step(step, artifact) and bool(key) and held.startswith(key)
