"""Geometry of the report's charts: scales, ticks, lines and colours for the templates.

Positions are per cent of the chart's width or height, so that charts fit any screen without their text shrinking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

SERIES = 8  # colours in page.css (Okabe and Ito, distinct in colour blindness); more series share them
SHADES = 5  # of each side of the heat table


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to per cent."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return the position of a value in per cent; outside 0 to 100 when it is off the scale."""
        if self.high <= self.low:
            return 50.0
        return round(100 * (value - self.low) / (self.high - self.low), 3)

    def width(self, low: float, high: float) -> float:
        """Return the length of an interval in per cent."""
        return round(self.at(high) - self.at(low), 3)


@dataclass(frozen=True)
class Tick:
    """A position on an axis with its label."""

    at: float
    label: str


def scale_for(values: Iterable[float], pad: float = 0.06, zero: bool = False) -> Scale:
    """Return a scale that holds all finite values (and zero), padded on both sides by a share of their range."""
    finite = [v for v in values if math.isfinite(v)] + ([0.0] if zero else [])
    if not finite:
        return Scale(-1.0, 1.0)
    low, high = min(finite), max(finite)
    padding = (high - low) * pad or abs(high) * 0.1 or 1.0
    return Scale(low - padding, high + padding)


def ticks(scale: Scale, count: int = 5, sign: bool = False) -> list[Tick]:
    """Return about `count` round numbers within a scale."""
    step = _round_step((scale.high - scale.low) / max(1, count))
    digits = next(d for d in range(13) if abs(step * 10**d - round(step * 10**d)) < 1e-6 or d == 12)
    first = math.ceil(scale.low / step - 1e-9)
    last = math.floor(scale.high / step + 1e-9)
    return [Tick(scale.at(k * step), number(k * step, digits, sign)) for k in range(first, last + 1)]


def number(value: float, digits: int, sign: bool = False) -> str:
    """Return a number with a true minus sign, and with `sign` a plus sign."""
    text = f"{abs(value):,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        return text
    return ("\u2212" if value < 0 else "+" if sign else "") + text


def _round_step(raw: float) -> float:
    power = 10 ** math.floor(math.log10(raw))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)


def line(xs: Sequence[float], ys: Sequence[float], x: Scale, y: Scale) -> str:
    """Return an SVG path through points, in a box of 100 x 100 with y upwards."""
    points = [f"{x.at(a):.2f} {100 - y.at(b):.2f}" for a, b in zip(xs, ys, strict=True)]
    return "M" + "L".join(points) if points else ""


def band(xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], x: Scale, y: Scale) -> str:
    """Return a closed SVG path between two lines."""
    upper = line(xs, highs, x, y)
    lower = line(list(xs)[::-1], list(lows)[::-1], x, y)
    return f"{upper}L{lower[1:]}Z" if upper else ""


def binned(xs: np.ndarray, ys: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the mean of `ys` in every bin of `xs`; NaN where a bin is empty."""
    place = np.clip(np.digitize(xs, edges) - 1, 0, len(edges) - 2)
    count = np.bincount(place, minlength=len(edges) - 1)
    total = np.bincount(place, ys, minlength=len(edges) - 1)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def shade(value: float, largest: float, lower_is_better: bool) -> str:
    """Return the class of a heat cell: b1 to b5 for better, w1 to w5 for worse, empty near zero."""
    if not largest or not math.isfinite(value):
        return ""
    step = math.ceil(SHADES * min(1.0, abs(value) / largest) - 0.25)
    if step <= 0:
        return ""
    return f"{'b' if (value < 0) == lower_is_better else 'w'}{step}"


def series(number: int) -> str:
    """Return the class of the n-th series' colour and dash; the baseline is number 0."""
    return f"c{number if number < SERIES else 1 + (number - 1) % (SERIES - 1)}"
