"""Next-token prediction over a mix of corpora: pretraining."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.modules.heads import output_weight
from windtunnel.trainer.modules.routing import routed_hidden_states
from windtunnel.trainer.objectives._mix_objective import LikelihoodObjective
from windtunnel.trainer.objectives._objective import Loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CausalLM(LikelihoodObjective):
    """Cross-entropy of each next token, in nats per token; inputs are a mix, its tokens, and the held-out set.

    With `predict`, as many further tokens are predicted from the same state, each by a head of its own that is left out
    of the export: multi-token prediction (Gloeckle et al. 2024, arXiv 2404.19737), whose losses are summed with equal
    weights. A head is a residual layer below the common output matrix (Medusa, Cai et al. 2024). Held-out documents are
    scored by the next token alone.
    """

    version: ClassVar[int] = 3
    examples: ClassVar = ({}, {"predict": 2})

    lr: float = Field(3e-3, gt=0)
    predict: int = Field(0, ge=0, le=16)  # tokens beyond the next one

    @model_validator(mode="after")
    def _check_predict(self) -> CausalLM:
        if self.predict and self.delta is not None:
            raise ValueError(f"further heads are trained with the whole model, not beside a delta ({self.delta!r})")
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

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        from windtunnel.trainer.losses.cross_entropy import summed_nats

        ids = batch.tensors["ids"]
        targets = ids[:, 1:].flatten()
        routed = routed_hidden_states(model, ids[:, :-1])
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
