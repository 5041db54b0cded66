"""A temporary directory for one call, whose errors do not point at files that are gone with it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from windtunnel.schemas.errors import WindtunnelError

LAST_BYTES = 8000  # of a worker's log, in a note of the error


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a temporary directory; an error that names files in it gets what they hold as its notes instead."""
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
        try:
            yield Path(folder)
        except WindtunnelError as error:
            _make_whole(error, folder)
            raise


def _make_whole(error: WindtunnelError, folder: str) -> None:
    """Put the traceback or the log that an error points at into its notes, and take the pointer out of its text."""
    pointer = re.compile(rf"(\nTraceback and shard files:|; see the logs in|; its log:) ({re.escape(folder)}/[^\s;]*)")
    text = str(error)
    for file in (Path(found[2]) for found in pointer.finditer(text)):
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(file.read_bytes())["traceback"] if file.suffix == ".json" else _end_of(file)
            if said.strip():
                error.add_note(f"In the worker process:\n{said.rstrip()}")
    error.args = (pointer.sub("", text).replace("; finished shards are kept", ""), *error.args[1:])


def _end_of(place: Path) -> str:
    """Return the end of a log, or of all logs in a directory."""
    logs = sorted(place.rglob("*.log")) if place.is_dir() else [place]
    return "\n".join(log.read_bytes()[-LAST_BYTES:].decode("utf-8", "replace") for log in logs)
