"""Prompts with the answers of other rows, whose log-ratios estimate how far a policy is from its reference."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.data.packing import Row


class MismatchedRows:
    """Every row's prompt, followed by the answers of the row before it in the order of the ids' hashes.

    Which row that is depends on the data alone, so that the reference's log-probabilities are computed once for all
    steps and seeds. Answers end where the context ends. Raises InputError for a single row.
    """

    def __init__(self, rows: Rows, context: int):
        if len(rows) < 2:
            raise InputError("KTO compares prompts with the answers of other rows, and there is one row: add more")
        self.rows, self.context, self.answers = rows, context, rows.answers
        self.ids: pa.ChunkedArray = rows.ids
        order = np.argsort(rows.keys, kind="stable")
        self.other = np.empty(len(rows), np.int64)
        self.other[order] = np.roll(order, 1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k: int) -> Row:
        own, other = self.rows[k], self.rows[int(self.other[k])]
        prompt = np.flatnonzero(own.branch == 0)
        room = self.context - len(prompt)
        tails = np.concatenate([np.flatnonzero(other.branch == answer)[:room] for answer in (1, 2)])
        parts = zip(own, other, strict=True)
        ids, target, branch = (np.concatenate([mine[prompt], theirs[tails]]) for mine, theirs in parts)
        target[: len(prompt)] = False
        return Row(ids, target, branch)

    def digest(self) -> str:
        """Return a hash of the rows and of how they are put together."""
        return f"mismatched-{self.context}-{self.rows.digest()}"
