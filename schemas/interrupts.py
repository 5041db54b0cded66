"""Ctrl-C while the main thread waits."""

from __future__ import annotations

import signal


def interrupt_waits() -> None:
    """Let Ctrl-C end a wait of the main thread at once.

    polars handles SIGINT with SA_RESTART from its first computation on: the wait for a lock, and so for a worker or a
    reply, then goes on until what is waited for happens, and Python's handler runs only after that.
    """
    import polars as pl

    pl.select(0)  # its handler is installed once, and now
    signal.siginterrupt(signal.SIGINT, True)
