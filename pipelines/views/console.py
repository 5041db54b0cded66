"""The terminal: whatever is printed on it, by whichever command, holds no control characters of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.segment import Segment

from windtunnel.schemas.printable import printable


class PlainConsole(Console):
    """A console that shows control characters of texts as code points; those of rich itself pass."""

    def render(self, *args: Any, **kwargs: Any) -> Iterator[Segment]:
        for segment in super().render(*args, **kwargs):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=printable(segment.text, len(segment.text)))


def terminal(stderr: bool = False) -> Console:
    """Return the console of a command: text as it is, without markup, not broken into lines."""
    return PlainConsole(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
