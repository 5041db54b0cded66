"""Next-token prediction over a mix of corpora: pretraining.

A batch is made of windows, each of parts of several documents. By default a window is one text, in which a document
sees the ends of those before it. With `documents: separate` each part of a document is by itself: it sees no other,
positions begin with it, and its first token is predicted from one token, as in evaluation: end-of-text, or the token
before it where the part is not the beginning of its document. The predicted tokens are the same in both cases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from windtunnel.schemas.errors import RecipeError
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.packing import separated
from windtunnel.trainer.data.sampler import DocumentIds, Windows
from windtunnel.trainer.modules.heads import output_weight, takes_block_mask
from windtunnel.trainer.modules.routing import routed_hidden_states
from windtunnel.trainer.objectives._mix_objective import LikelihoodObjective
from windtunnel.trainer.objectives._objective import Data, Loss, Setting

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class CausalLM(LikelihoodObjective):
    """Cross-entropy of each next token, in nats per token; inputs are a mix, its tokens, and the held-out set.

    With `predict`, as many further tokens are predicted from the same state, each by a head of its own that is left out
    of the export: multi-token prediction (Gloeckle et al. 2024, arXiv 2404.19737), whose losses are summed with equal
    weights. A head is a residual layer below the common output matrix (Medusa, Cai et al. 2024). Held-out documents are
    scored by the next token alone.
    """

    version: ClassVar[int] = 4
    examples: ClassVar = ({}, {"predict": 2}, {"documents": "separate"})

    lr: float = Field(3e-3, gt=0)
    documents: Literal["together", "separate"] = "together"  # whether a document sees others in its window
    predict: int = Field(0, ge=0, le=16)  # tokens beyond the next one

    @model_validator(mode="after")
    def _check_predict(self) -> CausalLM:
        if self.predict and self.delta is not None:
            raise ValueError(f"further heads are trained with the whole model, not beside a delta ({self.delta!r})")
        if self.predict and self.documents == "separate":
            raise ValueError("`predict` reads on into the next document: it goes with `documents: together`")
        return self

    def adopt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model, with heads for further tokens where they are asked for."""
        if self.predict:
            from windtunnel.trainer.modules.further_heads import add_further_heads

            add_further_heads(model, self.predict)
        return model

    def release(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model without the heads for further tokens."""
        if self.predict:
            from windtunnel.trainer.modules.further_heads import remove_further_heads

            remove_further_heads(model)
        return model

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        if self.documents == "together":
            return super().open(setting, model)
        if not (takes_block_mask(model, setting.context) and all(delta.shares_bins for delta in self.deltas())):
            raise RecipeError(
                "`documents: separate` needs a model whose layers all see the whole context, and no delta that "
                "adds positions, such as prefix or prompt: leave it out, or choose others"
            )
        return _Separate(*self.windows(setting), int(setting.tokenizer.eos_token_id))  # type: ignore[arg-type]

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        from windtunnel.trainer.losses.cross_entropy import summed_nats

        ids, more = batch.tensors["ids"], dict[str, Any]()
        if "parts" in batch.tensors:
            inputs, targets = ids, batch.tensors["targets"].flatten()
            more = separated(batch.tensors["parts"], model.dtype)
        else:
            inputs, targets = ids[:, :-1], ids[:, 1:].flatten()
        routed = routed_hidden_states(model, inputs, **more)
        total = summed_nats(routed.hidden.flatten(0, 1), output_weight(model), targets)
        if routed.balance is not None:
            total = total + routed.balance * len(targets)
        metrics = {name: value * len(targets) for name, value in routed.metrics.items()}
        if self.predict:
            from windtunnel.trainer.modules.further_heads import further_states

            metrics["next_token_loss"] = total.detach()
            for beyond, states in enumerate(further_states(model, routed.hidden), start=1):
                total = total + summed_nats(states, output_weight(model), ids[:, 1 + beyond :].flatten())
        return Loss(total, len(targets), metrics)


class _Separate(Data):
    """Windows of the mix whose documents do not see one another, `rows` per step."""

    def __init__(self, windows: Windows, rows: int, micro_rows: int, end_of_text: int) -> None:
        self.windows, self.rows, self.micro_rows, self.end_of_text = windows, rows, micro_rows, end_of_text
        self.steps = windows.number // rows
        some = sorted({round(k * (windows.number - 1) / 63) for k in range(64)})
        lengths = np.concatenate([np.bincount(windows.separate(w, w + 1, end_of_text).parts[0]) for w in some])
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

        found = self.windows.separate(first, last, self.end_of_text)
        return {name: torch.from_numpy(values) for name, values in found._asdict().items()}

    def realised(self) -> list[dict[str, Any]]:
        return self.windows.realised()
