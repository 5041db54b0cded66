"""Outcomes of the examples that a plug-in class carries; each kind's package holds its checker in `_check.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """The outcome of one example or property; one without a problem that is not skipped holds."""

    example: str
    problem: str = ""
    skipped: str = ""  # why it could not be run here


def finding(example: str, problem: Callable[[], str | None], needs: str = "") -> Finding:
    """Return the outcome of an example: `problem` returns what is wrong, or None; an exception is a problem too.

    An example that `needs` a file or directory is skipped where the working directory lacks it.
    """
    if needs and not Path(needs).exists():
        return Finding(example, skipped=f"needs {needs} in the working directory")
    try:
        return Finding(example, problem() or "")
    except (Exception, SystemExit) as error:
        return Finding(example, f"{type(error).__name__}: {error}{_place(error.__cause__ or error)}")


def differs(expected: object, actual: object) -> str | None:
    """Return a problem that shows both values, or None when they are equal."""
    return None if actual == expected else f"expected {expected!r}, got {actual!r}"


def _place(error: BaseException) -> str:
    """Return the file and line where an error was raised."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})" if trace else ""
