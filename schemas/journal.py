"""What tasks have written, file by file with digests, so that a later run can tell whole files from damaged ones.

While a task or a step's end is at work, every file that is written through `schemas.artifact.writing` below its
directory gets a line in a journal there. The line comes before the file is renamed into place: after kill -9 between
the two, the older file still has its older line. Files in a directory under a temporary name have none until all of
them are in their place. Once the step is finished the digests are in its manifest.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

FOLDER = ".files"  # in a step's partial directory, one file a task
THREADS = min(8, os.cpu_count() or 1)  # that hash at once; hashing releases the interpreter
GONE = "gone"  # digest of a file that its task removed

_at_work: list[_Journal] = []


class FileDigest(NamedTuple):
    """Size in bytes and 32 hexadecimal digits of blake3."""

    bytes: int
    blake3: str


NONE = FileDigest(0, GONE)


def digest_of(path: Path) -> FileDigest:
    """Return the digest of a file; reads it once, at 1 to 3 GB/s."""
    size = path.stat().st_size
    digest = blake3()
    if size:
        digest.update_mmap(path)
    return FileDigest(size, digest.hexdigest()[:32])


def digests_of(paths: Iterable[Path]) -> list[FileDigest]:
    """Return the digests of several files, with a few threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(digest_of, paths))


class _Journal:
    def __init__(self, folder: Path, name: str) -> None:
        self.folder = f"{folder.absolute()}{os.sep}"
        self.file = Path(self.folder, FOLDER, f"{name}.jsonl")

    def holds(self, path: str) -> bool:
        return path.startswith(self.folder) and not any(map(_is_temporary, Path(path[len(self.folder) :]).parts[:-1]))

    def add(self, digests: Mapping[str, FileDigest]) -> None:
        lines = [json.dumps([path.removeprefix(self.folder), *digest]) for path, digest in digests.items()]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, "ab") as file:  # in one piece, after kill -9 too
            file.write("".join(f"{line}\n" for line in lines).encode())


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".partial")


@contextlib.contextmanager
def journal(folder: Path, name: str) -> Iterator[None]:
    """Record the files that this process writes below a directory, within the block."""
    own = _Journal(folder, name)
    _at_work.append(own)
    try:
        yield
    finally:
        _at_work.remove(own)


def record(path: Path, content: Path) -> None:
    """Record that a file will have the content of another from now on, where a journal is kept."""
    _record([path], lambda: [digest_of(content)])


def record_all(files: Sequence[Path]) -> None:
    """Record that files are as they are now, all of them or none."""
    _record(files, lambda: digests_of(files))


def record_gone(files: Sequence[Path]) -> None:
    """Record that files will be gone, all of them or none."""
    _record(files, lambda: [NONE] * len(files))


def _record(files: Sequence[Path], digests: Callable[[], list[FileDigest]]) -> None:
    places = [str(file.absolute()) for file in files]
    keeping = [own for own in _at_work if places and own.holds(places[0])]
    if keeping:
        found = dict(zip(places, digests(), strict=True))
        for own in keeping:
            own.add(found)


def forget(folder: Path, name: str, files: Iterable[str]) -> None:
    """Record in the journal of a task, which is not at work, that files are gone."""
    own = _Journal(folder, name)
    own.add({f"{own.folder}{file}": NONE for file in files})


def names(folder: Path) -> list[str]:
    """Return the names of the journals that this process keeps of a directory."""
    return [own.file.stem for own in _at_work if own.folder == f"{folder.absolute()}{os.sep}"]


def recorded(folder: Path) -> dict[str, dict[str, list[FileDigest]]]:
    """Return the journals of a directory by name: for each file, by its path in there, its digests in order.

    A line that cannot be read is left out: its file then counts as one that is not recorded.
    """
    return {file.stem: _lines(file) for file in sorted((folder / FOLDER).glob("*.jsonl"))}


def _lines(file: Path) -> dict[str, list[FileDigest]]:
    files: dict[str, list[FileDigest]] = {}
    for line in file.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            match json.loads(line):
                case [str(path), int(size), str(digest)]:
                    files.setdefault(path, []).append(FileDigest(size, digest))
    return files
