"""Search for questions that ask what a held-out question asks: near-duplicates, and the same words with some around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from windtunnel.pipelines.datasets.near import NearIndex
from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import Normalisation, table

DISTINCT_NUMBERS = Normalisation(numbers=False)  # "1 + 2" and "3 + 4" are two questions
SHORTEST = 3  # words: two words stand in too many questions
LONGEST = 64  # words: with that many, a few words more leave a text similar
AROUND = 0.5  # the share of a question's words that its part must make up to be the same question
WITHIN = ((8, 0.0), (5, 0.2), (SHORTEST, AROUND))  # words, and the share of a text that a question must make up in it


class Match(NamedTuple):
    """The number of a held-out question, how alike both are (Jaccard similarity or share of the words), its words."""

    number: int
    similarity: float
    words: int = 0  # of the held-out question


class NearQuestions:
    """Held-out questions, searchable for others that ask the same.

    Two questions are the same when the Jaccard similarity of their word 5-grams is `threshold` or more; when the
    held-out one stands, word by word, in the other and makes up enough of it (WITHIN: instructions and courtesies may
    surround it, and eight words in a row are no chance); or when the other is half of it or more. Numbers are compared
    as they are. Memory: up to 10 kB a question.
    """

    def __init__(self, questions: Sequence[str], threshold: float) -> None:
        from windtunnel.pipelines.features.kernels.ngram_scan import build_filter
        from windtunnel.pipelines.features.kernels.shingle_sets import build_table

        self._folding = table(DISTINCT_NUMBERS)
        texts = pa.array(list(questions), pa.large_string())
        self._near = NearIndex(texts, threshold, how=DISTINCT_NUMBERS)
        data, offsets = text_buffers(texts)
        spans = list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
        self._words = [self._count(data, *span) for span in spans]
        wholes = [self._whole(data, *span) for span in spans]
        known = np.array([whole[0] for whole in wholes], np.uint64)
        self._lengths = np.unique([length for _, length in wholes if length]).astype(np.int64)
        self._tokens, first = np.unique(known[[length > 0 for _, length in wholes]], return_index=True)
        self._number_of = np.flatnonzero([length > 0 for _, length in wholes])[first] if len(first) else first
        self._filter = build_filter(self._tokens), build_table(self._tokens)
        self._parts, self._part_of, self._part_share = self._windows(data, spans, wholes)

    def match(self, questions: Sequence[str]) -> list[Match | None]:
        """Return for each question the held-out one that asks the same, or None."""
        texts = pa.array(list(questions), pa.large_string())
        near, similarity = self._near.match(texts)
        found = [self._match(int(n), float(s)) if n >= 0 else None for n, s in zip(near, similarity, strict=True)]
        data, offsets = text_buffers(texts)
        self._find_around(data, offsets, found)
        self._find_inside(data, offsets, found)
        return found

    def _find_inside(self, data: np.ndarray, offsets: np.ndarray, found: list[Match | None]) -> None:
        """Find texts that stand whole in a held-out question and make up enough of it."""
        if not len(self._parts):
            return
        spans = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        tokens = np.array([self._whole(data, *span)[0] for span in spans], np.uint64)
        places = np.searchsorted(self._parts, tokens) % len(self._parts)
        for row in np.flatnonzero((self._parts[places] == tokens) & (tokens > 0)).tolist():
            if found[row] is None:
                found[row] = self._match(int(self._part_of[places[row]]), float(self._part_share[places[row]]))

    def _find_around(self, data: np.ndarray, offsets: np.ndarray, found: list[Match | None]) -> None:
        """Find held-out questions that stand whole in a text and make up enough of it."""
        from windtunnel.pipelines.features.kernels.ngram_scan import scan

        if not len(self._tokens):
            return
        open_ = np.array([match is None for match in found], bool)
        rows, grams, _, _ = scan(data, offsets, open_, *self._folding, self._lengths, *self._filter, self._tokens)
        words = {row: self._count(data, *offsets[row : row + 2].tolist()) for row in np.unique(rows).tolist()}
        for row, gram in zip(rows.tolist(), grams.tolist(), strict=True):
            number, best = int(self._number_of[gram]), found[row]
            own = self._words[number]
            share = own / max(words[row], own)
            enough = next(least for long, least in WITHIN if own >= long)
            if share >= enough and (best is None or share > best.similarity):
                found[row] = self._match(number, share)

    def _match(self, number: int, similarity: float) -> Match:
        return Match(number, similarity, self._words[number])

    def _count(self, data: np.ndarray, start: int, end: int) -> int:
        """Return the number of words of a text."""
        from windtunnel.pipelines.features.kernels.ngram_scan import ngrams_of

        return len(ngrams_of(data, start, end, *self._folding, 1, 1)[0])

    def _whole(self, data: np.ndarray, start: int, end: int) -> tuple[int, int]:
        """Return (hash of all words of a text, their number), (0, 0) for one that is too short or too long."""
        from windtunnel.pipelines.features.kernels.ngram_scan import ngrams_of

        tokens, length = ngrams_of(data, start, end, *self._folding, LONGEST, SHORTEST)
        return (int(tokens[0]), int(length)) if len(tokens) == 1 else (0, 0)

    def _windows(
        self, data: np.ndarray, spans: list[tuple[int, int]], wholes: list[tuple[int, int]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the parts of held-out questions that make up enough of them: hashes, sorted, numbers, shares."""
        from windtunnel.pipelines.features.kernels.ngram_scan import ngrams_of

        hashes, numbers, shares = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], [np.empty(0)]
        for number, ((start, end), (_, words)) in enumerate(zip(spans, wholes, strict=True)):
            for length in range(max(SHORTEST, int(np.ceil(AROUND * words))), words):
                tokens, _ = ngrams_of(data, start, end, *self._folding, length, SHORTEST)
                hashes.append(tokens)
                numbers.append(np.full(len(tokens), number))
                shares.append(np.full(len(tokens), length / words))
        parts, first = np.unique(np.concatenate(hashes), return_index=True)
        return parts, np.concatenate(numbers)[first], np.concatenate(shares)[first]
