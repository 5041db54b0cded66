"""The child process of `pipelines.readers.pages`: reads batches of pages, answers each, and dies at its limits."""

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
    """Serve until the input ends. Arguments: extractor, favour, CPU seconds a page, bytes of address space."""
    extractor, favour, seconds, memory = sys.argv[1:5]
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with contextlib.suppress(ValueError, OSError):  # a smaller limit is set from outside
        resource.setrlimit(resource.RLIMIT_AS, (int(memory), hard))
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not write into the replies
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    extract("<p>warm", extractor, favour)  # type: ignore[arg-type]  # imports are not part of a page's time
    while len(head := requests.read(SIZE.size)) == SIZE.size:
        pages = [(read_frame(requests), read_frame(requests)) for _ in range(SIZE.unpack(head)[0])]
        for charset, html in pages:
            if charset is None or html is None:
                return
            # The kernel ends this process when the page has used its time: no handler, so nothing can be in the way.
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
        except TypeError:  # half of a surrogate pair
            known = {k: v.encode("utf-8", "replace").decode() if v else v for k, v in page._asdict().items()}
            return orjson.dumps(known)
    except Exception as error:  # whatever a parser raises on a hostile page is that page's failure
        detail = f"{type(error).__name__}: {error}"[:200].encode("utf-8", "replace").decode()
        return orjson.dumps({"error": "extractor_error", "detail": detail})
