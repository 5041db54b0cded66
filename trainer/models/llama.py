"""Llama: RMSNorm, SwiGLU, rotary positions, no biases (LlamaForCausalLM of transformers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from windtunnel.trainer.models._model import Model, small_init

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Llama(Model):
    """Llama sizes; `ff` defaults to 8/3 of the width, rounded up to a multiple of 32."""

    examples: ClassVar = ({"width": 16, "layers": 2, "heads": 2, "kv_heads": 1, "tied": False},)

    width: int = Field(96, ge=8)
    layers: int = Field(3, ge=1)
    heads: int = Field(3, ge=1)
    kv_heads: int | None = Field(None, ge=1)  # None: equal to heads
    ff: int | None = Field(None, ge=8)
    rope_theta: float = Field(10_000.0, gt=0)
    norm_eps: float = Field(1e-5, gt=0)
    init_std: float | None = Field(None, gt=0)  # None: sqrt(2 / (5 width))
    tied: bool = True  # share input and output embeddings, which dominate the size of a small model

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} over {self.heads} heads must give an even whole number")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} kv_heads evenly")
        return self

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        from transformers.models.llama.configuration_llama import LlamaConfig
        from transformers.models.llama.modeling_llama import LlamaForCausalLM

        return LlamaForCausalLM(LlamaConfig(**self._options(vocabulary, end_of_text)))

    def _options(self, vocabulary: int, end_of_text: int) -> dict[str, Any]:
        """Return the arguments of the configuration classes of Llama and Mixtral."""
        return {
            "vocab_size": vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.ff or -(-self.width * 8 // 3 // 32) * 32,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads or self.heads,
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.norm_eps,
            "initializer_range": self.init_std or small_init(self.width),
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "tie_word_embeddings": self.tied,
            "bos_token_id": end_of_text,
            "eos_token_id": end_of_text,
            "pad_token_id": None,
            "attn_implementation": "sdpa",
            "dtype": "float32",
        }
