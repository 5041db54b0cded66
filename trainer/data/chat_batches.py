"""Micro-batches of encoded rows, either packed several to a bin or padded with one sequence per bin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat import ChatEncoder, Messages
from windtunnel.trainer.data.chat_errors import ChatError
from windtunnel.trainer.data.chat_rows import AnswerRows, Rows
from windtunnel.trainer.data.packing import Packed, Row, micro_batches, pack, split_branches, tensors

if TYPE_CHECKING:
    import torch

CHUNK = 512  # rows that are read and sorted by length together


def batches(
    rows: AnswerRows,
    numbers: Sequence[int],
    loaded: Sequence[Row],
    micro_tokens: int | None,
    share: bool,
    extra: dict[str, np.ndarray],
) -> Iterator[Batch]:
    """Yield micro-batches of the rows with the given numbers, with the matching entries of the `extra` arrays."""
    import torch

    ids = [rows.ids[k].as_py() for k in numbers]
    widths = [sum(len(part.ids) for part in (split_branches(row) if not share else [row])) for row in loaded]
    for group in micro_batches(widths, micro_tokens):
        group.sort()  # restore the training order within the micro-batch
        packed = pack_rows([loaded[k] for k in group], share)
        batch = tensors(packed)
        for name, values in extra.items():
            batch[name] = torch.from_numpy(values[[numbers[k] for k in group]])
        yield Batch(batch, sum(widths[k] for k in group), [ids[k] for k in group])


def in_micro_batches(rows: Rows, micro_tokens: int | None, share: bool) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield micro-batches of all rows, each with the row numbers."""
    place = np.arange(len(rows))
    for begin in range(0, len(rows), CHUNK):
        numbers = range(begin, min(begin + CHUNK, len(rows)))
        loaded = [rows[k] for k in numbers]
        for batch in batches(rows, numbers, loaded, micro_tokens, share, {"place": place}):
            yield batch, batch.tensors["place"].numpy()


def last_turns(
    encoder: ChatEncoder,
    conversations: Sequence[Messages],
    micro_tokens: int,
    refused: list[int] | None = None,
    limit: int | None = None,
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Yield (indices, tensors) of micro-batches of conversations whose last turn is the target, one per bin.

    Raises ChatError for an invalid conversation, also one of more tokens than `limit`, or adds its index to `refused`
    and leaves it out.
    """
    rows: dict[int, Row] = {}
    for k, messages in enumerate(conversations):
        try:
            one = encoder.encode(messages, learn_from=len(messages) - 1)
            if limit is not None and len(one.ids) > limit:
                raise ChatError("too_long", f"{len(one.ids):,} tokens, and the model reads {limit:,}")
        except ChatError:
            if refused is None:
                raise
            refused.append(k)
        else:
            rows[k] = Row.of(one.ids, one.target)
    places = list(rows)
    for group in micro_batches([len(row.ids) for row in rows.values()], micro_tokens):
        numbers = [places[k] for k in group]
        yield numbers, tensors(pack([rows[k] for k in numbers], pad_id=0, one_per_bin=True))


def pack_rows(rows: Sequence[Row], share: bool) -> Packed:
    """Return rows packed several to a bin, or with one sequence per bin where the model cannot share bins."""
    if share:
        return pack(rows, pad_id=0)
    parts = [part for row in rows for part in split_branches(row)]
    return pack(parts, pad_id=0, one_per_bin=True)
