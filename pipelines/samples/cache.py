"""The per-user cache directory of fetched packages and converted models."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from windtunnel.schemas.errors import InputError, advice_for


def cache_directory() -> Path:
    """Return $WINDTUNNEL_CACHE, else $XDG_CACHE_HOME/windtunnel, else ~/.cache/windtunnel."""
    if directory := os.environ.get("WINDTUNNEL_CACHE"):
        return Path(directory)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "windtunnel"


def cache_folder(name: str) -> Path:
    """Return a writable subdirectory of the cache. Raises InputError if it cannot be written to."""
    folder = cache_directory() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        if advice_for(error):
            raise
        raise InputError(
            f"the cache {folder} is not writable: {error.strerror}; "
            "set WINDTUNNEL_CACHE to a directory with write permission"
        ) from error
    return folder


def sha256_of(path: Path) -> str:
    """Return the sha256 digest of a file in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
