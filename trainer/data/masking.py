"""Masked-language-model corruption of whole batches: which tokens are to be predicted, and what stands in their place.

Devlin et al. 2019 (BERT): of each row a fixed share of the tokens is selected; of these 80 % become the mask token,
10 % a random token, and 10 % stay.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MASKED, RANDOM = 0.8, 0.1


class Masked(NamedTuple):
    """Rows with their selected tokens replaced; equally many are selected in every row."""

    ids: np.ndarray  # int64 [rows, positions]
    positions: np.ndarray  # int64 [rows, selected], ascending
    labels: np.ndarray  # int64 [rows, selected], the tokens that stood there


def masked(
    ids: np.ndarray, eligible: np.ndarray, share: float, mask: int, vocabulary: int, generator: np.random.Generator
) -> Masked:
    """Return rows in which `share` of the positions is selected, at least one, and replaced by mask or random tokens.

    ids int64 [rows, positions]; eligible bool [rows, positions]: which positions may be selected; others are only where
    a row has too few. Selection is uniform without replacement.
    """
    number = max(1, round(share * ids.shape[1]))
    keys = generator.random(ids.shape) + ~eligible
    positions = np.sort(np.argpartition(keys, number - 1, axis=1)[:, :number], axis=1)
    labels = np.take_along_axis(ids, positions, 1)
    fate = generator.random(positions.shape)
    random = (generator.random(positions.shape) * vocabulary).astype(np.int64)
    shown = np.where(fate < MASKED, mask, np.where(fate < MASKED + RANDOM, random, labels))
    changed = ids.copy()
    np.put_along_axis(changed, positions, shown, 1)
    return Masked(changed, positions, labels)
