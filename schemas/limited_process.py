"""A function that is called in a process of its own, with limits that hold whatever the function does.

For work on text from outside that can take for ever: chat templates of downloaded tokenizers, formulas in the answers
of models. The kernel ends the process when it has used its processor time or its memory, even inside a C function, and
the next call starts another one. Arguments and results are JSON, which cannot carry code.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from typing import Any, NoReturn

from windtunnel.schemas.errors import WindtunnelError

START_SECONDS = 300  # imports of heavy packages on a loaded machine
WALL_FACTOR = 20  # wall time per processor time, before a process that sleeps is ended
_CHUNK = 1 << 16
_PROGRAM = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from windtunnel.schemas.limited_process import serve; serve(*sys.argv[2:])"
)


class LimitExceeded(Exception):
    """A call that was ended; `limit` is `time`, `memory` or `size`."""

    def __init__(self, limit: str):
        super().__init__(f"over the limit of {limit}")
        self.limit = limit


class CallFailed(Exception):
    """A call that raised; `kind` is the name of the exception's class, the message is its own."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class LimitedProcess:
    """Calls `function` (`module:name`) in one process at a time, which starts with the first call.

    Limits per call: `cpu_seconds` (whole seconds of processor time, so that a loaded machine changes no result),
    `memory_bytes` above what the process has after its imports, and `reply_bytes` of JSON. May be used from several
    threads, and after a fork.
    """

    def __init__(self, function: str, *, cpu_seconds: int, memory_bytes: int, reply_bytes: int):
        self.function = function
        self.cpu_seconds = cpu_seconds
        self.memory_bytes = memory_bytes
        self.reply_bytes = reply_bytes
        self._reset()

    def call(self, *arguments: Any) -> Any:
        """Return the function's result. Raises LimitExceeded, CallFailed, or WindtunnelError if no process starts."""
        if self._owner != os.getpid():  # the parent's process answers the parent
            self._reset()
        request = json.dumps(arguments).encode() + b"\n"
        with self._lock:
            try:
                process = self._running()
                line = self._exchange(process, request, self.cpu_seconds * WALL_FACTOR)
            except BaseException:
                self._stop()
                raise
            kind, value = json.loads(line)
            if kind == "MemoryError":
                self._stop()
                raise LimitExceeded("memory")
        if kind is not None:
            raise CallFailed(kind, value)
        return value

    def _reset(self) -> None:
        self._owner, self._lock = os.getpid(), threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        limits = map(str, (self.cpu_seconds, self.memory_bytes))
        self._process = process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), self.function, *limits],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            start_new_session=True,  # Ctrl-C reaches the caller alone, which ends the process
        )  # fmt: skip
        weakref.finalize(self, _end_own, process, os.getpid())
        try:
            trouble = json.loads(self._exchange(process, b"", START_SECONDS))
        except LimitExceeded as error:
            raise WindtunnelError(f"the process for {self.function} did not start: {error}") from error
        if trouble is not None:
            raise WindtunnelError(f"the process for {self.function} did not start: {trouble}")
        return process

    def _exchange(self, process: subprocess.Popen[bytes], request: bytes, seconds: float) -> bytes:
        """Send the request and return the line that answers it. Raises LimitExceeded."""
        assert process.stdin and process.stdout
        with contextlib.suppress(BrokenPipeError):
            rest = memoryview(request)
            while rest:
                rest = rest[process.stdin.write(rest) or 0 :]
        reply, deadline, ready = bytearray(), time.monotonic() + seconds, select.poll()
        ready.register(process.stdout, select.POLLIN)
        while not reply.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not ready.poll(left * 1000):
                raise LimitExceeded("time")
            part = os.read(process.stdout.fileno(), _CHUNK)
            if not part:
                self._explain_end(process)
            reply += part
            if len(reply) > self.reply_bytes:
                raise LimitExceeded("size")
        return bytes(reply)

    def _explain_end(self, process: subprocess.Popen[bytes]) -> NoReturn:
        import signal

        status = process.wait()
        raise LimitExceeded("time" if status == -signal.SIGXCPU else "memory")

    def _stop(self) -> None:
        if self._process is not None:
            _end(self._process)
            self._process = None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()


def _end_own(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:  # a fork has no right to it
        _end(process)


def serve(function: str, cpu_seconds: str, memory_bytes: str) -> None:
    """Answer calls on the standard input until it ends, as the process of a LimitedProcess."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    module, _, name = function.partition(":")
    trouble, call = None, None
    try:
        call = getattr(importlib.import_module(module), name)
        _limit_memory(int(memory_bytes))
    except Exception as error:
        trouble = f"{type(error).__name__}: {error}"
    replies.write(json.dumps(trouble).encode() + b"\n")
    replies.flush()
    if call is None or trouble is not None:
        return
    for line in requests:
        _limit_time(int(cpu_seconds))
        try:
            answer = json.dumps([None, call(*json.loads(line))])
        except MemoryError:
            answer = json.dumps(["MemoryError", ""])
        except Exception as error:
            answer = json.dumps([type(error).__name__, str(error)[:2000]])
        replies.write(answer.encode() + b"\n")
        replies.flush()


def _limit_memory(more: int) -> None:
    import resource

    import psutil

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = psutil.Process().memory_info().vms + more
    with contextlib.suppress(ValueError, OSError):  # systems without this limit keep the one of time
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _limit_time(seconds: int) -> None:
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, hard))
