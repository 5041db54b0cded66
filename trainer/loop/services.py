"""Sends the numbers of a stage to a logger, from a thread of its own: a service that hangs or fails stops nothing."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from windtunnel.schemas.plugin import label
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.loggers._logger import Logged, Logger
from windtunnel.trainer.loop.validation import Validation

if TYPE_CHECKING:
    from windtunnel.trainer.loop.loop import Loop

WAITING = 4_096  # rows that may wait for a slow service; later ones are left out
PATIENCE = 20.0  # seconds that the end of a stage waits for a service
NAMED = 200  # characters of an error


class Service:
    """Passes rows on until the service raises once."""

    def __init__(self, logger: Logger, run: Logged, validation: Validation | None) -> None:
        self.logger, self.run, self.validation = logger, run, validation
        self.problem: str | None = None
        self._validated = 0
        self._rows: queue.Queue[tuple[int, Mapping[str, float]] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._send, daemon=True)

    def begin(self, loop: Loop) -> None:
        """Start the thread, which opens the log."""
        self._thread.start()

    def settled(self, loop: Loop, rows: list[dict[str, float]]) -> None:
        """Hand over the rows, and the validation where there is a new one."""
        for row in rows:
            values = {f"train/{name}": value for name, value in row.items() if name != "step"}
            self._put(int(row["step"]) + 1, values)
        last = self.validation.last if self.validation is not None else None
        if last is not None and last[0] == loop.step > self._validated:
            self._validated = loop.step
            self._put(loop.step, {"held_out/bits_per_byte": last[1]})

    def close(self) -> str | None:
        """End the log; return what went wrong, in words, or None."""
        deadline = time.monotonic() + PATIENCE
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                self._rows.put(None, timeout=0.1)
                break
            except queue.Full:
                continue
        self._thread.join(max(0.0, deadline - time.monotonic()))
        late = f"it did not take the last numbers within {PATIENCE:g} s" if self._thread.is_alive() else None
        problem = self.problem or late
        return problem and f"`log: {label(self.logger)}`: {problem}; the run's numbers are in log.parquet"

    def _put(self, step: int, values: Mapping[str, float]) -> None:
        if self.problem is None:
            try:
                self._rows.put_nowait((step, values))
            except queue.Full:
                self.problem = f"it took no numbers while {WAITING:,} rows waited"

    def _send(self) -> None:
        try:
            session = self.logger.start(self.run)
            while (item := self._rows.get()) is not None:
                session.add(*item)
            session.close()
        except BaseException as error:  # whatever a client raises, some of them exit
            self.problem = f"{type(error).__name__}: {one_line(_without_keys(str(error)), NAMED)}"


def _without_keys(text: str) -> str:
    """Return a message without what the environment keeps secret, which a client may repeat."""
    for name, value in os.environ.items():
        if len(value) >= 8 and any(word in name.upper() for word in ("KEY", "TOKEN", "SECRET", "PASSWORD")):
            text = text.replace(value, "***")
    return text
