"""MinHash signatures equal to datatrove's, bit for bit: its text normalisation, its tokens, its 64-bit hash family."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from windtunnel.pipelines.features.folding import Normalisation

MERSENNE_PRIME = (1 << 61) - 1


class Parameters(NamedTuple):
    """The parameters of MinHash that change a signature, with the meaning they have in `dedup.minhash`."""

    hashes: int  # bands times rows
    ngram: int
    seed: int
    hash: str
    normalise: Normalisation


def signatures(parameters: Parameters, texts: pa.Array, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (minima u64, documents x bands*rows; number of n-grams a document), as datatrove computes them.

    Needs spaCy. The speed is that of spaCy's tokeniser, about half a megabyte a second.
    """
    from windtunnel.pipelines.features.kernels.minhash import reference_minima

    a, b = family(parameters.seed, parameters.hashes)
    shingle_hashes = _Shingles(parameters)
    minima = np.zeros((len(texts), parameters.hashes), np.uint64)
    counts = np.zeros(len(texts), np.int64)
    for i in np.flatnonzero(alive):
        shingles = shingle_hashes(texts[int(i)].as_py())
        counts[i] = len(shingles)
        if len(shingles):
            reference_minima(shingles, a, b, minima[i])
    return minima, counts


def family(seed: int, hashes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the multipliers and addends, u64, that datatrove draws for a seed."""
    state = np.random.RandomState(seed)
    a = state.randint(1, MERSENNE_PRIME, dtype=np.uint64, size=hashes)
    return a, state.randint(0, MERSENNE_PRIME, dtype=np.uint64, size=hashes)


class _Shingles:
    """Text to the 64-bit hashes of its n-grams."""

    def __init__(self, parameters: Parameters) -> None:
        from datatrove.utils.hashing import HashConfig, create_hash_func
        from datatrove.utils.text import TextNormConfig
        from datatrove.utils.word_tokenizers import load_word_tokenizer

        how = parameters.normalise
        self.ngram = parameters.ngram
        self.hash = create_hash_func(HashConfig(precision=64, hash_fc=parameters.hash))
        self.tokenizer = load_word_tokenizer("eng")
        self.normalisation = TextNormConfig(
            lowercase=how.lowercase,
            norm_numbers=how.numbers,
            remove_punctuation=how.punctuation,
            norm_unicode_diacritics=how.diacritics,
        )

    def __call__(self, text: str) -> np.ndarray:
        from datatrove.utils.text import simplify_text

        words = self.tokenizer.word_tokenize(simplify_text(text, self.normalisation))
        grams = (" ".join(words[i : i + self.ngram]) for i in range(len(words) - self.ngram + 1))
        return np.fromiter(map(self.hash, grams), np.uint64)  # type: ignore[arg-type]
