"""Lists of words, domains or addresses: written out in the recipe, or one entry a line in a file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from windtunnel.schemas.errors import InputError


def entries(listed: str | Sequence[str]) -> list[str]:
    """Return the entries of a list, or of the file (plain or .gz) that a string names; # begins a comment line.

    Raises InputError for a file that is not there, not text, or a web page instead of a list.
    """
    if not isinstance(listed, str):
        return [entry.strip() for entry in listed if entry.strip()]
    path = Path(listed)
    if not path.is_file():
        raise InputError(f"no list at {path}: give a file with one entry a line, or the entries themselves")
    raw = path.read_bytes()
    try:
        # -sig: a byte order mark would be part of the first entry
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a text file of entries: {error}") from error
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if any(line.startswith("<") for line in lines[:50]):
        raise InputError(f"{path} looks like a web page, not like a list with one entry a line: fetch the list itself")
    if not lines:
        raise InputError(f"{path} holds no entries: give one a line")
    return lines


def files_of(*lists: str | Sequence[str] | None) -> list[Path]:
    """Return the files that lists are read from."""
    return [Path(listed) for listed in lists if isinstance(listed, str)]
