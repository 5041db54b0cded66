"""The mirror of a store in object storage.

An object store renames nothing, and steps map their inputs into memory. So a run works in a local directory as in any
store, and uploads every artifact that it finishes: its files first, its manifest last. Where the bucket holds a
manifest the artifact is finished for every machine: opening the store copies the manifests, and the files follow when a
step or a person reads them. Shards of unfinished steps are in the mirror alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from blake3 import blake3

from windtunnel.pipelines.engine.mirrors import completions, lock
from windtunnel.pipelines.remote.failures import explained
from windtunnel.pipelines.remote.files import opened
from windtunnel.pipelines.samples.cache import cache_directory, cache_folder
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest, write_text, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.journal import FileDigest, digest_of

FOLDER = "stores"  # in the cache
STATE = ".remote"  # in a mirror: where it is uploaded to, and which artifacts are in the bucket or only there
TRANSFERS = 4  # at once; a driver may hold 100 MB for each


LARGE_BYTES = 64 << 20  # from which on a transfer is announced

Say = Callable[[str], None]


def silent(line: str) -> None:
    """Say nothing."""


def mirror_folder(url: str) -> Path:
    """Return where the mirror of an address is, whether it exists or not."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", url.rpartition("/")[2])[:40]
    return cache_directory() / FOLDER / f"{name}-{blake3(url.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Mirror:
    """A local directory and the address it is uploaded to; `token` tells it from mirrors on other machines."""

    folder: Path
    url: str
    token: str

    @staticmethod
    def at(folder: Path) -> Mirror | None:
        """Return the mirror that a directory is; None for a store that is only local."""
        try:
            state = json.loads((folder / STATE / "store.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Mirror(folder, state["url"], state["token"])

    @staticmethod
    def of(url: str) -> Mirror:
        """Return the mirror of an address, made where there is none yet."""
        cache_folder(FOLDER)
        folder = mirror_folder(url)
        if Mirror.at(folder) is None:
            write_text(folder / STATE / "store.json", json.dumps({"url": url, "token": uuid.uuid4().hex}))
        mirror = Mirror.at(folder)
        assert mirror is not None
        return mirror

    @contextlib.contextmanager
    def session(self, wait: bool, say: Say) -> Iterator[None]:
        """Hold the store for one run, which has the lock of the mirror: see what others finished, upload what is left.

        Completions of models are exchanged at the beginning and the end, also of a run that fails.
        """
        with lock.held(self.url, self.token, wait, say):
            self.refresh(prune=True)
            completions.pull(self.folder, self.url, self._state("completions"))
            for name in self.unpublished():
                self.publish(name, say)
            try:
                yield
            except BaseException:
                with contextlib.suppress(InputError):  # the run's own failure is the one to tell
                    completions.push(self.folder, self.url, self._state("completions"))
                raise
            completions.push(self.folder, self.url, self._state("completions"))

    def refresh(self, prune: bool = False) -> None:
        """Copy the manifests of artifacts that other mirrors finished.

        With `prune`, for which the store must be held, artifacts that are no longer in the bucket are forgotten where
        their files are not here.
        """
        listing = self._listing()
        finished = {name for name, files in listing.items() if MANIFEST in files}
        for mark in self._marks("published"):
            if mark.name not in finished:
                mark.unlink(missing_ok=True)
        for mark in self._marks("absent"):
            if prune and mark.name not in finished:
                shutil.rmtree(self.folder / mark.name, ignore_errors=True)
                mark.unlink(missing_ok=True)
        new = sorted(name for name in finished if not (self.folder / name / MANIFEST).exists())
        with explained(f"the manifests of {self.url} cannot be read"), ThreadPoolExecutor(TRANSFERS) as pool:
            fs, root = opened(self.url)
            paths = [f"{root}/{name}/{MANIFEST}" for name in new]
            manifests, times = list(pool.map(fs.cat_file, paths)), list(pool.map(fs.modified, paths))
        for name, manifest, finished_at in zip(new, manifests, times, strict=True):
            files = {file: size for file, size in listing[name].items() if file != MANIFEST}
            if _is_whole(name, manifest, sum(files.values())):  # else the step is done again
                write_text(self._state("absent", name), json.dumps(files))
                write_text(self._state("published", name), "")
                write_text(self.folder / name / MANIFEST, manifest.decode())
                seconds = finished_at.timestamp()  # the order in which artifacts were finished, not in which they came
                os.utime(self.folder / name / MANIFEST, (seconds, seconds))

    def unpublished(self) -> list[str]:
        """Return the artifacts that were finished here and are not in the bucket."""
        return sorted(
            file.parent.name
            for file in self.folder.glob(f"*/{MANIFEST}")
            if not self._state("published", file.parent.name).exists()
        )

    def publish(self, name: str, say: Say = silent) -> None:
        """Upload an artifact, its manifest last; raises InputError that says why it could not be uploaded."""
        lock.check(self.url, self.token)
        folder = self.folder / name
        files = {str(file.relative_to(folder)): file.stat().st_size for file in _files(folder)}
        files.pop(MANIFEST)
        _announce("uploading", name, files, say)
        with explained(f"{self.url}/{name} cannot be uploaded (it is finished in {folder}; run again)"):
            fs, root = opened(f"{self.url}/{name}")
            before = _sizes(fs, root)
            # what an interrupted upload, or a run of the same step elsewhere, left behind; the manifest first of all
            for stray in sorted(before.keys() - files.keys(), key=lambda file: file != MANIFEST):
                fs.rm_file(f"{root}/{stray}")
            self._upload(fs, root, folder, files)
            if (there := _sizes(fs, root)) != files:
                wrong = min(there.keys() ^ files.keys() or {f for f in files if there[f] != files[f]})
                raise InputError(f"{self.url}/{name}: {wrong} is not in the bucket as it was uploaded; run again")
            fs.pipe_file(f"{root}/{MANIFEST}", (folder / MANIFEST).read_bytes())
        write_text(self._state("published", name), "")

    def absent(self, name: str) -> frozenset[str]:
        """Return the files of an artifact that may not be here."""
        try:
            return frozenset(json.loads(self._state("absent", name).read_bytes()))
        except FileNotFoundError:
            return frozenset()

    def forget(self, name: str) -> None:
        """Remove an artifact of which a file here is damaged; where it is in the bucket, it comes from there.

        Raises InputError where it is damaged there too.
        """
        shutil.rmtree(self.folder / name)
        for kind in ("absent", "published"):
            self._state(kind, name).unlink(missing_ok=True)
        self.refresh()
        artifact = Artifact(self.folder / name)
        if artifact.done and not artifact.sound:
            raise InputError(f"{self.url}/{name}/{MANIFEST} is damaged: remove {self.url}/{name} and run again")

    def add(self, name: str, file: str) -> None:
        """Upload a file that was added to an artifact after it was finished."""
        with explained(f"{self.url}/{name}/{file} cannot be uploaded"):
            fs, root = opened(f"{self.url}/{name}")
            fs.put_file(str(self.folder / name / file), f"{root}/{file}")

    def fetch(self, name: str, only: Iterable[str] = (), say: Say = silent) -> None:
        """Download the files of an artifact that are not here; `only` names top-level entries of it."""
        mark, wanted = self._state("absent", name), set(only)
        try:
            files: dict[str, int] = json.loads(mark.read_bytes())
        except FileNotFoundError:
            return
        chosen = {file: size for file, size in files.items() if not wanted or file.partition("/")[0] in wanted}
        _announce("downloading", name, chosen, say)
        digests = Manifest.read(self.folder / name / MANIFEST).files
        with explained(f"{self.url}/{name} cannot be downloaded"), ThreadPoolExecutor(TRANSFERS) as pool:
            fs, root = opened(f"{self.url}/{name}")
            list(pool.map(lambda file: _download(fs, root, self.folder / name, file, digests.get(file)), chosen))
        if len(chosen) == len(files):
            mark.unlink(missing_ok=True)

    def _upload(self, fs: Any, root: str, folder: Path, files: Iterable[str]) -> None:
        for parent in sorted({str(PurePosixPath(root, file).parent) for file in (*files, MANIFEST)}):
            fs.makedirs(parent, exist_ok=True)
        with ThreadPoolExecutor(TRANSFERS) as pool:
            list(pool.map(lambda file: fs.put_file(str(folder / file), f"{root}/{file}"), files))

    def _listing(self) -> dict[str, dict[str, int]]:
        """Return the sizes of the files of every artifact in the bucket."""
        with explained(f"the store {self.url} cannot be listed"):
            fs, root = opened(self.url)
            artifacts: dict[str, dict[str, int]] = {}
            for file, size in _sizes(fs, root).items():
                name, _, rest = file.partition("/")
                if rest and not name.startswith("."):
                    artifacts.setdefault(name, {})[rest] = size
            return artifacts

    def _state(self, *names: str) -> Path:
        return self.folder.joinpath(STATE, *names)

    def _marks(self, kind: str) -> list[Path]:
        return sorted(self._state(kind).glob("*"))


def _announce(doing: str, name: str, files: dict[str, int], say: Say) -> None:
    if (size := sum(files.values())) >= LARGE_BYTES:
        say(f"{doing} {name}: {len(files)} files, {size / 1e6:,.0f} MB")


def _files(folder: Path) -> list[Path]:
    rests = set(folder.rglob(".*.partial"))  # of downloads that were killed
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and file not in rests]


def _sizes(fs: Any, root: str) -> dict[str, int]:
    """Return the sizes of the files below a place, by their path from there.

    Names become paths of the mirror, so those that would lead elsewhere are left out. Raises InputError where the
    bucket does not exist.
    """
    fs.invalidate_cache()
    try:
        found = fs.find(root, detail=True)
    except FileNotFoundError:
        bucket = root.strip("/").partition("/")[0]
        if not fs.exists(bucket):
            raise InputError(f"there is no bucket {bucket}: create it, or correct `store:`") from None
        return {}
    names = {name.removeprefix(root).strip("/"): info for name, info in found.items()}
    return {name: int(info["size"]) for name, info in names.items() if info["type"] == "file" and _is_plain(name)}


def _is_plain(name: str) -> bool:
    return name.isprintable() and not any(part in ("", ".", "..") or "\\" in part for part in name.split("/"))


def _is_whole(name: str, manifest: bytes, size: int) -> bool:
    """Return whether a manifest is that of an artifact of this name, and its files are not smaller than it says."""
    try:
        stated = json.loads(manifest)
        return name.endswith(f"-{stated['key'][:8]}") and size >= stated["bytes"]
    except (ValueError, KeyError, TypeError):
        return False


def _download(fs: Any, root: str, folder: Path, file: str, digest: FileDigest | None) -> None:
    """Download a file that is not here; a file that is in no manifest, a card, has no digest."""
    target = folder / file
    if target.is_file():  # an earlier download of other files, or one that was interrupted
        return
    with writing(target) as partial:
        fs.get_file(f"{root}/{file}", str(partial))
        if digest and digest_of(partial) != digest:
            raise InputError(
                f"{root}/{file} is not as it was written: run again; if it stays so it is damaged there, then remove "
                f"{root} from the store"
            )
