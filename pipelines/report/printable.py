"""Makes foreign text safe to print on a terminal: no escape sequences, no direction overrides."""

from __future__ import annotations

import unicodedata

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn"}  # control, format (direction overrides too), surrogate, private, unassigned


def printable(text: str, limit: int = 400) -> str:
    """Return the beginning of a text with hidden characters shown as code points, at most `limit` characters."""
    cut = text[:limit]
    shown = "".join(c if c in "\n\t" or unicodedata.category(c) not in HIDDEN else f"<U+{ord(c):04X}>" for c in cut)
    return shown + (f" ... ({len(text):,} characters)" if len(text) > limit else "")


def one_line(text: str, limit: int = 100) -> str:
    """Return the beginning of a text on one line."""
    return printable(" ".join(text[: 4 * limit].split()), limit)
