"""Errors for people: what went wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WindtunnelError(Exception):
    """A failure that a person can mend; its text says what, where and how. Exit code 1."""

    exit_code = 1


class RecipeError(WindtunnelError):
    """The recipe or the arguments are wrong: names the line and the nearest right word. Exit code 2."""

    exit_code = 2


class InputError(WindtunnelError):
    """An input cannot be read at all (a missing file, an empty directory, a file that is not what its name says)."""


def nearest(word: str, words: Iterable[str]) -> str:
    """Return a hint such as `did you mean 'gopher_quality'?`, or the list of what there is."""
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "there is " + ", ".join(known) if known else "there are none"
