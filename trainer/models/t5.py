"""T5: an encoder and a decoder (T5ForConditionalGeneration of transformers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.trainer.models._model import Model, ModelKind

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

INPUT, TARGET = 0.9, 0.2  # tokens of input and target for each token of text
SENTINELS = 100  # as in T5: `<extra_id_0>` and on


class T5(Model):
    """T5 sizes: RMSNorm, gated GELU, relative positions, tied embeddings; `layers` are those of each half.

    `context` is the longest input; positions are relative, so that longer ones run, too. The tokenizer gets a hundred
    sentinels above its own ids. The decoder starts with the end-of-text token, which is also the padding token.
    """

    kind: ClassVar[ModelKind] = "seq2seq"
    examples: ClassVar = ({"width": 16, "layers": 2, "heads": 2, "context": 32},)

    width: int = Field(96, ge=8)
    layers: int = Field(2, ge=1)
    heads: int = Field(3, ge=1)
    head_width: int | None = Field(None, ge=4)  # None: width over heads, rounded up
    ff: int | None = Field(None, ge=8)  # None: 8/3 of the width, rounded up to a multiple of 32
    dropout: float = Field(0.0, ge=0, lt=1)

    def special_tokens(self) -> dict[str, Any]:
        return {"extra_special_tokens": [f"<extra_id_{number}>" for number in range(SENTINELS)]}

    def training_flops(self, model: PreTrainedModel, context: float, causal: bool = True) -> float:
        """Return FLOPs per token of text under T5's span corruption, as if all weights trained.

        Of a text, 0.9 times as many tokens enter the encoder and 0.2 times the decoder: with 15 % cut out in spans
        of 3, one sentinel each. Attention over the input is whole in both.
        """
        parts: Any = model
        head = parts.get_output_embeddings().weight.numel()
        encoder, decoder = (sum(p.numel() for p in half.block.parameters()) for half in (parts.encoder, parts.decoder))
        attention = 12.0 * model.config.num_heads * model.config.d_kv * self.layers
        read = INPUT * (6.0 * encoder + attention * context)
        target = context * TARGET / INPUT * (0.5 if causal else 1.0)
        return read + TARGET * (6.0 * (decoder + head) + attention * (context + target))

    def frame(self, tokenizer: PreTrainedTokenizerFast) -> tuple[list[str], list[str]]:
        return [], [str(tokenizer.eos_token)]

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        from transformers.models.t5.configuration_t5 import T5Config
        from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

        config = T5Config(
            vocab_size=vocabulary,
            d_model=self.width,
            d_kv=self.head_width or -(-self.width // self.heads),
            d_ff=self.ff or -(-self.width * 8 // 3 // 32) * 32,
            num_layers=self.layers,
            num_heads=self.heads,
            feed_forward_proj="gated-gelu",
            dropout_rate=self.dropout,
            max_position_embeddings=self.context,  # pyright: ignore[reportCallIssue]
            pad_token_id=end_of_text,
            eos_token_id=end_of_text,
            decoder_start_token_id=end_of_text,  # pyright: ignore[reportCallIssue]
            attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
            dtype="float32",
        )
        return T5ForConditionalGeneration(config)
