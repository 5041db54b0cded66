"""The record of one server for all processes of a user: its file, lock and log, and how to end the server."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from windtunnel.generators.serving import supervisor
from windtunnel.schemas.artifact import write_text

TAIL_LINES = 25
TAIL_BYTES = 20_000
FIELDS = {"supervisor", "owner", "port"}


def runtime_directory() -> Path:
    """Return the directory of records and logs of this user's servers; WINDTUNNEL_RUNTIME overrides it."""
    return Path(os.environ.get("WINDTUNNEL_RUNTIME") or Path.home() / ".cache" / "windtunnel" / "servers")


@dataclass(frozen=True)
class Record:
    """The files of the server `mark`: `.json` (supervisor, owner, port), `.log`, `.lock`."""

    runtime: Path
    mark: str

    @property
    def path(self) -> Path:
        return self.runtime / f"{self.mark}.json"

    @property
    def log(self) -> Path:
        return self.runtime / f"{self.mark}.log"

    def read(self) -> dict[str, Any] | None:
        """Return {supervisor, owner, port}; None when there is no server on record."""
        try:
            record = json.loads(self.path.read_text())
            return record if set(record) >= FIELDS else None
        except (OSError, ValueError, TypeError):
            return None

    def write(self, record: dict[str, Any]) -> None:
        """Put a server on record."""
        write_text(self.path, json.dumps(record))

    @contextlib.contextmanager
    def locked(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Lock the start, adoption and end of this server; `waiting` is called if another process holds the lock."""
        with (self.runtime / f"{self.mark}.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def end(self, record: dict[str, Any] | None) -> None:
        """End the server on record, by SIGKILL if necessary, and delete the record.

        Processes are verified first, because pids are reused.
        """
        if record and supervisor.alive(record["supervisor"]):
            pid = record["supervisor"]["pid"]
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            if not _ended(record["supervisor"], supervisor.GRACE_SECONDS + 5):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                _ended(record["supervisor"], 5)
        elif record:
            _end_orphans(record["supervisor"])
        self.path.unlink(missing_ok=True)

    def last_lines(self, count: int = TAIL_LINES) -> list[str]:
        """Return the last lines of the log that are not empty."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.strip()][-count:]

    def tail(self) -> str:
        """Return the end of the log for an error message."""
        lines = self.last_lines()
        return f"Its log ({self.log}) " + ("ends:\n" + "\n".join(f"    {x}" for x in lines) if lines else "is empty.")


def end_owned(owner: int | None = None, runtime: Path | None = None) -> int:
    """End every server that a process owns (default: this one); return their number."""
    ended = 0
    mine = supervisor.identity(owner or os.getpid())
    for path in (runtime or runtime_directory()).glob("*.json"):
        record = Record(path.parent, path.stem)
        if (known := record.read()) and known["owner"] != mine:
            continue  # another run may hold its lock while a model loads
        with record.locked():
            known = record.read()
            if known and known["owner"] == mine:
                record.end(known)
                ended += 1
    return ended


def _ended(process: dict[str, Any], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while supervisor.alive(process):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _end_orphans(dead: dict[str, Any]) -> None:
    """End the remaining processes of a supervisor's group: vLLM's, younger than the supervisor."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            ours = os.getpgid(process.pid) == dead["pid"] and process.create_time() >= dead["created"] - 2
            if ours and "vllm" in " ".join(process.cmdline()).lower():
                process.kill()
