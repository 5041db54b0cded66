"""Cuts byte ranges out of a text, with a margin."""

from __future__ import annotations

import numpy as np


def cut(text: str, spans: np.ndarray, margin: int, min_piece: int, max_pieces: int) -> str | None:
    """Return the text without `spans` (bytes from, to; n x 2) widened by `margin` characters, or None to drop it.

    Cuts move outwards to white space. Pieces shorter than `min_piece` characters are left out; the others are joined by
    a line break. None when no piece is left or there are more than `max_pieces`.
    """
    data = text.encode()
    pieces, at, byte, character = [], 0, 0, 0
    for first, last in merged(spans):
        character += len(data[byte:first].decode("utf-8", "ignore"))
        start = max(at, _back(text, character - margin))
        character += len(data[first:last].decode("utf-8", "ignore"))
        byte = last
        pieces.append(text[at:start])
        at = max(at, _forward(text, character + margin))
    pieces.append(text[at:])
    pieces = [piece.strip() for piece in pieces]
    left = [piece for piece in pieces if piece and len(piece) >= min_piece]
    return "\n".join(left) if left and len(left) <= max_pieces else None


def merged(spans: np.ndarray) -> list[tuple[int, int]]:
    """Return the union of spans (from, to), in order."""
    union: list[tuple[int, int]] = []
    for first, last in sorted(map(tuple, spans.tolist())):
        if union and first <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], last))
        else:
            union.append((first, last))
    return union


def _back(text: str, at: int) -> int:
    while at > 0 and not text[at - 1].isspace():
        at -= 1
    return max(at, 0)


def _forward(text: str, at: int) -> int:
    at = min(at, len(text))
    while at < len(text) and not text[at].isspace():
        at += 1
    return at
