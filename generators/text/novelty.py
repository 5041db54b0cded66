"""Two novelty gates: ROUGE-L against all accepted texts, and MinHash near-duplicates.

The ROUGE-L gate computes the exact F measure without stemming, as Self-Instruct does, on a pool that is tokenised once
and with bounds that skip most pairs. Memory: 40 bytes per accepted text and 4 per word, and about 100 bytes per
distinct word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

# the reference tokeniser lowercases and splits at everything but a-z and 0-9, which leaves other scripts without words;
# the second form takes runs of letters and digits, and each CJK character, kana and Thai letter separately
WORDS = {
    "ascii": re.compile(r"[a-z0-9]+"),
    "unicode": re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u0e00-\u0e7f\u3040-\u30ff"
                          r"\u3400-\u9fff\uac00-\ud7af]+"),
}  # fmt: skip


@dataclass(frozen=True)
class Nearest:
    """The most similar accepted text: its index in the order of addition (-1: none) and its similarity."""

    index: int
    similarity: float


class RougeGate:
    """A pool of texts that finds the most similar one to a new text, by ROUGE-L F (Lin 2004; no stemming)."""

    def __init__(self, words: Literal["ascii", "unicode"] = "ascii") -> None:
        self._pattern = WORDS[words]
        self._ids: dict[str, int] = {}
        self._tokens = np.empty(1024, np.int32)
        self._starts = np.zeros(257, np.int64)
        self._signatures = np.empty((256, 4), np.uint64)
        self._local = np.zeros(1024, np.int32)
        self._count = 0
        self.pairs = 0
        self.compared = 0  # pairs whose LCS was computed; a bound excluded the others

    def __len__(self) -> int:
        return self._count

    def add(self, text: str) -> None:
        """Add a text to the pool."""
        from windtunnel.generators.text.novelty_kernels import signature

        tokens = self._encode(text)
        end = int(self._starts[self._count])
        self._tokens = _grown(self._tokens, end + tokens.size)
        self._starts = _grown(self._starts, self._count + 2)
        self._signatures = _grown(self._signatures, self._count + 1)
        self._tokens[end : end + tokens.size] = tokens
        self._signatures[self._count] = signature(tokens)
        self._count += 1
        self._starts[self._count] = end + tokens.size

    def nearest(self, text: str, skip: int = -1) -> Nearest:
        """Return the most similar accepted text, the first among equals; text `skip` is left out."""
        from windtunnel.generators.text.novelty_kernels import nearest, signature

        tokens = self._encode(text)
        index, similarity, compared = nearest(
            tokens, signature(tokens), self._tokens, self._starts, self._signatures, self._count, self._local, skip
        )
        self.pairs += self._count
        self.compared += compared
        return Nearest(int(index), float(similarity))

    def _encode(self, text: str) -> np.ndarray:
        ids = self._ids
        tokens = np.array([ids.setdefault(word, len(ids)) for word in self._pattern.findall(text.lower())], np.int32)
        self._local = _grown(self._local, len(ids), fill=0)
        return tokens


def rouge_l(a: str, b: str, words: Literal["ascii", "unicode"] = "ascii") -> float:
    """Return the ROUGE-L F of two texts, which is symmetric."""
    gate = RougeGate(words)
    gate.add(a)
    return gate.nearest(b).similarity


class NearDuplicateGate:
    """MinHash over 5-byte shingles of the folded text, which finds copies with reordered or respelt words.

    64 permutations in 16 bands of 4; a pair is a near-duplicate when at least a share `threshold` of the 64 agree.
    Memory: about 2 kB per text.
    """

    permutations = 64
    bands = 16
    shingle_bytes = 5

    def __init__(self, threshold: float = 0.8) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"a near-duplicate threshold must be in (0, 1], not {threshold}")
        self.threshold = threshold
        rng = np.random.default_rng(20240229)
        self._multipliers = rng.integers(0, 2**63, self.permutations, np.uint64) * np.uint64(2) + np.uint64(1)
        self._offsets = rng.integers(0, 2**63, self.permutations, np.uint64)
        self._signatures = np.empty((256, self.permutations), np.uint32)
        self._tables: list[dict[bytes, list[int]]] = [{} for _ in range(self.bands)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, text: str) -> None:
        """Add a text to the pool."""
        signature = self._signature(text)
        self._signatures = _grown(self._signatures, self._count + 1)
        self._signatures[self._count] = signature
        for table, band in zip(self._tables, signature.reshape(self.bands, -1), strict=True):
            table.setdefault(band.tobytes(), []).append(self._count)
        self._count += 1

    def find(self, text: str) -> Nearest | None:
        """Return the near-duplicate of `text` with the highest estimated Jaccard similarity, or None."""
        signature = self._signature(text)
        bands = zip(self._tables, signature.reshape(self.bands, -1), strict=True)
        candidates = {index for table, band in bands for index in table.get(band.tobytes(), ())}
        if not candidates:
            return None
        order = np.array(sorted(candidates))
        agreement = (self._signatures[order] == signature).mean(axis=1)
        top = int(agreement.argmax())
        return Nearest(int(order[top]), float(agreement[top])) if agreement[top] >= self.threshold else None

    def _signature(self, text: str) -> np.ndarray:
        from windtunnel.generators.text.novelty_kernels import shingle_minhash

        folded = " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")
        data = np.frombuffer(folded or b" ", np.uint8)
        return shingle_minhash(data, self.shingle_bytes, self._multipliers, self._offsets)


def _grown(array: np.ndarray, needed: int, fill: int | None = None) -> np.ndarray:
    """Return the array, or a copy of at least twice the size when it has fewer than `needed` rows."""
    if needed <= len(array):
        return array
    size = max(needed, 2 * len(array))
    bigger = np.empty((size, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    if fill is not None:
        bigger[len(array) :] = fill
    return bigger
