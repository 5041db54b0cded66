"""Span corruption of whole batches (T5, Raffel et al. 2020): spans of a text move into a target text.

A text alternates between what stays and what is cut out. In the input a sentinel stands for each span that was cut out;
the target is the spans, each after its sentinel. Both end with end-of-text. Lengths depend on the text's length alone,
so that rows of equal length give rectangular arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Lengths(NamedTuple):
    """The tokens of a text, those cut out of it, and in how many spans."""

    text: int
    noise: int
    spans: int

    @property
    def input(self) -> int:
        """The tokens of the input, with sentinels and end-of-text."""
        return self.text - self.noise + self.spans + 1

    @property
    def target(self) -> int:
        """The tokens of the target, with sentinels and end-of-text."""
        return self.noise + self.spans + 1


class Corrupted(NamedTuple):
    """Inputs and targets, int64 [rows, tokens]."""

    inputs: np.ndarray
    targets: np.ndarray


def lengths(text: int, share: float, mean_span: float) -> Lengths:
    """Return the lengths for a text: `share` of it is cut out in spans of `mean_span` tokens on average.

    As T5's random_spans_noise_mask; of a text of one token all is cut out.
    """
    if text == 1:
        return Lengths(1, 1, 1)
    noise = min(max(round(text * share), 1), text - 1)
    return Lengths(text, noise, min(max(round(noise / mean_span), 1), noise, text - noise))


def longest_text(positions: int, share: float, mean_span: float) -> Lengths:
    """Return the lengths of the longest text whose input fits (T5's compute_input_and_target_lengths)."""
    text = positions
    while lengths(text + 1, share, mean_span).input <= positions:
        text += 1
    while text > 1 and lengths(text, share, mean_span).input > positions:
        text -= 1
    return lengths(text, share, mean_span)


def corrupted(ids: np.ndarray, size: Lengths, sentinel: int, end: int, generator: np.random.Generator) -> Corrupted:
    """Return inputs and targets of texts int64 [rows, size.text].

    `sentinel` is the id of the first sentinel, which the others follow; every division of the text into spans is
    equally likely.
    """
    noise, first = _noise(len(ids), size, generator)
    return Corrupted(
        _with_sentinels(ids, noise, first, sentinel, end), _spans_with_sentinels(ids, noise, first, sentinel, end)
    )


def _noise(rows: int, size: Lengths, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return which tokens are cut out, bool [rows, text], and which of them are the first of their span."""
    if size.noise == size.text:
        everything = np.ones((rows, size.text), bool)
        return everything, everything & (np.arange(size.text) == 0)
    cut = _segments(rows, size.noise, size.spans, generator)
    kept = _segments(rows, size.text - size.noise, size.spans, generator)
    parts = np.stack([kept, cut], 2).reshape(rows, -1)  # in turns, beginning with what stays
    begins = np.zeros((rows, size.text), np.int64)
    np.put_along_axis(begins, np.cumsum(parts, 1) - parts, 1, 1)
    noise = np.cumsum(begins, 1) % 2 == 0  # parts are numbered from 1
    return noise, noise & (begins == 1)


def _segments(rows: int, tokens: int, parts: int, generator: np.random.Generator) -> np.ndarray:
    """Return random lengths above zero that sum to `tokens`, int64 [rows, parts]; all are equally likely."""
    keys = generator.random((rows, tokens - 1))
    cuts = np.sort(np.argsort(keys, 1)[:, : parts - 1], 1) + 1
    edges = np.concatenate([np.zeros((rows, 1), np.int64), cuts, np.full((rows, 1), tokens)], 1)
    return np.diff(edges, axis=1)


def _with_sentinels(ids: np.ndarray, noise: np.ndarray, first: np.ndarray, sentinel: int, end: int) -> np.ndarray:
    """Return rows in which each span of `noise` is one sentinel, and end-of-text."""
    shown = np.where(first, sentinel + np.cumsum(first, 1) - 1, ids)
    left = shown[~noise | first].reshape(len(ids), -1)
    return np.concatenate([left, np.full((len(ids), 1), end)], 1)


def _spans_with_sentinels(ids: np.ndarray, noise: np.ndarray, first: np.ndarray, sentinel: int, end: int) -> np.ndarray:
    """Return the spans of `noise`, each after its sentinel, and end-of-text."""
    doubled = np.stack([np.where(first, sentinel + np.cumsum(first, 1) - 1, 0), ids], 2).reshape(len(ids), -1)
    used = np.stack([first, noise], 2).reshape(len(ids), -1)
    return np.concatenate([doubled[used].reshape(len(ids), -1), np.full((len(ids), 1), end)], 1)
