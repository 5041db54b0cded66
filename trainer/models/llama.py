"""Llama: RMSNorm, SwiGLU, rotary positions, no biases (LlamaForCausalLM of transformers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from windtunnel.trainer.models._model import Model, small_init
from windtunnel.trainer.models._mup import Base, multipliers, scale
from windtunnel.trainer.models._shapes import Shape, feed_forward, parsed, shape_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Llama(Model):
    """Llama sizes; `ff` defaults to 8/3 of the width, rounded up to a multiple of 32.

    `parameters: 30M` chooses width, layers and heads for the tokenizer's vocabulary. `mup: {width: 256, layers: 4}` are
    the sizes at which the learning rate was tuned: it then suits this model too.
    """

    examples: ClassVar = (
        {"width": 16, "layers": 2, "heads": 2, "kv_heads": 1, "tied": False},
        {"parameters": "40k"},
        {"width": 64, "layers": 2, "heads": 2, "mup": {"width": 32, "layers": 1}},
    )

    parameters: Annotated[int | None, BeforeValidator(parsed)] = Field(None, gt=0)  # of the whole model, or `30M`
    mup: Base | None = None
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
        chosen = self.model_fields_set & {"width", "layers", "heads", "kv_heads", "ff"}
        if self.parameters is not None and chosen:
            raise ValueError(f"`parameters` chooses the shape: leave out {', '.join(sorted(chosen))}")
        return self

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        from transformers.models.llama.configuration_llama import LlamaConfig
        from transformers.models.llama.modeling_llama import LlamaForCausalLM

        model = LlamaForCausalLM(LlamaConfig(**self._options(vocabulary, end_of_text)))
        if self.mup is not None:
            scale(model, self.mup, self.init_std or small_init(self.mup.width))
        return model

    def rates(self, model: PreTrainedModel) -> dict[str, float]:
        return multipliers(model, self.mup) if self.mup is not None else {}

    def shape(self, vocabulary: int) -> Shape:
        """Return the shape of the model for a vocabulary."""
        if self.parameters is not None:
            return shape_of(self.parameters, vocabulary, self.tied)
        return Shape(self.width, self.layers, self.heads)

    def _options(self, vocabulary: int, end_of_text: int) -> dict[str, Any]:
        """Return the arguments of the configuration classes of Llama and Mixtral."""
        width, layers, heads = self.shape(vocabulary)
        return {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "intermediate_size": self.ff or feed_forward(width),
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": self.kv_heads or heads,
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.norm_eps,
            "initializer_range": self.init_std or small_init(width),
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "tie_word_embeddings": self.tied,
            "bos_token_id": end_of_text,
            "eos_token_id": end_of_text,
            "pad_token_id": None,
            "attn_implementation": "sdpa",
            "dtype": "float32",
        }
