"""Objectives over the text of a mix of corpora: rows of consecutive tokens, changed by what an objective hides in them.

What is hidden in a step is drawn from (seed, step) over all of its rows at once, so that a resumed run hides the same,
micro-batches are parts of one draw, and runs of two mixes with the same seed hide the same places.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, write_parquet
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.role import Role
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.domain import Domain
from windtunnel.trainer.data.encoder import Encoder, open_encoder
from windtunnel.trainer.data.sampler import DocumentIds, Windows, read_mix
from windtunnel.trainer.data.stratified import digest
from windtunnel.trainer.objectives._objective import Data, Evaluation, Objective, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.trainer.eval.evaluate import HeldOut

DOCUMENTS_PER_BATCH = 16
SHORTEST_PIECE = 32  # tokens
# (token ids of all rows of a step [rows, tokens + 1], generator of the step) -> arrays whose first axis is the rows
Corruption = Callable[[np.ndarray, np.random.Generator], Mapping[str, np.ndarray]]


class MixObjective(Objective):
    """An objective whose inputs are a mix, its tokens and the held-out documents."""

    piece: float | None = Field(None, gt=0)  # rows per piece of a document; None: see `piece_tokens`

    def row_tokens(self, context: int) -> int:
        """Return how many tokens of text a row of `context` positions takes."""
        return context

    def corruption(self, setting: Setting, model: PreTrainedModel) -> Corruption:
        """Return the function that makes tensors of token ids; by default they are the tensor `ids`.

        A row has one token more than `row_tokens`, which is the first token of the row that follows in the text.
        """
        return lambda ids, generator: {"ids": ids}

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        return Rows(*self.windows(setting), self.corruption(setting, model), setting.seed)

    def windows(self, setting: Setting) -> tuple[Windows, int, int]:
        """Return the windows of the stage, and how many make a step and a micro-batch."""
        shares, budget = read_mix(setting.inputs["mix"])
        width = self.row_tokens(setting.context)
        rows = max(1, self.batch_tokens // width)
        steps = budget // (rows * width)
        if steps == 0:
            fits = width <= budget
            what, mend = (f"step of {rows * width:,}", "batch_tokens") if fits else (f"row of {width:,}", "the context")
            raise RecipeError(
                f"a budget of {budget:,} tokens is less than one {what}: lower {mend} or raise the budget"
            )
        size = piece_tokens(self.piece, width, rows)
        domains = {
            share.name: Domain(share.name, setting.inputs[Role("tokens", share.name)], setting.seed, width, size)
            for share in shares
        }
        windows = Windows(shares, domains, width, steps * rows)
        micro_rows = rows if self.micro_tokens is None else max(1, self.micro_tokens // width)
        return windows, rows, micro_rows

    @abstractmethod
    def nats(
        self, model: PreTrainedModel, documents: list[np.ndarray], encoder: Encoder, setting: Setting
    ) -> np.ndarray:
        """Return what `measure` says of each held-out document in nats, float64 [documents]."""

    def evaluate(self, model: PreTrainedModel, setting: Setting, out: Path) -> Evaluation:
        import polars as pl

        from windtunnel.trainer.eval.evaluate import read_held_out, totals, write_scores
        from windtunnel.trainer.modules.routing import EXPERTS, ExpertLoads

        if "held_out" not in setting.inputs:
            return Evaluation(totals={})
        encoder = open_encoder(tokenizer_folder(setting.inputs))
        held_out = read_held_out(setting.inputs["held_out"], encoder)
        with ExpertLoads(model) as loads:
            nats = self.nats(model, held_out.tokens, encoder, setting)
        if loads.routers:
            write_parquet(out / EXPERTS, pl.DataFrame(loads.rows()))
        sums = totals(write_scores(held_out, nats, out / "scores.parquet"))
        return Evaluation(sums, self.metrics(model, held_out, encoder, setting, out))

    def metrics(
        self, model: PreTrainedModel, held_out: HeldOut, encoder: Encoder, setting: Setting, out: Path
    ) -> dict[str, float]:
        """Return further metrics of the held-out documents."""
        return {}


class LikelihoodObjective(MixObjective):
    """An objective whose model predicts the next token: held-out documents get their likelihood, choices theirs."""

    def nats(
        self, model: PreTrainedModel, documents: list[np.ndarray], encoder: Encoder, setting: Setting
    ) -> np.ndarray:
        from windtunnel.trainer.eval.evaluate import document_nats

        return document_nats(model, documents, encoder.end_of_text, setting.context)

    def metrics(
        self, model: PreTrainedModel, held_out: HeldOut, encoder: Encoder, setting: Setting, out: Path
    ) -> dict[str, float]:
        if "choices" not in setting.inputs:
            return {}
        from windtunnel.trainer.eval.choices import score_choices

        return score_choices(model, setting.inputs["choices"], encoder, setting.context, out / "choices.parquet")


def tokenizer_folder(inputs: Mapping[str, Artifact]) -> Path:
    """Return the directory of the tokenizer of a run: its own input, or that of the model to start from."""
    return inputs["tokenizer"].path / "tokenizer" if "tokenizer" in inputs else inputs["start"].path / "model"


def piece_tokens(piece: float | None, context: int, rows: int) -> int:
    """Return the tokens of a piece of a document, the unit whose order is random.

    By default it is a context, or less where a batch of `rows` windows would otherwise hold fewer than
    DOCUMENTS_PER_BATCH pieces, but at least SHORTEST_PIECE: a batch of one long document makes a noisy step.
    """
    if piece is not None:
        return max(1, round(piece * context))
    return max(min(SHORTEST_PIECE, context), min(context, context * rows // DOCUMENTS_PER_BATCH))


class Rows(Data):
    """The rows of a step: windows of the mix, changed by a corruption, in micro-batches."""

    def __init__(self, windows: Windows, rows: int, micro_rows: int, corruption: Corruption, seed: int) -> None:
        self.windows, self.rows, self.micro_rows = windows, rows, micro_rows
        self.steps = windows.number // rows
        self._corruption, self._seed = corruption, seed

    def batch(self, step: int) -> list[Batch]:
        import torch

        first = step * self.rows
        generator = np.random.Generator(np.random.Philox(digest(f"{self._seed}/corruption/{step}")))
        arrays = self._corruption(self.windows.tokens(first, first + self.rows), generator)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
        return [
            Batch(
                tensors={name: value[start : start + self.micro_rows] for name, value in tensors.items()},
                tokens=min(self.micro_rows, self.rows - start) * self.windows.context,
                documents=DocumentIds(self.windows, first + start, first + min(start + self.micro_rows, self.rows)),
            )
            for start in range(0, self.rows, self.micro_rows)
        ]

    def realised(self) -> list[dict[str, Any]]:
        return self.windows.realised()
