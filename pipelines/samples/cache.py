"""The cache of fetched packages and converted models: one directory per user."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from windtunnel.schemas.errors import InputError, advice_for


def cache_directory() -> Path:
    """Return $WINDTUNNEL_CACHE, else $XDG_CACHE_HOME/windtunnel, else ~/.cache/windtunnel."""
    if own := os.environ.get("WINDTUNNEL_CACHE"):
        return Path(own)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "windtunnel"


def cache_folder(name: str) -> Path:
    """Return a folder of the cache in which files can be made; raises InputError with the mend when none can."""
    folder = cache_directory() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        if advice_for(error):
            raise
        raise InputError(
            f"nothing can be written to the cache {folder}: {error.strerror}; "
            "set WINDTUNNEL_CACHE to a directory that you may write to"
        ) from error
    return folder


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
