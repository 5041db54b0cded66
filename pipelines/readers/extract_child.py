"""The child process of `pipelines.readers.pages`: extracts batches of pages under limits on time and memory."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys

import orjson

from windtunnel.pipelines.readers.encoding import decode_page
from windtunnel.pipelines.readers.extract import extract
from windtunnel.pipelines.readers.pages import SIZE, read_frame


def main() -> None:
    """Serve requests until end of input. Arguments: extractor, favour, CPU seconds per page, bytes of address space."""
    extractor, favour, seconds, memory = sys.argv[1:5]
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with contextlib.suppress(ValueError, OSError):  # a lower limit is already set
        resource.setrlimit(resource.RLIMIT_AS, (int(memory), hard))
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with the replies
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    extract("<p>warm", extractor, favour)  # type: ignore[arg-type]  # imports do not count towards the time of a page
    while len(head := requests.read(SIZE.size)) == SIZE.size:
        pages = [(read_frame(requests), read_frame(requests)) for _ in range(SIZE.unpack(head)[0])]
        for charset, html in pages:
            if charset is None or html is None:
                return
            # The kernel kills this process when the time is used up; without a handler, nothing can delay it.
            signal.setitimer(signal.ITIMER_PROF, float(seconds))
            reply = _answer(html, charset.decode() or None, extractor, favour)
            signal.setitimer(signal.ITIMER_PROF, 0)
            replies.write(SIZE.pack(len(reply)) + reply)
            replies.flush()


def _answer(html: bytes, charset: str | None, extractor: str, favour: str) -> bytes:
    try:
        text, encoding = decode_page(html, charset)
        page = extract(text, extractor, favour)._replace(encoding=encoding)  # type: ignore[arg-type]
        try:
            return orjson.dumps(page._asdict())
        except TypeError:  # a lone surrogate
            known = {k: v.encode("utf-8", "replace").decode() if v else v for k, v in page._asdict().items()}
            return orjson.dumps(known)
    except Exception as error:  # any exception of a parser is a failure of that page
        detail = f"{type(error).__name__}: {error}"[:200].encode("utf-8", "replace").decode()
        return orjson.dumps({"error": "extractor_error", "detail": detail})
