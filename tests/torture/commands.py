"""Commands in the process of the test, which is a tenth of the time of a process of their own."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from windtunnel.pipelines import cli


@dataclass(frozen=True)
class Ended:
    """How a command ended: a traceback is part of what was said."""

    code: int
    said: str
    seconds: float

    @property
    def raised(self) -> bool:
        return "Traceback (most" in self.said


def called(words: Sequence[str], limit: float = 60.0) -> Ended:
    """Return how `windtunnel WORDS` ends; a command that takes longer than `limit` seconds ends with a traceback."""
    said = io.StringIO()
    started = time.monotonic()
    code: Any = 0
    with patch.object(sys, "argv", ["windtunnel", *words]), contextlib.redirect_stdout(said):
        with contextlib.redirect_stderr(said), _at_most(limit):
            try:
                cli.main()
            except SystemExit as end:
                code = end.code
            except BaseException:
                code = 1
                said.write(traceback.format_exc())
    return Ended(code if isinstance(code, int) else 0, said.getvalue(), time.monotonic() - started)


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def end(number: int, frame: Any) -> None:
        raise TimeoutError(f"not ended after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
