"""The lock of a store in object storage: one object that names its holder, renewed while the run goes on."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from windtunnel.pipelines.remote.failures import explained
from windtunnel.pipelines.remote.files import opened
from windtunnel.schemas.errors import InputError, WindtunnelError

LOCK = ".lock"
BEAT_SECONDS = 60.0
STALE_SECONDS = 300.0  # without a beat, by the clock of whoever waits: clocks of two machines are not compared
POLL_SECONDS = 5.0
SETTLE_SECONDS = 3.0


@contextlib.contextmanager
def held(store: str, token: str, wait: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the store at an address for one run; another run waits, or (wait=False) says who holds it.

    `token` identifies the mirror, of which the caller has the local lock: a lock with the same token is the rest of a
    run that was killed. A lock that is not renewed for five minutes is taken over.
    """
    lock = _Lock(store, token)
    lock.take(wait, say)
    ended = threading.Event()
    renewal = threading.Thread(target=lock.renew, args=(ended,), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()
        lock.release()


def check(store: str, token: str) -> None:
    """Raise WindtunnelError when the lock of a store has another holder by now."""
    holder = _Lock(store, token).holder()
    if holder.get("token") != token:
        raise WindtunnelError(
            f"the lock of the store {store} was lost to {_named(holder)}: this run was not heard of for "
            f"{STALE_SECONDS / 60:.0f} minutes, or its lock was removed. Run again: nothing finished is done again"
        )


class _Lock:
    """The object at `STORE/.lock`."""

    def __init__(self, store: str, token: str) -> None:
        self.store, self.token, self.url = store, token, f"{store}/{LOCK}"
        self._since = time.strftime("%Y-%m-%d %H:%M:%S")

    def take(self, wait: bool, say: Callable[[str], None]) -> None:
        seen, since = "", 0.0  # what the lock held, and since when it has not changed
        waits_for: str | None = None
        while not self._create():
            if not (held_by := self._read()):
                continue
            holder = _parsed(held_by)
            if holder.get("token") == self.token:  # left by a run of this mirror that was killed
                self._write()
                return
            removal = f"if that run was killed, remove {self.url}"
            if not wait:
                raise WindtunnelError(
                    f"the store {self.store} is in use by {_named(holder)}; wait for it to end, or use another "
                    f"`store:`; {removal}"
                )
            if holder.get("token") != waits_for:
                waits_for = holder.get("token", "")
                minutes = f"{STALE_SECONDS / 60:.0f} minutes"
                say(f"waiting: the store {self.store} is in use by {_named(holder)}; {removal}, or wait {minutes}")
            if held_by != seen:
                seen, since = held_by, time.monotonic()
            elif time.monotonic() - since > STALE_SECONDS:
                say(f"{_named(holder)} was not heard of for {STALE_SECONDS:.0f} s: its lock of {self.store} is removed")
                self._remove()
                continue
            time.sleep(POLL_SECONDS)

    def renew(self, ended: threading.Event) -> None:
        """Renew the lock until the run ends; a failed renewal is tried again, a lock of another's is left alone."""
        while not ended.wait(BEAT_SECONDS):
            with contextlib.suppress(InputError):
                if self.holder().get("token") == self.token:
                    self._write()

    def release(self) -> None:
        """Remove the lock if it is this mirror's; a lock that cannot be removed is over when nobody renews it."""
        with contextlib.suppress(InputError):
            if self.holder().get("token") == self.token:
                self._remove()

    def holder(self) -> dict[str, Any]:
        """Return what the lock says of its holder; empty where there is no lock."""
        return _parsed(self._read())

    def _create(self) -> bool:
        """Make the lock; return whether it is this mirror's. Object stores refuse to make what exists."""
        if self._read():  # for file systems that cannot refuse
            return False
        with self._explained():
            fs, path = opened(self.url)
            try:
                fs.pipe_file(path, self._content(), mode="create")
            except OSError as error:
                if isinstance(error, FileExistsError) or error.errno == errno.EBUSY:
                    return False
                if error.errno != errno.ENOSYS:
                    raise
                fs.pipe_file(path, self._content())  # servers without conditional writes: the last writer has it
                time.sleep(SETTLE_SECONDS)
        return self.holder().get("token") == self.token

    def _read(self) -> str:
        with self._explained():
            fs, path = opened(self.url)
            try:
                return fs.cat_file(path).decode("utf-8", "replace")
            except FileNotFoundError:
                return ""

    def _write(self) -> None:
        with self._explained():
            fs, path = opened(self.url)
            fs.pipe_file(path, self._content())

    def _remove(self) -> None:
        with self._explained(), contextlib.suppress(FileNotFoundError):
            fs, path = opened(self.url)
            fs.rm_file(path)

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return explained(f"the store {self.store} cannot be locked")

    def _content(self) -> bytes:
        holder = {
            "token": self.token,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": self._since,
            "renewed": time.time(),
        }
        return json.dumps(holder).encode()


def _parsed(content: str) -> dict[str, Any]:
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _named(holder: dict[str, Any]) -> str:
    if not {"pid", "host", "since"} <= holder.keys():
        return "another run"
    return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
