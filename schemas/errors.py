"""Errors for people: what went wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from typing import Any


class WindtunnelError(Exception):
    """A failure that a person can mend; its text says what, where and how. Exit code 1."""

    exit_code = 1


class RecipeError(WindtunnelError):
    """The recipe or the arguments are wrong: names the line and the nearest right word. Exit code 2.

    `path`: the keys that lead to the place in the recipe, where it is known.
    """

    exit_code = 2
    path: tuple[str | int, ...] = ()


class InputError(WindtunnelError):
    """An input cannot be read at all (a missing file, an empty directory, a file that is not what its name says)."""


def mend_of(error: BaseException) -> str | None:
    """Return what a person can do about a full disk or a want of memory, whichever library says so; else None."""
    said = str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in said or "os error 28" in said:  # Rust's and C++'s own errors
        where = getattr(error, "filename", None) or said
        return f"the disk is full ({where}): free some space and run again; finished shards are kept"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
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
    """Return a hint such as `did you mean 'gopher_quality'?`, or the list of what there is."""
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "there is " + ", ".join(known) if known else "there are none"
