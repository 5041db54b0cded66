"""Static vectors of words with character n-grams, as fastText makes them (Bojanowski et al. 2017), read without it.

A directory holds config.json, words.json and model.safetensors: `words` [words, width], each the mean of the own vector
of a word and those of its n-grams, and `ngrams` [buckets, width], from which other words get their vectors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from windtunnel.schemas.artifact import canonical_json, write_text

WORD = re.compile(r"\w+|[^\w\s]")
_PRIME, _OFFSET = 16777619, 2166136261  # of the 32-bit FNV-1a hash


def words_of(text: str) -> list[str]:
    """Return the words of a text: runs of letters, digits and underscores; every other sign but spaces by itself."""
    return WORD.findall(text)


@dataclass(frozen=True)
class StaticVectors:
    """The vectors of words and n-grams."""

    words: Mapping[str, int]  # word -> row
    vectors: np.ndarray  # float32 [words, width]
    ngrams: np.ndarray  # float32 [buckets, width]; no rows without n-grams
    shortest: int = 3  # characters of an n-gram
    longest: int = 6
    _rare: dict[str, np.ndarray] = field(default_factory=dict)

    def vector(self, word: str) -> np.ndarray:
        """Return the vector of a word, float32 [width]; zero for one without n-grams that is not known."""
        row = self.words.get(word)
        if row is not None:
            return self.vectors[row]
        if word not in self._rare:
            buckets = ngram_buckets(word, self.shortest, self.longest, len(self.ngrams))
            width = self.vectors.shape[1]
            self._rare[word] = self.ngrams[buckets].mean(0) if buckets else np.zeros(width, np.float32)
        return self._rare[word]

    def save(self, folder: Path) -> None:
        """Write the files into a folder."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"words": np.ascontiguousarray(self.vectors), "ngrams": np.ascontiguousarray(self.ngrams)}
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        write_text(folder / "words.json", json.dumps(list(self.words), ensure_ascii=False))
        config = {
            "architectures": ["StaticVectors"],
            "model_type": "windtunnel_static",
            "hidden_size": self.vectors.shape[1],
            "vocab_size": len(self.words),
            "shortest_ngram": self.shortest,
            "longest_ngram": self.longest,
            "buckets": len(self.ngrams),
        }
        write_text(folder / "config.json", canonical_json(config))

    @classmethod
    def load(cls, folder: Path) -> StaticVectors:
        """Return the vectors of a folder. Raises InputError for weights that are cut or not numbers."""
        from safetensors.numpy import load_file

        from windtunnel.schemas.weight_files import check_weights

        check_weights(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
        listed: Sequence[str] = json.loads((folder / "words.json").read_text(encoding="utf-8"))
        rows = {word: row for row, word in enumerate(listed)}
        return cls(rows, tensors["words"], tensors["ngrams"], config["shortest_ngram"], config["longest_ngram"])


def ngram_buckets(word: str, shortest: int, longest: int, buckets: int) -> list[int]:
    """Return the rows of a word's character n-grams, as fastText's Dictionary::computeSubwords."""
    if buckets == 0:
        return []
    framed = f"<{word}>"
    found = []
    for start in range(len(framed)):
        for stop in range(start + shortest, min(start + longest, len(framed)) + 1):
            if stop - start > 1 or (start > 0 and stop < len(framed)):
                found.append(_hash(framed[start:stop]) % buckets)
    return found


def _hash(text: str) -> int:
    value = _OFFSET
    for byte in text.encode():
        signed = byte | 0xFFFFFF00 if byte > 127 else byte  # fastText extends the sign of a byte
        value = ((value ^ signed) * _PRIME) & 0xFFFFFFFF
    return value
