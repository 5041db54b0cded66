"""Sizes, times and shares as short texts."""

from __future__ import annotations


def count(value: float) -> str:
    """Return a whole number with thousands separated."""
    return f"{round(value):,}"


def short(value: float) -> str:
    """Return a number with three digits and a unit prefix: 400 k, 1.23 M."""
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{_three(value / size)} {prefix}"
    return _three(value)


def size(value: float) -> str:
    """Return bytes in decimal units."""
    return f"{short(value)}B" if abs(value) >= 1000 else f"{round(value)} B"


def seconds(value: float) -> str:
    """Return a time: 0.3 s, 42 s, 3 min 5 s, 2 h 10 min."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def share(part: float, whole: float) -> str:
    """Return a share in per cent, with a decimal where it is small."""
    if not whole:
        return "–"
    value = 100 * part / whole
    if 0 < value < 0.1:
        return "<0.1%"
    if value >= 99.95:
        return "100%" if part >= whole else ">99.9%"
    return f"{value:.1f}%"


def _three(value: float) -> str:
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
