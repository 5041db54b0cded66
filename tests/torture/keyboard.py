"""A command in a terminal of its own, whose keys are pressed by a test."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.torture.processes import family, left
from tests.torture.worlds import environment

CTRL_C = b"\x03"


class Terminal:
    """A process in a session whose controlling terminal is a pseudo-terminal."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            with contextlib.suppress(OSError):
                os.chdir(folder)
                os.execvpe(words[0], list(words), environment() | {"TERM": "xterm"})
            os._exit(127)
        self.shown = b""
        self.code: int | None = None
        self.family = family(self.pid)

    def look(self, seconds: float = 0.02) -> bool:
        """Take in what appears on the screen for some time; return whether the process goes on."""
        until = time.monotonic() + seconds
        while self.code is None and (rest := until - time.monotonic()) > 0:
            self._read(min(rest, 0.05))
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None

    def wait_for(self, condition: Callable[[], object], seconds: float = 300) -> bool:
        """Look until a condition holds; return whether it came about before the process ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.look():
            if condition():
                return True
        return False

    def press(self, key: bytes = CTRL_C) -> None:
        self.family = family(self.pid)
        os.write(self._screen, key)

    def end(self, seconds: float) -> float:
        """Return the seconds until the process ended; a process that does not is killed, and `code` stays None."""
        started = time.monotonic()
        while time.monotonic() - started < seconds and self.look():
            pass
        took = time.monotonic() - started
        if self.code is None:
            for process in self.family:
                with contextlib.suppress(Exception):
                    process.kill()
            os.waitpid(self.pid, 0)
        while self._read(0):  # what was written before the end
            pass
        return took

    def close(self) -> None:
        """Close the window: the terminal is gone."""
        self.family = family(self.pid)
        os.close(self._screen)
        self._screen = -1

    def _read(self, seconds: float) -> bool:
        """Take in what the screen shows next; return whether there was anything."""
        if self._screen < 0:
            time.sleep(seconds)
            return False
        read = b""
        if select.select([self._screen], [], [], seconds)[0]:
            with contextlib.suppress(OSError):  # the other side is closed
                read = os.read(self._screen, 65536)
        self.shown += read
        return bool(read)

    def wrong(self, took: float, limit: float = 3.0) -> str | None:
        """Return what is wrong with the end of an interrupted command."""
        if self.code != 130 or took > limit:
            return f"exit code {self.code} after {took:.1f} s: {self.shown[-300:]!r}"
        if b"interrupted; finished shards are kept" not in self.shown or b"Traceback" in self.shown:
            return f"shown: {self.shown[-600:]!r}"
        if remain := left(self.family):
            return f"left behind: {remain}"
        return None
