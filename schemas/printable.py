"""Text from data made safe to print: no escape sequences, no direction overrides."""

from __future__ import annotations

import unicodedata
from typing import Any

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn"}  # control, format (direction overrides too), surrogate, private, unassigned


def printable(text: str, limit: int = 400) -> str:
    """Return the first `limit` characters of a text, with hidden characters as code points."""
    cut = text[:limit]
    clean = "".join(c if c in "\n\t" or unicodedata.category(c) not in HIDDEN else f"<U+{ord(c):04X}>" for c in cut)
    return clean + (f" ... ({len(text):,} characters)" if len(text) > limit else "")


def escaped(name: object) -> str:
    """Return a name from outside on one line: each character that does not print is escaped as in Python's strings."""
    text = str(name)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(value: Any, limit: int = 100) -> str:
    """Return the beginning of a value's text on one line."""
    return printable(" ".join(str(value)[: 4 * limit].split()), limit)
