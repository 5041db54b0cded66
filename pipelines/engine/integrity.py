"""Whether what a store holds is what was written: sizes at every reuse, contents before they count in a result."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from windtunnel.pipelines.engine.mirrors.mirror import Mirror, silent
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.tasks.task import COUNTS
from windtunnel.schemas import journal
from windtunnel.schemas.artifact import FOREIGN, MANIFEST, Manifest, discard
from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.journal import GONE, FileDigest, digests_of
from windtunnel.schemas.printable import escaped
from windtunnel.schemas.work import Work

NAMED = 3  # files in a message
NO_FILE = -1
ASIDE = "set_aside"  # in the store: files of users that lay in damaged artifacts


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
    except IsADirectoryError:
        return [Damage(MANIFEST, "is a directory")]
    if manifest.key != key:
        raise WindtunnelError(
            f"{folder} holds {escaped(manifest.step)} with the key {escaped(manifest.key)}, and its name promises "
            f"{key}: it was renamed or copied there. Move it away and run again"
        )
    mirror = Mirror.at(folder.parent)
    absent = mirror.absent(folder.name) if mirror else frozenset()
    sizes = _sizes_beside(folder, manifest.files)
    wrong = list(_wrong_sizes(manifest.files, sizes, absent))
    if content and not wrong:
        here = [file for file in manifest.files if file in sizes]
        digests = digests_of(folder / file for file in here)
        pairs = zip(here, digests, strict=True)
        wrong = [Damage(file, "has other content than was written") for file, d in pairs if d != manifest.files[file]]
    return wrong


def _wrong_sizes(files: dict[str, FileDigest], sizes: dict[str, int], absent: Collection[str]) -> Iterator[Damage]:
    for file, digest in files.items():
        if sizes.get(file) == NO_FILE:
            yield Damage(file, "is no regular file")
        elif file in sizes and sizes[file] != digest.bytes:
            yield Damage(file, f"has {sizes[file]:,} bytes where {digest.bytes:,} were written")
        elif file not in sizes and file not in absent:
            yield Damage(file, "is missing")
    for file in sizes.keys() - files.keys():
        if "/" in file:  # what lies beside the folders, a card or a note, is in nobody's way
            yield Damage(file, FOREIGN)


def set_aside(folder: Path) -> list[str]:
    """Move the files of an artifact that its step did not write to a directory of the store; return their new paths.

    Where the manifest is damaged nothing is moved, since it alone tells what the step wrote.
    """
    try:
        written = Manifest.read(folder / MANIFEST).files
    except (InputError, OSError):
        return []
    others = []
    for top, folders, names in os.walk(folder):
        inner = Path(top).relative_to(folder)
        links = [name for name in folders if Path(top, name).is_symlink()]
        for file in [(inner / name).as_posix() for name in [*names, *links]]:
            own = file in written or file == MANIFEST or any(name.startswith(f"{file}/") for name in written)
            if not own and not _unfinished(Path(file).name):
                others.append(file)
    return _moved(folder, others)


def set_aside_between_shards(folder: Path, shards: int) -> list[str]:
    """Move files of others that lie between the recorded files of a step that was interrupted; return their new paths.

    The step's own are recorded, or named after a shard: the last lines of a journal may be lost in a power failure.
    """
    recorded = {file for files in journal.recorded(folder).values() for file in files}
    kinds = {(Path(file).parent, Path(file).suffix) for file in recorded if "/" in file}
    others = []
    for file, _ in list(_sizes(folder)):
        name = re.fullmatch(r"(\d+)(?:[-_.]\d+)*", Path(file).stem)
        between = (Path(file).parent, Path(file).suffix) in kinds and file not in recorded
        if between and not (name and int(name[1]) < shards):
            others.append(file)
    return _moved(folder, others)


def _moved(folder: Path, files: list[str]) -> list[str]:
    target, moved = folder.parent / ASIDE / folder.name.removesuffix(".partial"), []
    for file in files:
        place = _free(target / file)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / file, place)
        moved.append(f"{ASIDE}/{place.relative_to(target.parent)}")
    return sorted(moved)


def told_aside(moved: list[str]) -> str:
    """Return what was set aside as words."""
    more = " ..." if len(moved) > NAMED else ""
    return f"what its step did not write is now {', '.join(map(escaped, moved[:NAMED]))}{more}"


def _free(path: Path) -> Path:
    """Return a path at which nothing is, with a number behind the name if need be."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))
    return next(place for place in itertools.chain([path], numbered) if not os.path.lexists(place))


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


def drop_damaged_shards(folder: Path, work: Work) -> list[Damage]:
    """Remove damaged files of a step that was interrupted, so that their tasks write them again; return them.

    With them goes what the work says must be done again too. A finished task of which a file is damaged or missing is
    done again.
    """
    wrong: list[Damage] = []
    for name, files in journal.recorded(folder).items():
        if not (own := list(_damaged(folder, files))):
            continue
        counts = f"{COUNTS}/{name}.json"
        again = {*work.redone({file for file, _ in own}, files.keys()), counts}
        for file in again:
            (folder / file).unlink(missing_ok=True)
        journal.forget(folder, name, sorted(again & files.keys()))
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

    def remove_damaged(self) -> bool:
        """Remove the artifacts that were found damaged, and return whether there were any.

        Where the store is in object storage they come from there. Files that no step wrote are kept, elsewhere; an
        artifact that is whole without them stays.
        """
        names = [name for name, usable in self._usable.items() if not usable and (self._store / name).exists()]
        mirror = Mirror.at(self._store)
        keys = {step.directory: step.key for step in self.damaged}
        for name in names:
            del self._usable[name]
            folder = self._store / name
            if moved := set_aside(folder):
                self._say(f"{name}: {told_aside(moved)}")
                if name in keys and not damage(folder, keys[name], content=True):
                    continue
            if mirror:
                mirror.forget(name)
            else:
                discard(folder)
        return bool(names)

    def _told(self, step: Step, content: bool = False) -> bool:
        wrong = damage(step.artifact(self._store).path, step.key, content)
        if wrong:
            self.damaged.append(step)
            mend = "it is moved" if all(item.what == FOREIGN for item in wrong) else "the step is done again"
            self._say(f"{step.name}: {listed(step.directory, wrong)}; {mend}")
        return bool(wrong)


def listed(directory: str, wrong: list[Damage]) -> str:
    """Return the first damaged files of an artifact as words."""
    more = f", and {len(wrong) - NAMED} more files" if len(wrong) > NAMED else ""
    return ", ".join(f"{directory}/{item}" for item in wrong[:NAMED]) + more


def _sizes_beside(folder: Path, written: Collection[str]) -> dict[str, int]:
    """Return the sizes of what lies in the folders of the written files, links followed; NO_FILE for pipes and such.

    Hidden files that the step did not write are left out: systems put them everywhere, and no step reads them.
    """
    sizes: dict[str, int] = {}
    for inner in {name.rpartition("/")[0] for name in written} | {""}:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder / inner) as entries:
            for entry in entries:
                name = f"{inner}/{entry.name}" if inner else entry.name
                if name in written or not (name == MANIFEST or entry.name.startswith(".") or entry.is_dir()):
                    sizes[name] = entry.stat().st_size if entry.is_file() else NO_FILE
    return sizes


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the files of a step that is not finished with their sizes, without what is half written."""
    top = len(str(folder)) + 1
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != journal.FOLDER:
                        waiting.append(entry.path)
                elif entry.is_file() and entry.path[top:] != MANIFEST and not _unfinished(entry.name):
                    yield entry.path[top:], entry.stat().st_size


def _unfinished(name: str) -> bool:
    return name.startswith(".") and name.endswith(".partial")


def _size(file: Path) -> int:
    return file.stat().st_size
