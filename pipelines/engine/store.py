"""The store of a recipe: one run at a time, partial directories, manifests written last."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from windtunnel.pipelines.engine.integrity import written_files
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.tasks.process_guard import own
from windtunnel.pipelines.engine.tasks.task import COUNTS, ERRORS
from windtunnel.schemas import journal
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest, discard, versions
from windtunnel.schemas.errors import InputError, WindtunnelError, advice_for
from windtunnel.schemas.work import Counts

LOCK = ".lock"


@contextlib.contextmanager
def locked(store: Path, wait: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the store for one run; another run waits, or (wait=False) says who holds it.

    The lock is the kernel's and no process that the holder starts has it: it is gone with its holder, even after
    kill -9. Raises InputError when no store can be made there.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        handle = os.open(store / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if advice_for(error):
            raise
        raise InputError(
            f"nothing can be written to the store {store}: {error.strerror}; "
            "give a directory that you may write to as `store:`, or by --set store=DIR"
        ) from error
    try:
        _take(handle, store, wait, say)
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
        with own(handle):
            yield
    finally:
        os.close(handle)


def _take(handle: int, store: Path, wait: bool, say: Callable[[str], None]) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        pass
    who = _holder(handle)
    if not wait:
        raise WindtunnelError(f"the store {store} is in use by {who}; wait for it to end, or use another `store:`")
    say(f"waiting: the store {store} is in use by {who}")
    fcntl.flock(handle, fcntl.LOCK_EX)


def _holder(handle: int) -> str:
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError):
        return "another run"


def partial(store: Path, step: Step) -> Path:
    """Return the directory in which a step's shards gather until all are there."""
    return store / f"{step.directory}.partial"


def finished_ranks(folder: Path) -> set[int]:
    """Return the ranks whose counts are written, that is, which need no more work.

    Counts that a power failure left empty or cut are removed.
    """
    ranks = set()
    for file in (folder / COUNTS).glob("[0-9]*.json"):
        try:
            json.loads(file.read_bytes())
            ranks.add(int(file.stem))
        except ValueError:
            file.unlink()
    return ranks


def shard_notes(folder: Path) -> list[dict[str, Any]]:
    """Return what the finished shards wrote down, in rank order."""
    return [json.loads(file.read_bytes()) for file in sorted((folder / COUNTS).glob("[0-9]*.json"))]


def commit(store: Path, step: Step, finish_seconds: float) -> Artifact:
    """Turn a step's complete partial directory into its artifact: rename, then the manifest."""
    folder, final = partial(store, step), store / step.directory
    notes = shard_notes(folder)
    shutil.rmtree(folder / ERRORS, ignore_errors=True)
    _sweep(folder)
    files = written_files(folder)
    shutil.rmtree(folder / journal.FOLDER, ignore_errors=True)
    counts = Counts.total([Counts.model_validate(note["counts"]) for note in notes])
    manifest = Manifest(
        step=step.name,
        version=step.work.version,
        key=step.key,
        config=step.identity,
        inputs={role: source.directory for role, source in sorted(step.inputs.items())},
        counts=counts.check(step.name).model_dump(),
        shards=len(notes),
        seconds=round(sum(note["cost"]["seconds"] for note in notes) + finish_seconds, 3),
        cpu_seconds=round(sum(note["cost"]["cpu_seconds"] for note in notes) + finish_seconds, 3),
        peak_memory_bytes=max((note["cost"]["peak_memory_bytes"] for note in notes), default=0),
        bytes=sum(digest.bytes for digest in files.values()),
        versions=versions(),
        parts=step.parts,
        git=_revision(),
        files=files,
    )
    discard(final)  # where a crash fell between the rename and the manifest
    os.replace(folder, final)
    manifest.write(final / MANIFEST)
    return Artifact(final)


def _sweep(folder: Path) -> None:
    """Remove what killed workers left half written; only files under their final names belong to an artifact."""
    for rest in sorted(folder.rglob(".*.partial")):
        if rest.is_dir():
            shutil.rmtree(rest)
        else:
            rest.unlink(missing_ok=True)


@functools.cache
def _revision() -> str:
    """Return the git revision of the code, or an empty string outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
