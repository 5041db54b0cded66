"""Micro-batches of encoded rows: packed where rows may share a bin, one branch a bin where they may not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.data.packing import Packed, Row, micro_batches, pack, split_branches, tensors

CHUNK = 512  # rows that are read, sorted by length and scored together


def batches(
    rows: Rows,
    numbers: Sequence[int],
    loaded: Sequence[Row],
    micro_tokens: int | None,
    share: bool,
    extra: dict[str, np.ndarray],
) -> Iterator[Batch]:
    """Yield micro-batches of rows given by number, each with its line of `extra`."""
    import torch

    ids = [rows.ids[k].as_py() for k in numbers]
    widths = [sum(len(part.ids) for part in (split_branches(row) if not share else [row])) for row in loaded]
    for group in micro_batches(widths, micro_tokens):
        group.sort(key=lambda k: k)  # the order of training within the micro-batch
        packed = _pack([loaded[k] for k in group], share)
        batch = tensors(packed)
        for name, values in extra.items():
            batch[name] = torch.from_numpy(values[[numbers[k] for k in group]])
        yield Batch(batch, sum(widths[k] for k in group), [ids[k] for k in group])


def in_micro_batches(rows: Rows, micro_tokens: int | None, share: bool) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield all rows in micro-batches with their numbers."""
    place = np.arange(len(rows))
    for begin in range(0, len(rows), CHUNK):
        numbers = range(begin, min(begin + CHUNK, len(rows)))
        loaded = [rows[k] for k in numbers]
        for batch in batches(rows, numbers, loaded, micro_tokens, share, {"place": place}):
            yield batch, batch.tensors["place"].numpy()


def _pack(rows: list[Row], share: bool) -> Packed:
    if share:
        return pack(rows, pad_id=0)
    parts = [part for row in rows for part in split_branches(row)]
    return pack(parts, pad_id=0, one_per_bin=True)
