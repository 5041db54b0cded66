"""Shapes of Llama-like models of a wanted number of parameters.

Width over layers is about 35 for models of 100 wide and 62 for large ones (GPT-2 small: 64; Llama's smaller sizes: 64).
Of all shapes with heads of a usual width, the one is taken that misses the wanted size and that ratio least together,
where a tenth of the size counts as much as a half of the ratio.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from windtunnel.schemas.errors import RecipeError

ASPECT = 62.0  # width over layers, at large sizes
SIZE_COUNTS = 4.0  # times a miss of the size beside one of the ratio, both as logarithms
FARTHEST = 0.25  # miss of the size, as a logarithm
UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


class Shape(NamedTuple):
    """Width, layers and heads."""

    width: int
    layers: int
    heads: int


def parsed(value: Any) -> Any:
    """Return the number of `30M`, `1.2B` or `500k`; other values as they are."""
    if isinstance(value, str) and (found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmb]?)", value.strip().lower())):
        return round(float(found[1]) * UNITS[found[2]])
    return value


def shape_of(parameters: int, vocabulary: int, tied: bool) -> Shape:
    """Return the shape of about `parameters` weights. Raises RecipeError if the vocabulary alone has more."""
    found = [
        (
            _oddness(shape) + SIZE_COUNTS * (miss := abs(math.log(_size(shape, vocabulary, tied) / parameters))),
            miss,
            shape,
        )
        for head in (16, 32, 64, 128)
        for heads in range(1, 65)
        for layers in range(1, 65)
        if _usual_head(shape := Shape(heads * head, layers, heads)) == head
    ]
    _, miss, shape = min(found)
    if miss > FARTHEST:
        least = min(_size(shape, vocabulary, tied) for _, _, shape in found if _oddness(shape) < 1)
        raise RecipeError(
            f"no model of {parameters:,} parameters has a vocabulary of {vocabulary:,}: the smallest of a usual shape "
            f"has {least:,}; ask for more, or train a smaller tokenizer"
        )
    return shape


def feed_forward(width: int) -> int:
    """Return 8/3 of the width, rounded up to a multiple of 32."""
    return -(-width * 8 // 3 // 32) * 32


def _size(shape: Shape, vocabulary: int, tied: bool) -> int:
    width, layers, _ = shape
    block = 4 * width * width + 3 * width * feed_forward(width) + 2 * width
    return vocabulary * width * (1 if tied else 2) + layers * block + width


def _usual_head(shape: Shape) -> int:
    """Return how wide heads are at this width."""
    return 16 if shape.width < 96 else 32 if shape.width < 256 else 64 if shape.width < 2048 else 128


def _oddness(shape: Shape) -> float:
    """Return by how much the ratio of width and layers misses the usual one, as a logarithm."""
    usual = min(ASPECT, 32.0 + shape.width / 24)  # small models are narrow for their depth
    return abs(math.log(shape.width / shape.layers / usual))
