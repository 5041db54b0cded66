"""Signals that end a run: Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import functools
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

MESSAGES = {
    signal.SIGINT: "interrupted; finished shards are kept",
    signal.SIGTERM: "ended by SIGTERM; finished shards are kept",
    signal.SIGHUP: "the terminal was closed; finished shards are kept",
}
PATIENCE_SECONDS = 2.0  # between the first signal and the end of the process, whatever it is doing
ONE_PRESS_SECONDS = 0.1  # a wrapper may pass on what the terminal has sent to the whole group
RAISED_AGAIN_SECONDS = 0.01  # less than ONE_PRESS_SECONDS: no second press
SHOW_CURSOR = b"\r\x1b[2K\x1b[?25h"  # which a progress bar hides


class Ending:
    """The first signal that ends this process, and whether the user was told."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.told = False
        self._raised = False

    @property
    def code(self) -> int:
        """The exit code: 128 and the number of the signal, that of Ctrl-C where there was none."""
        return 128 + (self.signal or signal.SIGINT)

    @property
    def message(self) -> str:
        return MESSAGES[self.signal or signal.SIGINT]

    def tell(self) -> None:
        """Say once why the process ends; standard error may be gone with its terminal."""
        if not self.told:
            self.told = True
            with contextlib.suppress(OSError):
                os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + f"error: {self.message}\n".encode())

    def exit(self) -> None:
        """End this process at once; its workers end with it (see `pipelines.engine.tasks.process_guard`)."""
        self.tell()
        os._exit(self.code)

    def again(self, unraisable: Any) -> None:
        """Raise the interrupt once more where Python could not: a callback at the end of an object swallows it."""
        if self.signal is None or not issubclass(unraisable.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)
        else:
            self._raised = False  # not from here, where Python would swallow it too
            threading.Timer(RAISED_AGAIN_SECONDS, _thread.interrupt_main, (self.signal,)).start()

    def interrupt(self, number: int, frame: Any) -> None:
        """Handle a signal in the main thread: the first is raised there, `watch` sees to the others."""
        if not self._raised:
            self.signal, self._raised = self.signal or signal.Signals(number), True
            raise KeyboardInterrupt

    def watch(self, signals: int) -> None:
        """End the process at the second signal, or when it has not ended in time; `signals` is the end of a pipe.

        The main thread may be in a computation of minutes that no interrupt reaches, or in the first one's handling.
        """
        first: float | None = None
        while True:
            left = None if first is None else max(0.0, first + PATIENCE_SECONDS - time.monotonic())
            ready = select.select([signals], [], [], left)[0]
            numbers = os.read(signals, 64) if ready else b""
            if ready and not numbers:  # the command is over
                os.close(signals)
                if first is None:
                    return
                time.sleep(max(0.0, first + PATIENCE_SECONDS - time.monotonic()))
            ending = [number for number in numbers if number in MESSAGES]
            if first is None and ending:
                first, self.signal = time.monotonic(), self.signal or signal.Signals(ending[0])
            elif first is not None and (not numbers or (ending and time.monotonic() - first > ONE_PRESS_SECONDS)):
                self.exit()


def leave_with_its_code(code: object) -> None:
    """End this process if the exit code is that of a signal, after what is to be done at the exit of Python.

    `python -m` would die of SIGINT instead, whatever the code, where an interrupt has passed through `exec` of a text,
    as the definition of a data class is one.
    """
    if code in {128 + number for number in MESSAGES}:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
        os._exit(int(str(code)))


def exit_on_signals() -> None:
    """Let the first signal end this process at once, with a message instead of a traceback: for its start and end."""

    def exit_(number: int, frame: Any) -> None:
        ending = Ending()
        ending.signal = signal.Signals(number)
        ending.exit()

    for number in _heeded():
        signal.signal(number, exit_)


@contextlib.contextmanager
def raised_once() -> Iterator[Ending]:
    """Raise KeyboardInterrupt in the main thread at the first signal; the second ends the process at once.

    What has not ended two seconds after the first is ended too. Does nothing but in the main thread.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=ending.watch, args=(reader,), name="signals", daemon=True).start()
    handlers = {number: signal.signal(number, ending.interrupt) for number in _heeded()}
    hook, sys.unraisablehook = sys.unraisablehook, ending.again
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _undone_by_forks()
    try:
        yield ending
    finally:
        sys.unraisablehook = hook
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():  # while Python ends, which is short, a second one would be a traceback
            signal.signal(number, handler if ending.signal is None else signal.SIG_IGN)
        os.close(writer)


def _heeded() -> list[signal.Signals]:
    """Return the signals that this process does not ignore: nohup, and shells for what runs in the background, do."""
    return [number for number in MESSAGES if signal.getsignal(number) is not signal.SIG_IGN]


@functools.cache
def _undone_by_forks() -> None:
    """Give forked processes the usual handlers: they would write their signals into the pipe of this process."""

    def in_child() -> None:
        signal.set_wakeup_fd(-1)
        for number in _heeded():
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    os.register_at_fork(after_in_child=in_child)


def interrupt_waits() -> None:
    """Let Ctrl-C end a wait of the main thread at once.

    polars handles SIGINT with SA_RESTART from its first computation on: the wait for a lock, and so for a worker or a
    reply, then goes on until what is waited for happens, and Python's handler runs only after that.
    """
    import polars as pl

    pl.select(0)  # its handler is installed once, and now
    signal.siginterrupt(signal.SIGINT, True)
