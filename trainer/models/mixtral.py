"""Mixtral: Llama with a mixture of experts in the feed-forward layers (MixtralForCausalLM of transformers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from windtunnel.trainer.models.llama import Llama

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Mixtral(Llama):
    """Mixtral sizes; `ff` is the width of one expert and defaults as in Llama."""

    version: ClassVar[int] = 2

    examples: ClassVar = ({"width": 16, "layers": 2, "heads": 2, "experts": 4},)

    experts: int = Field(8, ge=2)
    experts_per_token: int = Field(2, ge=1)
    balance: float = Field(0.02, ge=0)  # weight of the load-balancing loss (trainer.modules.routing)

    @model_validator(mode="after")
    def _check_experts(self) -> Self:
        if self.experts_per_token > self.experts:
            raise ValueError(f"a token cannot go to {self.experts_per_token} of {self.experts} experts")
        return self

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        from transformers.models.mixtral.configuration_mixtral import MixtralConfig
        from transformers.models.mixtral.modeling_mixtral import MixtralForCausalLM

        config = MixtralConfig(
            **self._options(vocabulary, end_of_text),
            num_local_experts=self.experts,
            num_experts_per_tok=self.experts_per_token,
            router_aux_loss_coef=self.balance,
        )
        return MixtralForCausalLM(config)
