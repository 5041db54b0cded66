"""Errors meant for users: each message says what failed, where, and what to do."""

from __future__ import annotations

import difflib
import errno
import resource
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


class TrainingError(WindtunnelError):
    """Training that cannot go on: the message names the step, what happened there, and what to do."""


# what libraries say instead of MemoryError, in lower case
OUT_OF_MEMORY = ("cannot allocate memory", "failed to map segment", "bad_alloc", "bad allocation", "malloc of size")
NO_THREAD = ("can't start new thread", "could not spawn thread", "resource temporarily unavailable", "find/load shared")


def advice_for(error: BaseException) -> str | None:
    """Return advice for an error caused by a full disk or a limit of the system, raised by any library; or None."""
    message = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in message or "os error 28" in message:
        where = getattr(error, "filename", None) or message  # the words are those of Rust and C++ libraries
        return f"the disk is full ({where}): free some space and run again; finished shards are kept"
    if number == errno.EMFILE or "Too many open files" in message or "os error 24" in message:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"too many open files, of {files} allowed: raise the limit (ulimit -n 4096); finished shards are kept"
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    limited = limit != resource.RLIM_INFINITY
    under = f" under the memory limit of {limit / 2**30:.1f} GB (ulimit -v): raise it, or" if limited else ":"
    exhausted = (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    )  # the second of torch, on a GPU
    if exhausted or any(words in message.lower() for words in OUT_OF_MEMORY):
        return f"out of memory{under} run with fewer --workers; finished shards are kept"
    if number == errno.EAGAIN or any(words in message.lower() for words in NO_THREAD):
        processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        raised = "ulimit -v" if limited else f"ulimit -u, now {processes}"
        return f"no thread or process could be started ({message}): raise the limit ({raised}), or use fewer --workers"
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
