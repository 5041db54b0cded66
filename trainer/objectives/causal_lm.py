"""Next-token prediction over a mix of corpora: pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, write_parquet
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.role import Role
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.domain import Domain
from windtunnel.trainer.data.encoder import open_encoder
from windtunnel.trainer.data.sampler import DocumentIds, Windows, read_mix
from windtunnel.trainer.modules.heads import output_weight
from windtunnel.trainer.modules.routing import EXPERTS, ExpertLoads, routed_hidden_states
from windtunnel.trainer.objectives._objective import Data, Evaluation, Loss, Objective, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DOCUMENTS_PER_BATCH = 16
SHORTEST_PIECE = 32  # tokens


class CausalLM(Objective):
    """Cross-entropy of each next token, in nats per token; inputs are a mix, its tokens, and the held-out set."""

    version: ClassVar[int] = 3
    lr: float = Field(3e-3, gt=0)
    piece: float | None = Field(None, gt=0)  # contexts per piece of a document; None: see `piece_tokens`

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
        micro_rows = rows if self.micro_tokens is None else max(1, self.micro_tokens // setting.context)
        return _Packed(windows, rows, micro_rows)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        from windtunnel.trainer.losses.cross_entropy import summed_nats

        ids = batch.tensors["ids"]
        targets = ids[:, 1:].flatten()
        routed = routed_hidden_states(model, ids[:, :-1])
        total = summed_nats(routed.hidden.flatten(0, 1), output_weight(model), targets)
        if routed.balance is not None:
            total = total + routed.balance * len(targets)
        return Loss(total, len(targets), {name: value * len(targets) for name, value in routed.metrics.items()})

    def evaluate(self, model: PreTrainedModel, setting: Setting, out: Path) -> Evaluation:
        from windtunnel.trainer.eval.evaluate import document_nats, read_held_out, totals, write_scores

        if "held_out" not in setting.inputs:
            return Evaluation(totals={})
        encoder = open_encoder(tokenizer_folder(setting.inputs))
        held_out = read_held_out(setting.inputs["held_out"], encoder)
        with ExpertLoads(model) as loads:
            nats = document_nats(model, held_out.tokens, encoder.end_of_text, setting.context, loads=loads)
        if rows := loads.rows():
            write_parquet(out / EXPERTS, pl.DataFrame(rows))
        metrics: dict[str, float] = {}
        if "choices" in setting.inputs:
            from windtunnel.trainer.eval.choices import score_choices

            choices = setting.inputs["choices"]
            metrics = score_choices(model, choices, encoder, setting.context, out / "choices.parquet")
        return Evaluation(totals(write_scores(held_out, nats, out / "scores.parquet")), metrics)


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


class _Packed(Data):
    """Windows of context + 1 tokens, `rows` per step."""

    def __init__(self, windows: Windows, rows: int, micro_rows: int) -> None:
        self.windows, self.rows, self.micro_rows = windows, rows, micro_rows
        self.steps = windows.number // rows

    def batch(self, step: int) -> list[Batch]:
        import torch

        first = step * self.rows
        ids = torch.from_numpy(self.windows.tokens(first, first + self.rows))
        return [
            Batch(
                tensors={"ids": part},
                tokens=len(part) * self.windows.context,
                documents=DocumentIds(self.windows, first + start, first + start + len(part)),
            )
            for start, part in zip(range(0, self.rows, self.micro_rows), ids.split(self.micro_rows), strict=True)
        ]

    def realised(self) -> list[dict[str, Any]]:
        return self.windows.realised()
