"""Sequence packing without attention across rows, and flat lists of target positions.

A row is a conversation, or a prompt with two answers. Every token has a branch: 0 for the shared prompt, 1 and 2 for
the answers. A token attends to earlier tokens of its row that have branch 0 or its own branch; positions restart with
every row and continue from the prompt in both branches. A packed batch therefore gives the same values as separate
sequences, and a shared prompt is processed once.

Targets are flat: `sources[k]` is the position (bin * width + column) whose hidden state predicts `labels[k]`, and
`owners[k]` is the sequence of that token. Logits are computed at these positions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

PAD_ROW = -1


class Row(NamedTuple):
    """Tokens of one row with their loss mask and branches."""

    ids: np.ndarray  # int64 [n]
    target: np.ndarray  # bool [n]
    branch: np.ndarray  # uint8 [n], non-decreasing

    @classmethod
    def of(cls, ids: Sequence[int], target: Sequence[bool]) -> Row:
        """Return the row of a single sequence."""
        return cls(np.asarray(ids), np.asarray(target), np.zeros(len(ids), np.uint8))


def fill_bins(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return the indices of the items in each bin by first-fit decreasing; ties keep their order.

    Raises ValueError for an item larger than `capacity`.
    """
    order = sorted(range(len(lengths)), key=lambda k: (-lengths[k], k))
    bins: list[list[int]] = []
    room: list[int] = []
    for item in order:
        need = lengths[item]
        if need > capacity:
            raise ValueError(f"a row of {need} tokens does not fit into {capacity}")
        place = next((b for b, free in enumerate(room) if free >= need), None)
        if place is None:
            bins.append([item])
            room.append(capacity - need)
        else:
            bins[place].append(item)
            room[place] -= need
    return bins


def micro_batches(lengths: Sequence[int], micro_tokens: int | None) -> list[list[int]]:
    """Return groups of indices of rows of similar length with at most `micro_tokens` tokens each.

    A longer row forms a group by itself. Groups are ordered longest first, so that running out of memory happens early.
    """
    order = sorted(range(len(lengths)), key=lambda k: (-lengths[k], k))
    groups: list[list[int]] = []
    used = 0
    for item in order:
        if groups and (micro_tokens is None or used + lengths[item] <= micro_tokens):
            groups[-1].append(item)
            used += lengths[item]
        else:
            groups.append([item])
            used = lengths[item]
    return groups


def split_branches(row: Row) -> list[Row]:
    """Return the row's sequences as separate rows that repeat the shared prompt."""
    answers = np.unique(row.branch[row.branch > 0])
    if not len(answers):
        return [row]
    parts = [(row.branch == 0) | (row.branch == answer) for answer in answers]
    return [Row(row.ids[p], row.target[p], np.zeros(int(p.sum()), np.uint8)) for p in parts]


class Packed(NamedTuple):
    """Packed bins as arrays; the module docstring defines `sources`, `labels` and `owners`."""

    ids: np.ndarray  # int64 [bins, width]
    positions: np.ndarray  # int64 [bins, width]
    rows: np.ndarray  # int32 [bins, width], PAD_ROW for padding
    branches: np.ndarray  # uint8 [bins, width]
    sources: np.ndarray  # int64 [targets]
    labels: np.ndarray  # int64 [targets]
    owners: np.ndarray  # int64 [targets], number of the sequence: rows in order, then answers
    ends: np.ndarray  # int64 [sequences], position of each sequence's last token
    shared: bool  # False: one plain sequence per bin, causal attention needs no mask


def pack(rows: Sequence[Row], pad_id: int, capacity: int | None = None, one_per_bin: bool = False) -> Packed:
    """Pack rows into bins of the longest row's width or of `capacity`; `one_per_bin` pads without packing."""
    lengths = [len(row.ids) for row in rows]
    width = max(lengths) if capacity is None else capacity
    bins = [[k] for k in range(len(rows))] if one_per_bin else fill_bins(lengths, width)
    width = max(sum(lengths[k] for k in content) for content in bins)
    shape = (len(bins), width)
    ids = np.full(shape, pad_id, np.int64)
    positions = np.zeros(shape, np.int64)
    owner_row = np.full(shape, PAD_ROW, np.int32)
    branches = np.zeros(shape, np.uint8)
    first = np.cumsum([0] + [_answers(row) for row in rows])
    places: list[tuple[int, int]] = [(0, 0)] * len(rows)
    for number, content in enumerate(bins):
        column = 0
        for k in content:
            row, span = rows[k], slice(column, column + lengths[k])
            ids[number, span], branches[number, span] = row.ids, row.branch
            positions[number, span], owner_row[number, span] = _positions(row.branch), k
            places[k] = (number, column)
            column += lengths[k]
    targets = [
        _targets(row, number * width + column, int(first[k]))
        for k, (row, (number, column)) in enumerate(zip(rows, places, strict=True))
    ]
    sources, labels, owners = (np.concatenate(parts) for parts in zip(*(t[:3] for t in targets), strict=True))
    ends = np.concatenate([t[3] for t in targets])
    shared = len(bins) < len(rows) or any(int(row.branch[-1]) for row in rows)
    return Packed(ids, positions, owner_row, branches, sources, labels, owners, ends, shared)


def tensors(packed: Packed) -> dict[str, torch.Tensor]:
    """Return the arrays as torch tensors, with an additive mask [bins, 1, width, width] if one is needed."""
    import torch

    arrays = {"input_ids": packed.ids} | {
        name: getattr(packed, name) for name in ("sources", "labels", "owners", "ends")
    }
    out = {name: torch.from_numpy(values) for name, values in arrays.items()}
    if packed.shared:
        out["position_ids"] = torch.from_numpy(packed.positions)
        out["attention_mask"] = block_mask(torch.from_numpy(packed.rows), torch.from_numpy(packed.branches))
    return out


def block_mask(rows: torch.Tensor, branches: torch.Tensor) -> torch.Tensor:
    """Return the additive attention mask, float [bins, 1, width, width]: 0 if attended to, else the lowest float.

    Padding attends to itself, because the softmax of a fully masked row is undefined.
    """
    import torch

    width = rows.shape[1]
    same_row = (rows[:, :, None] == rows[:, None, :]) & (rows != PAD_ROW)[:, :, None]
    same_branch = (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
    seen = same_row & same_branch & torch.ones(width, width, dtype=torch.bool, device=rows.device).tril()
    seen |= torch.eye(width, dtype=torch.bool, device=rows.device)
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(seen.shape, device=rows.device).masked_fill_(~seen, lowest)[:, None]


def separated(parts: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return what keeps the parts of packed rows from seeing one another, as arguments of a model's body.

    `parts`: int [rows, width], the number of each position's part, consecutive within a row; `dtype`: the model's.
    Positions restart with every part. Every way of attention that knows of parts (a mask, flex attention, sequence
    lengths) is chosen here.
    """
    import torch

    places = torch.arange(parts.shape[1], device=parts.device)
    begins = torch.ones_like(parts, dtype=torch.bool)
    begins[:, 1:] = parts[:, 1:] != parts[:, :-1]
    positions = places - torch.where(begins, places, 0).cummax(dim=1).values
    return {"position_ids": positions, "attention_mask": block_mask(parts, torch.zeros_like(parts)).to(dtype)}


def _answers(row: Row) -> int:
    return max(1, len(np.unique(row.branch[row.branch > 0])))


def _positions(branch: np.ndarray) -> np.ndarray:
    """Return positions that continue from the end of the shared prompt in every answer."""
    shared = int((branch == 0).sum())
    out = np.arange(len(branch), dtype=np.int64)
    for answer in np.unique(branch[branch > 0]):
        places = np.flatnonzero(branch == answer)
        out[places] = shared + np.arange(len(places))
    return out


def _targets(row: Row, offset: int, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return sources, labels, owners and ends of a row that begins at flat position `offset`."""
    shared = int((row.branch == 0).sum())
    places = np.flatnonzero(row.target)
    places = places[places > 0]  # the first token of a row is not predicted
    # The first token of both answers is predicted from the last token of the prompt.
    starts = np.concatenate([[True], row.branch[1:] != row.branch[:-1]])[places] & (row.branch[places] > 0)
    sources = np.where(starts, shared - 1, places - 1) + offset
    answers, numbers = np.unique(row.branch[row.branch > 0]), row.branch[places]
    owners = first + (np.searchsorted(answers, numbers) if len(answers) else np.zeros(len(places), np.int64))
    last = [np.flatnonzero(row.branch == answer)[-1] for answer in answers] if len(answers) else [len(row.ids) - 1]
    return sources, row.ids[places].astype(np.int64), owners.astype(np.int64), np.asarray(last, np.int64) + offset
