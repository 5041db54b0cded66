"""Mixtral: Llama with a choice of experts for each token's feed-forward (transformers' MixtralForCausalLM)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from windtunnel.trainer.models._model import Model, small_init

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Mixtral(Model):
    """Mixtral sizes; `ff` is the width of one expert and defaults to 8/3 of the width, rounded up to 32."""

    examples: ClassVar = ({"width": 16, "layers": 2, "heads": 2, "experts": 4},)

    width: int = Field(96, ge=8)
    layers: int = Field(3, ge=1)
    heads: int = Field(3, ge=1)
    kv_heads: int | None = Field(None, ge=1)  # None: as many as heads
    ff: int | None = Field(None, ge=8)
    experts: int = Field(8, ge=2)
    experts_per_token: int = Field(2, ge=1)
    balance: float = Field(0.02, ge=0)  # factor of the load-balancing loss (Fedus et al. 2021, Switch Transformer)
    rope_theta: float = Field(10_000.0, gt=0)
    norm_eps: float = Field(1e-5, gt=0)
    init_std: float | None = Field(None, gt=0)  # None: sqrt(2 / (5 width))
    tied: bool = True

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} over {self.heads} heads must give an even whole number")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} kv_heads evenly")
        if self.experts_per_token > self.experts:
            raise ValueError(f"a token cannot go to {self.experts_per_token} of {self.experts} experts")
        return self

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        from transformers.models.mixtral.configuration_mixtral import MixtralConfig
        from transformers.models.mixtral.modeling_mixtral import MixtralForCausalLM

        config = MixtralConfig(
            vocab_size=vocabulary,
            hidden_size=self.width,
            intermediate_size=self.ff or -(-self.width * 8 // 3 // 32) * 32,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads or self.heads,
            num_local_experts=self.experts,
            num_experts_per_tok=self.experts_per_token,
            router_aux_loss_coef=self.balance,
            max_position_embeddings=self.context,
            rms_norm_eps=self.norm_eps,
            initializer_range=self.init_std or small_init(self.width),
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            tie_word_embeddings=self.tied,
            bos_token_id=end_of_text,
            eos_token_id=end_of_text,
            pad_token_id=None,
            attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
            dtype="float32",
        )
        return MixtralForCausalLM(config)
