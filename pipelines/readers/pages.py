"""Page extraction in a child process with limits, so that a page can hang, exhaust memory or crash only itself."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import orjson

from windtunnel.pipelines.readers.extract import ExtractorName, Favour, Page

_BATCH_PAGES = 64
_BATCH_BYTES = 4 << 20
_MEMORY_BYTES = 4 << 30
SIZE = struct.Struct("<I")


class RawPage(NamedTuple):
    """A page to extract: its bytes, the charset of its HTTP header, and a context that is returned with the result."""

    html: bytes
    charset: str | None = None
    context: Any = None


class Failure(NamedTuple):
    """The reason code of a failed page: timeout, extractor_died (or out of memory), extractor_error."""

    error: str
    detail: str


class PageExtractor:
    """Extracts pages in order; a context manager that owns one child process.

    seconds: CPU time per page, enforced by the kernel. CPU time is used because results must not depend on the load of
    the machine. A new child is started after each kill.
    """

    def __init__(self, extractor: ExtractorName, favour: Favour, seconds: float) -> None:
        self.arguments = [extractor, favour, str(seconds), str(_MEMORY_BYTES)]
        self.child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PageExtractor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def extract(self, pages: Iterable[RawPage]) -> Iterator[tuple[RawPage, Page | Failure]]:
        """Yield every page with its result, in order."""
        held: list[RawPage] = []
        size = 0
        for page in pages:
            held.append(page)
            size += len(page.html)
            if len(held) == _BATCH_PAGES or size >= _BATCH_BYTES:
                yield from self._batch(held)
                held, size = [], 0
        yield from self._batch(held)

    def _batch(self, pages: list[RawPage]) -> Iterator[tuple[RawPage, Page | Failure]]:
        """Send pages and yield the results; pages after one that killed the child are sent to the next child."""
        done = 0
        while done < len(pages):
            child = self.child = self.child or self._start()
            assert child.stdin is not None and child.stdout is not None
            try:
                # The child reads the whole batch before it replies, so neither side blocks on a full pipe.
                child.stdin.write(_packed(pages[done:]))
                child.stdin.flush()
            except BrokenPipeError:
                pass  # handled below as the end of the child's output
            while done < len(pages) and (reply := read_frame(child.stdout)) is not None:
                answer = orjson.loads(reply)
                yield pages[done], Failure(**answer) if "error" in answer else Page(**answer)
                done += 1
            if done < len(pages):
                yield pages[done], self._why()
                done += 1

    def _why(self) -> Failure:
        assert self.child is not None
        status = self.child.wait()
        self._end()
        if status == -signal.SIGPROF:
            return Failure("timeout", f"more than {self.arguments[2]} s of CPU time")
        name = signal.Signals(-status).name if status < 0 else f"status {status}"
        return Failure("extractor_died", name)

    def _start(self) -> subprocess.Popen[bytes]:
        home = str(Path(__file__).parents[3])
        paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-c",
                "from windtunnel.pipelines.readers.extract_child import main; main()",
                *self.arguments,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )

    def _end(self) -> None:
        if self.child is not None:
            child, self.child = self.child, None
            child.kill()
            child.communicate()


def _packed(pages: list[RawPage]) -> bytes:
    parts = [SIZE.pack(len(pages))]
    for page in pages:
        charset = (page.charset or "").encode("utf-8", "replace")
        parts += [SIZE.pack(len(charset)), charset, SIZE.pack(len(page.html)), page.html]
    return b"".join(parts)


def read_frame(stream: Any) -> bytes | None:
    """Return the next length-prefixed frame, or None at the end of the stream."""
    head = stream.read(SIZE.size)
    if len(head) < SIZE.size:
        return None
    (size,) = SIZE.unpack(head)
    data = stream.read(size)
    return data if len(data) == size else None
