"""GPT-2: LayerNorm, GELU, learned positions, biases (GPT2LMHeadModel of transformers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from windtunnel.trainer.models._model import Model, small_init

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GPT2(Model):
    """GPT-2 sizes, with tied embeddings and without dropout."""

    examples: ClassVar = ({"width": 16, "layers": 2, "heads": 2, "context": 32},)

    width: int = Field(96, ge=8)
    layers: int = Field(3, ge=1)
    heads: int = Field(3, ge=1)
    ff: int | None = Field(None, ge=8)  # None: 4 x width
    init_std: float | None = Field(None, gt=0)  # None: sqrt(2 / (5 width))

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")
        return self

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        from transformers.models.gpt2.configuration_gpt2 import GPT2Config
        from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel

        config = GPT2Config(
            vocab_size=vocabulary,
            n_embd=self.width,
            n_layer=self.layers,
            n_head=self.heads,
            n_inner=self.ff or 4 * self.width,
            n_positions=self.context,
            initializer_range=self.init_std or small_init(self.width),
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=end_of_text,
            eos_token_id=end_of_text,
            attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
            dtype="float32",
        )
        return GPT2LMHeadModel(config)
