"""Labelled tasks for probes, made from documents alone: where a paragraph is from, and word senses in context."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from blake3 import blake3

from windtunnel.schemas.errors import InputError

SHORTEST, LONGEST = 200, 800  # characters of a paragraph
AROUND = 200  # characters to each side of a word
_WORD = re.compile(r"(?<![\w-])[a-z]{4,}(?![\w-])")


class Texts(NamedTuple):
    """Texts with labels; a classifier is tested on groups that it has not seen."""

    texts: list[str]
    labels: list[str]
    groups: list[str]
    spans: list[tuple[int, int]] | None = None

    def features(self, vectors: np.ndarray) -> np.ndarray:
        """Return the features of the items from the vectors of the texts [texts, width]."""
        return vectors


class Pairs(NamedTuple):
    """Pairs of places in texts: items 2k and 2k + 1 of `texts` and `spans` are the k-th pair."""

    texts: list[str]
    spans: list[tuple[int, int]]
    labels: list[str]  # `same` or `different`
    groups: list[str]

    def features(self, vectors: np.ndarray) -> np.ndarray:
        """Return the absolute difference and the product of the vectors of each pair, [pairs, 2 width]."""
        a, b = vectors[0::2], vectors[1::2]
        return np.concatenate([np.abs(a - b), a * b], 1)


def sources(documents: pl.DataFrame, most: int = 400) -> Texts:
    """Return paragraphs with the source of their document; columns id, text and source.

    At most `most` per source, equally many of each if there are enough; groups are documents. Paragraphs are parted by
    blank lines; short ones are joined to what follows, long ones cut.
    """
    found: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for key, text, source in documents.select("id", "text", "source").iter_rows():
        for number, paragraph in enumerate(_paragraphs(text)):
            found[source].append((_hash(f"{key}/{number}"), paragraph, key))
    fewest = min([most, *map(len, found.values())])
    chosen = [(source, *item) for source in sorted(found) for item in sorted(found[source])[:fewest]]
    return Texts([item[2] for item in chosen], [item[0] for item in chosen], [item[3] for item in chosen])


def word_senses(documents: pl.DataFrame, words: int = 40, pairs: int = 50) -> Pairs:
    """Return pairs of occurrences of artificial ambiguous words; columns id and text.

    Two words of similar frequency are written as one (pseudo-words: Gale et al. 1992; Schuetze 1992), and the question
    is whether two occurrences were the same word: a sense in context, whose truth is known without annotation. Half of
    the pairs are. Groups are pseudo-words, so that a classifier is tested on words that it has not seen. A vector that
    does not depend on the context cannot do better than chance. A word is taken once a document, since two occurrences
    in one are alike for other reasons. Raises InputError where no two words are frequent enough.
    """
    places: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    for key, text in documents.select("id", "text").iter_rows():
        firsts = {match[0]: match.start() for match in reversed(list(_WORD.finditer(text)))}
        for word, start in firsts.items():
            places[word].append((_hash(f"{key}/{word}"), text, start))
    needed = pairs + 2  # of each word, each used once: two in a quarter of the pairs, one in half of them
    frequent = sorted((w for w, at in places.items() if len(at) >= needed), key=lambda w: (-len(places[w]), w))
    neighbours = list(zip(frequent[0::2], frequent[1::2], strict=False))
    if len(neighbours) > words:  # evenly over the range of frequencies
        neighbours = [neighbours[k * len(neighbours) // words] for k in range(words)]
    out = Pairs([], [], [], [])
    if not neighbours:
        raise InputError(f"no two words occur in {needed} documents each: lower `pairs`, or give more documents")
    for a, b in neighbours:
        _add(out, a, b, [sorted(places[word])[:needed] for word in (a, b)], pairs)
    return out


def _add(out: Pairs, a: str, b: str, places: Sequence[list[tuple[int, str, int]]], pairs: int) -> None:
    """Add the pairs of one pseudo-word: of a with a, of b with b, and of a with b twice as often."""
    word = a + b
    left = [iter(occurrences) for occurrences in places]
    for k in range(pairs):
        first, second = ((0, 0), (0, 1), (1, 1), (1, 0))[k % 4]
        for which in (first, second):
            _, text, start = next(left[which])
            before, behind = text[max(0, start - AROUND) : start], text[start + len((a, b)[which]) :][:AROUND]
            out.texts.append(before + word + behind)
            out.spans.append((len(before), len(before) + len(word)))
        out.labels.append("same" if first == second else "different")
        out.groups.append(word)


def _paragraphs(text: str) -> list[str]:
    """Return paragraphs of SHORTEST to LONGEST characters."""
    found, held = [], ""
    for part in re.split(r"\n\s*\n", text):
        held = f"{held}\n\n{part}" if held else part.strip("\n")
        if len(held) >= SHORTEST:
            found.append(held[:LONGEST])
            held = ""
    return found


def _hash(text: str) -> int:
    return int.from_bytes(blake3(text.encode("utf-8", "surrogatepass")).digest(8), "big")
