"""What the calls of one process share: a temporary store, and the lock on torch's global state."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from pathlib import Path

torch_lock = threading.RLock()  # seeds and switches of torch are the process's: one model is trained or asked at a time
_stores: dict[int, Path] = {}  # process -> its store


def temporary_store() -> Path:
    """Return the store of this process, which is removed when the process ends."""
    if os.getpid() not in _stores:  # a forked process has one of its own
        folder = _stores[os.getpid()] = Path(tempfile.mkdtemp(prefix="windtunnel-"))
        atexit.register(_remove, folder, os.getpid())
    return _stores[os.getpid()]


def _remove(folder: Path, process: int) -> None:
    if process == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
