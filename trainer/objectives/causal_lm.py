"""Next-token prediction over a mix of corpora: pretraining.

A batch is made of windows, each of parts of several documents. By default a window is one text, in which a document
sees the ends of those before it. With `documents: separate` each part of a document is by itself: it sees no other,
positions begin with it, and its first token is predicted from one token, as in evaluation: end-of-text, or the token
before it where the part is not the beginning of its document. The predicted tokens are the same in both cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.role import Role
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.domain import Domain
from windtunnel.trainer.data.encoder import open_encoder
from windtunnel.trainer.data.packing import separated
from windtunnel.trainer.data.sampler import DocumentIds, Windows, read_mix
from windtunnel.trainer.modules.heads import output_weight
from windtunnel.trainer.modules.routing import routed_hidden_states
from windtunnel.trainer.objectives._chat_objective import takes_block_mask
from windtunnel.trainer.objectives._objective import Data, Evaluation, Loss, Objective, Setting

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

DOCUMENTS_PER_BATCH = 16
SHORTEST_PIECE = 32  # tokens


class CausalLM(Objective):
    """Cross-entropy of each next token, in nats per token; inputs are a mix, its tokens, and the held-out set."""

    version: ClassVar[int] = 3
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"documents": "separate"})
    lr: float = Field(3e-3, gt=0)
    piece: float | None = Field(None, gt=0)  # contexts per piece of a document; None: see `piece_tokens`
    documents: Literal["together", "separate"] = "together"  # whether a document sees others in its window

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        shares, budget = read_mix(setting.inputs["mix"])
        rows = max(1, self.batch_tokens // setting.context)
        steps = budget // (rows * setting.context)
        if steps == 0:
            raise RecipeError(
                f"a budget of {budget:,} tokens is less than one step of {rows * setting.context:,}: "
                f"lower batch_tokens or raise the budget"
            )
        size = piece_tokens(self.piece, setting.context, rows)
        domains = {
            share.name: Domain(
                share.name, setting.inputs[Role("tokens", share.name)], setting.seed, setting.context, size
            )
            for share in shares
        }
        windows = Windows(shares, domains, setting.context, steps * rows)
        separate = None
        if self.documents == "separate":
            if not (takes_block_mask(model, setting.context) and all(delta.shares_bins for delta in self.deltas())):
                raise RecipeError(
                    "`documents: separate` needs a model whose layers all see the whole context, and no delta that "
                    "adds positions, such as prefix or prompt: leave it out, or choose others"
                )
            separate = int(setting.tokenizer.eos_token_id)  # type: ignore[arg-type]
        micro_rows = rows if self.micro_tokens is None else max(1, self.micro_tokens // setting.context)
        return _Packed(windows, rows, micro_rows, separate)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        from windtunnel.trainer.losses.cross_entropy import summed_nats

        ids, more = batch.tensors["ids"], dict[str, Any]()
        if "parts" in batch.tensors:
            targets, more = batch.tensors["targets"].flatten(), separated(batch.tensors["parts"], model.dtype)
        else:
            ids, targets = ids[:, :-1], ids[:, 1:].flatten()
        routed = routed_hidden_states(model, ids, **more)
        total = summed_nats(routed.hidden.flatten(0, 1), output_weight(model), targets)
        if routed.balance is not None:
            total = total + routed.balance * len(targets)
        return Loss(total, len(targets), {name: value * len(targets) for name, value in routed.metrics.items()})

    def evaluate(self, model: PreTrainedModel, setting: Setting, out: Path) -> Evaluation:
        from windtunnel.trainer.eval.evaluate import document_nats, read_held_out, totals, write_scores

        if "held_out" not in setting.inputs:
            return Evaluation(totals={})
        encoder = open_encoder(setting.inputs["tokenizer"].path / "tokenizer")
        held_out = read_held_out(setting.inputs["held_out"], encoder)
        nats = document_nats(model, held_out.tokens, encoder.end_of_text, setting.context)
        metrics: dict[str, float] = {}
        if "choices" in setting.inputs:
            from windtunnel.trainer.eval.choices import score_choices

            choices = setting.inputs["choices"]
            metrics = score_choices(model, choices, encoder, setting.context, out / "choices.parquet")
        return Evaluation(totals(write_scores(held_out, nats, out / "scores.parquet")), metrics)


def piece_tokens(piece: float | None, context: int, rows: int) -> int:
    """Return the tokens of a piece of a document, the unit whose order is random.

    By default it is a context, or less where a batch of `rows` windows would otherwise hold fewer than
    DOCUMENTS_PER_BATCH pieces, but at least SHORTEST_PIECE: a batch of one long document makes a noisy step.
    """
    if piece is not None:
        return max(1, round(piece * context))
    return max(min(SHORTEST_PIECE, context), min(context, context * rows // DOCUMENTS_PER_BATCH))


class _Packed(Data):
    """Windows of context + 1 tokens, `rows` per step; `separate`: the end-of-text token, if documents are separate."""

    def __init__(self, windows: Windows, rows: int, micro_rows: int, separate: int | None = None) -> None:
        self.windows, self.rows, self.micro_rows, self.separate = windows, rows, micro_rows, separate
        self.steps = windows.number // rows
        if separate is not None:
            some = sorted({round(k * (windows.number - 1) / 63) for k in range(64)})
            lengths = np.concatenate([np.bincount(windows.separate(w, w + 1, separate).parts[0]) for w in some])
            self.window = float(np.average(lengths, weights=lengths))  # mean over tokens, not over parts

    def batch(self, step: int) -> list[Batch]:
        first = step * self.rows
        return [
            Batch(
                tensors=self._tensors(start, stop),
                tokens=(stop - start) * self.windows.context,
                documents=DocumentIds(self.windows, start, stop),
            )
            for start in range(first, first + self.rows, self.micro_rows)
            for stop in [min(start + self.micro_rows, first + self.rows)]
        ]

    def _tensors(self, first: int, last: int) -> dict[str, torch.Tensor]:
        import torch

        if self.separate is None:
            return {"ids": torch.from_numpy(self.windows.tokens(first, last))}
        found = self.windows.separate(first, last, self.separate)
        return {name: torch.from_numpy(values) for name, values in found._asdict().items()}

    def realised(self) -> list[dict[str, Any]]:
        return self.windows.realised()
