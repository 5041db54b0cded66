"""Errors meant for users: each message says what failed, where, and what to do."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from typing import Any

from windtunnel.schemas.printable import escaped


class WindtunnelError(Exception):
    """A failure that the user can correct. Exit code 1."""

    exit_code = 1


class RecipeError(WindtunnelError):
    """An invalid recipe or argument; the message names the line and the closest valid name. Exit code 2.

    `path` holds the keys that lead to the place in the recipe, where it is known.
    """

    exit_code = 2
    path: tuple[str | int, ...] = ()


class InputError(WindtunnelError):
    """An input that cannot be read: a missing file, an empty directory, or a file of another format."""


def advice_for(error: BaseException) -> str | None:
    """Return advice for an error caused by a full disk or exhausted memory, raised by any library; None otherwise."""
    message = str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in message or "os error 28" in message:  # raised by Rust and C++ libraries
        where = getattr(error, "filename", None) or message
        return f"the disk is full ({where}): free some space and run again; finished shards are kept"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # of torch, on a GPU
        return "out of memory: run with fewer --workers; finished shards are kept"
    return None


def value_message(error: Any) -> str:
    """Return the first complaint of a pydantic ValidationError: the class, the field, and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(key) for key in first["loc"])
    label = ", ".join(word for word in (error.title if error.title.isidentifier() else "", where) if word)
    message = first["msg"].removeprefix("Value error, ")
    return f"{label}: {message}" if label else message


def nearest(word: str, words: Iterable[str]) -> str:
    """Return a hint such as `did you mean 'gopher_quality'?`, or the list of valid words."""
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "available: " + ", ".join(map(escaped, known)) if known else "none available"
