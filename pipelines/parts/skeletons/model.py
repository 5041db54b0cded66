"""A Llama whose sizes follow from its depth.

In a recipe: `train: {model: {./new_part.py:NewPart: {layers: 4}}}`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.models._model import Model, small_init

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class NewPart(Model):
    """`layers` blocks of a width of 32 a layer, with heads of 32."""

    version: ClassVar[int] = 1  # raise it whenever the same parameters give other weights
    primary: ClassVar[str | None] = "layers"  # `{./new_part.py:NewPart: 4}` sets this parameter

    # Small sizes: `windtunnel check model ./new_part.py:NewPart` builds each and loads it with transformers.
    examples: ClassVar = ({"layers": 1, "context": 32}, {"layers": 2})

    layers: int = Field(3, ge=1)

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        """Return a causal language model of transformers, its weights drawn from torch's global generator."""
        from transformers.models.llama.configuration_llama import LlamaConfig
        from transformers.models.llama.modeling_llama import LlamaForCausalLM

        width = 32 * self.layers
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.layers,
            max_position_embeddings=self.context,
            initializer_range=small_init(width),
            tie_word_embeddings=True,
            bos_token_id=end_of_text,
            eos_token_id=end_of_text,
            dtype="float32",
        )
        return LlamaForCausalLM(config)
