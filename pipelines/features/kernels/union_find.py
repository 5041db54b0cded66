"""Numba kernels: union-find over document numbers, 4 bytes per document up to 4.29 * 10^9 documents, 8 beyond."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def unite(parent, first, other):
    """Merge the sets of first[i] and other[i]. The root is the lowest number, whatever the order."""
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
    """Set the parent of every document to its root; one pass suffices, because parents have lower numbers."""
    for i in range(parent.size):
        parent[i] = parent[parent[i]]


@njit(cache=True, nogil=True)
def sizes(parent, counts):
    """Count the members of each set at its root."""
    for i in range(parent.size):
        counts[parent[i]] += 1


@njit(cache=True, nogil=True)
def choose(parent, start, scores, best, best_score):
    """Update the best document of each set with those from `start` on, by score; ties go to the earlier one."""
    for i in range(scores.size):
        root = parent[start + i]
        if root == start + i or scores[i] > best_score[root]:
            best_score[root] = scores[i]
            best[root] = start + i
