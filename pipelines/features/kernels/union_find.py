"""Numba kernels: union-find over document numbers, 4 bytes a document up to 4.29 * 10^9 documents, 8 beyond."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def unite(parent, first, other):
    """Join the sets of first[i] and other[i]. The root of a set is its lowest number, so the order does not matter."""
    for i in range(first.size):
        a, b = first[i], other[i]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        elif b < a:
            parent[a] = b


@njit(cache=True, nogil=True)
def flatten(parent):
    """Point every document at its root; one pass does, since parents have lower numbers."""
    for i in range(parent.size):
        parent[i] = parent[parent[i]]


@njit(cache=True, nogil=True)
def sizes(parent, counts):
    """Count the members of each set at its root."""
    for i in range(parent.size):
        counts[parent[i]] += 1


@njit(cache=True, nogil=True)
def choose(parent, start, scores, best, best_score):
    """Let the documents from `start` on stand for election: the highest score wins, the earlier one on a tie."""
    for i in range(scores.size):
        root = parent[start + i]
        if root == start + i or scores[i] > best_score[root]:
            best_score[root] = scores[i]
            best[root] = start + i
