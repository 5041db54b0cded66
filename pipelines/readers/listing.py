"""The files that paths, addresses, directories and globs name, and what a directory holds beside them."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from windtunnel.pipelines.remote import files as remote
from windtunnel.pipelines.remote.address import checked, local_path, scheme_of
from windtunnel.pipelines.remote.files import HIDDEN, OTHER, File
from windtunnel.schemas.errors import InputError, nearest
from windtunnel.schemas.printable import escaped

COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
# Files about a data set, not of it: those of the datasets library, and what publishers put beside the data.
_ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "metadata.json")
_NAMED = 5  # examples of a reason
DANGLING, ABOUT, AGAIN, ABOVE, SPECIAL, CLOSED = (
    "a link to nothing", "about the data", "a link to what is read already", "a link to a directory above",
    "no regular file", "not to be listed: check the permissions",
)  # fmt: skip


class LeftOut(NamedTuple):
    """What lies in a directory and is not read, and why."""

    path: str
    reason: str


class Listing(NamedTuple):
    """Files in name order, each once, and what was left out of the directories that were looked through."""

    files: list[File]
    left_out: list[LeftOut]


def matching(patterns: str | Sequence[str], suffixes: tuple[str, ...]) -> list[File]:
    """Return the files of `listed`."""
    return listed(patterns, suffixes).files


def listed(patterns: str | Sequence[str], suffixes: tuple[str, ...]) -> Listing:
    """Return the files that patterns name; a pattern is a path or an address (`s3://...`).

    A directory means every file below it whose name ends in one of `suffixes` (also compressed), links followed, each
    place once. Hidden files and what lies in hidden directories (`.git`, `.ipynb_checkpoints`: copies mostly) are left
    out. A glob (`*`, `?`, `[..]`, `**`) means what it matches, each directory once. Raises InputError when a pattern
    matches nothing, or names what is no regular file.
    """
    files_by_name: dict[str, File] = {}
    left_out: dict[str, LeftOut] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if scheme_of(pattern):
            _check(pattern)
            found, others = remote.matching(pattern, suffixes, COMPRESSIONS)
            listing = Listing(list(found), [LeftOut(name, reason) for name, reason in others])
        else:
            listing = _listed(str(Path(local_path(pattern)).expanduser()), suffixes)
        files_by_name.update((str(file), file) for file in listing.files)
        left_out.update((entry.path, entry) for entry in listing.left_out)
    if not files_by_name:
        raise InputError("the source names no path at all: give a file, a directory or a glob")
    rest = [left_out[path] for path in sorted(left_out) if path not in files_by_name]
    return Listing([files_by_name[path] for path in sorted(files_by_name)], rest)


def summary(left_out: Sequence[LeftOut]) -> str:
    """Return what was left out in words, by reason with some names; empty where there is nothing."""
    words = []
    for reason, number in Counter(entry.reason for entry in left_out).most_common():
        named = [escaped(Path(entry.path).name) for entry in left_out if entry.reason == reason][:_NAMED]
        more = " ..." if number > len(named) else ""
        words.append(f"{number:,} {reason} ({', '.join(named)}{more})")
    return "; ".join(words)


def is_saved(folder: Path) -> bool:
    """Return whether a directory is a data set, or several splits of one, that `datasets.save_to_disk` has written."""
    one = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    return one or (folder / "dataset_dict.json").is_file()


def saved_files(folder: Path) -> list[Path]:
    """Return the Arrow files of a saved data set in the order of its rows.

    Raises InputError for one of several splits, and for a description that names no files.
    """
    about = folder / "dataset_dict.json"
    if about.is_file():
        splits = [str(name) for name in _object(about).get("splits") or []]
        if len(splits) != 1:
            raise InputError(f"{folder} holds the splits {', '.join(splits)}: name one of them, such as {folder}/NAME")
        return saved_files(folder / splits[0])
    names = [entry.get("filename") for entry in _object(folder / "state.json").get("_data_files") or []]
    files = [folder / str(name) for name in names]
    if not files:
        raise InputError(f"{folder / 'state.json'} names no file of the saved data set: save it again")
    if missing := next((file for file in files if not file.is_file()), None):
        raise InputError(f"{missing} is missing from the saved data set: fetch it again")
    return files


def _object(path: Path) -> dict:
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; save the data set again") from error
    return value if isinstance(value, dict) else {}


def _check(address: str) -> None:
    try:
        checked(address)
    except ValueError as error:
        raise InputError(f"the source: {error}") from None


def _listed(pattern: str, suffixes: tuple[str, ...]) -> Listing:
    path = Path(pattern)
    if path.is_dir():
        return _directory(path, suffixes)
    if path.exists():
        if not path.is_file():
            raise InputError(f"{path} is a pipe, a socket or a device: save what it gives to a file, and name that")
        return Listing([path], [])
    if path.is_symlink():
        raise InputError(f"{path} is a link to {str(path.readlink())!r}, which does not exist")
    if glob.has_magic(pattern):
        # glob.glob, because Path.glob takes no absolute pattern
        found = [Path(place) for place in glob.glob(pattern, recursive=True)]  # noqa: PTH207
        files = _each_once(place for place in found if place.is_file())
        if not files:
            raise InputError(f"no file matches {pattern} (seen from {Path.cwd()})")
        others = [(place, DANGLING if place.is_symlink() else SPECIAL) for place in found if not place.is_dir()]
        return Listing(list(files), [LeftOut(str(p), why) for p, why in others if not p.is_file()])
    if not path.parent.is_dir():
        raise InputError(f"there is no {path}: its directory {path.parent} does not exist (seen from {Path.cwd()})")
    hint = nearest(path.name, [entry.name for entry in path.parent.iterdir()][:1000])
    raise InputError(f"there is no {path} (seen from {Path.cwd()}): {hint[:200]}")


def _directory(path: Path, suffixes: tuple[str, ...]) -> Listing:
    endings = tuple(s + c for s in suffixes for c in ("", *COMPRESSIONS))
    files, left_out = [], []
    for place, reason in _below(path):
        name = place.name.lower()
        reason = reason or (ABOUT if name in _ABOUT else "" if name.endswith(endings) else OTHER)
        if reason:
            left_out.append(LeftOut(str(place), reason))
        else:
            files.append(place)
    if not files:
        holds = f"it holds {summary(left_out)}" if left_out else "it is empty"
        advice = "; it is a data set that the datasets library has saved: use the source `hf`" if is_saved(path) else ""
        raise InputError(f"no {' or '.join(suffixes)} file in the directory {path}: {holds}{advice}")
    return Listing(files, left_out)


def _below(top: Path) -> Iterator[tuple[Path, str]]:
    """Yield what lies in a directory and in those below it: files, with an empty reason, and what is not to be read.

    Links are followed after everything else, so that a place that is reached twice has its own name.
    """
    above = {_identity(folder) for folder in top.resolve().parents}
    seen: set[tuple[int, int]] = set()
    waiting, links = deque([top]), deque[Path]()
    while waiting or links:
        place = waiting.popleft() if waiting else links.popleft()
        try:
            status = place.stat()
            known = (status.st_dev, status.st_ino)
            if known in above or known in seen:
                yield place, ABOVE if known in above else AGAIN
                continue
            seen.add(known)
            if not stat.S_ISDIR(status.st_mode):
                yield place, "" if stat.S_ISREG(status.st_mode) else SPECIAL
                continue
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            yield place, DANGLING if error.errno in (errno.ENOENT, errno.ELOOP) else CLOSED
            continue
        for entry in entries:
            if entry.name.startswith("."):
                yield Path(entry.path), HIDDEN
            elif entry.is_symlink():
                links.append(Path(entry.path))
            elif entry.is_dir():
                waiting.append(Path(entry.path))
            else:
                seen.add(_identity(entry.path))
                yield Path(entry.path), "" if entry.is_file() else SPECIAL


def _identity(path: str | Path) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def _each_once(paths: Iterable[Path]) -> list[Path]:
    """Return the paths without those that lead to a directory again by a link: `**` goes round a loop 40 times."""
    shortest = sorted(paths, key=lambda path: (len(path.parts), str(path)))
    places = {folder: folder.resolve() for folder in {path.parent for path in shortest}}
    unique: dict[tuple[Path, str], Path] = {}
    for path in shortest:
        unique.setdefault((places[path.parent], path.name), path)
    return list(unique.values())
