"""Whether what a store holds is what was written: sizes at every reuse, contents before they count in a result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from windtunnel.pipelines.engine.mirrors.mirror import Mirror, silent
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.tasks.task import COUNTS
from windtunnel.schemas import journal
from windtunnel.schemas.artifact import MANIFEST, Manifest
from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.journal import GONE, FileDigest, digests_of
from windtunnel.schemas.printable import escaped

NAMED = 3  # files in a message


class Damage(NamedTuple):
    """A file that is not as it was written, by its path in the artifact, and what is wrong with it."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{escaped(self.file)} {self.what}"


def damage(folder: Path, key: str, content: bool = False) -> list[Damage]:
    """Return what of a finished artifact is not as it was written.

    Sizes are always compared, with `content` the digests too, which reads every file once. Files of an artifact in
    object storage that are not here yet are compared when they are downloaded. Raises WindtunnelError where the
    manifest is that of another artifact.
    """
    try:
        manifest = Manifest.read(folder / MANIFEST)
    except InputError:
        return [Damage(MANIFEST, "is damaged, or of another version" if _size(folder / MANIFEST) else "is empty")]
    if manifest.key != key:
        raise WindtunnelError(
            f"{folder} holds {escaped(manifest.step)} with the key {escaped(manifest.key)}, and its name promises "
            f"{key}: it was renamed or copied there. Move it away and run again"
        )
    mirror = Mirror.at(folder.parent)
    absent = mirror.absent(folder.name) if mirror else frozenset()
    sizes = dict(_sizes(folder))
    wrong = list(_wrong_sizes(manifest.files, sizes, absent))
    if content and not wrong:
        here = [file for file in manifest.files if file in sizes]
        digests = digests_of(folder / file for file in here)
        pairs = zip(here, digests, strict=True)
        wrong = [Damage(file, "has other content than was written") for file, d in pairs if d != manifest.files[file]]
    return wrong


def _wrong_sizes(files: dict[str, FileDigest], sizes: dict[str, int], absent: Collection[str]) -> Iterator[Damage]:
    for file, digest in files.items():
        if file in sizes and sizes[file] != digest.bytes:
            yield Damage(file, f"has {sizes[file]:,} bytes where {digest.bytes:,} were written")
        elif file not in sizes and file not in absent:
            yield Damage(file, "is missing")
    folders = {file.rpartition("/")[0] for file in files} - {""}
    for file in sizes.keys() - files.keys():
        if file.rpartition("/")[0] in folders:  # what lies beside the folders, a card or a note, is in nobody's way
            yield Damage(file, "was not written by its step")


def written_files(folder: Path) -> dict[str, FileDigest]:
    """Return the digests of the files of a complete step: those that the journals have, others by reading them.

    Raises WindtunnelError where a file is not as its task wrote it.
    """
    known: dict[str, list[FileDigest]] = {}
    for files in journal.recorded(folder).values():
        for file, digests in files.items():
            known.setdefault(file, []).extend(digests)
    sizes = dict(_sizes(folder))
    digests = {file: known[file][-1] for file in sizes if file in known and known[file][-1].bytes == sizes[file]}
    rest = [file for file in sizes if file not in digests]
    for file, digest in zip(rest, digests_of(folder / file for file in rest), strict=True):
        if digest not in known.get(file, [digest]):
            raise WindtunnelError(f"{folder / file} was changed by another program while its step was at work")
        digests[file] = digest
    return dict(sorted(digests.items()))


def damaged_files(folder: Path) -> list[Damage]:
    """Return what of a step that was interrupted is not as its tasks wrote it."""
    return [item for files in journal.recorded(folder).values() for item in _damaged(folder, files)]


def drop_damaged_shards(folder: Path) -> list[Damage]:
    """Remove damaged files of a step that was interrupted, so that their tasks write them again; return them.

    A finished task of which a file is damaged or missing is done again.
    """
    wrong: list[Damage] = []
    for name, files in journal.recorded(folder).items():
        own = list(_damaged(folder, files))
        for file, _ in own:
            (folder / file).unlink(missing_ok=True)
        if own:
            (folder / COUNTS / f"{name}.json").unlink(missing_ok=True)
        wrong += own
    return wrong


def _damaged(folder: Path, files: dict[str, list[FileDigest]]) -> Iterator[Damage]:
    here = [file for file in files if (folder / file).is_file()]
    for file, digest in zip(here, digests_of(folder / file for file in here), strict=True):
        if digest not in files[file]:
            yield Damage(file, "has other content than was written")
    for file in files.keys() - set(here):
        if files[file][-1].blake3 != GONE:
            yield Damage(file, "is missing")


class Checks:
    """What one run knows of the artifacts of its store; each is looked at once, and what the run wrote not at all."""

    def __init__(self, store: Path, say: Callable[[str], None] = silent) -> None:
        self._store, self._say = store, say
        self.damaged: list[Step] = []
        self._usable: dict[str, bool] = {}
        self._whole: set[str] = set()

    def usable(self, step: Step) -> bool:
        """Return whether a step is finished and its files have their sizes."""
        name = step.directory
        if name not in self._usable:
            self._usable[name] = step.artifact(self._store).path.joinpath(MANIFEST).exists() and not self._told(step)
        return self._usable[name]

    def whole(self, step: Step) -> bool:
        """Return whether a usable step's files have the content that was written."""
        if step.directory in self._whole:
            return True
        if self._told(step, content=True):
            self._usable[step.directory] = False
            return False
        self._whole.add(step.directory)
        return True

    def written(self, step: Step) -> None:
        """Take a step that this run finished as it is."""
        self._usable[step.directory] = True
        self._whole.add(step.directory)

    def remove_damaged(self) -> None:
        """Remove the artifacts that were found damaged; where the store is in object storage they come from there."""
        for name in [name for name, usable in self._usable.items() if not usable]:
            del self._usable[name]
            if not (self._store / name).exists():
                continue
            if mirror := Mirror.at(self._store):
                mirror.forget(name)
            else:
                shutil.rmtree(self._store / name)

    def _told(self, step: Step, content: bool = False) -> bool:
        wrong = damage(step.artifact(self._store).path, step.key, content)
        if wrong:
            self.damaged.append(step)
            self._say(f"{step.name}: {listed(step.directory, wrong)}; the step is done again")
        return bool(wrong)


def listed(directory: str, wrong: list[Damage]) -> str:
    """Return the first damaged files of an artifact as words."""
    more = f", and {len(wrong) - NAMED} more files" if len(wrong) > NAMED else ""
    return ", ".join(f"{directory}/{item}" for item in wrong[:NAMED]) + more


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the files of an artifact with their sizes, without its manifest and what is not finished."""
    top = len(str(folder)) + 1
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != journal.FOLDER:
                        waiting.append(entry.path)
                elif entry.path[top:] != MANIFEST and not _unfinished(entry.name):
                    yield entry.path[top:], entry.stat().st_size


def _unfinished(name: str) -> bool:
    return name.startswith(".") and name.endswith(".partial")


def _size(file: Path) -> int:
    return file.stat().st_size
