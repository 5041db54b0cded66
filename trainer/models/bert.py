"""BERT: an encoder that predicts masked tokens (BertForMaskedLM of transformers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from windtunnel.trainer.models._model import Model, ModelKind, flops_per_token, small_init

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

HIDDEN = 0.15  # share of the tokens that are predicted


class Bert(Model):
    """BERT sizes: LayerNorm after each sum, GELU, learned positions, two segments; embeddings are tied.

    The tokenizer gets `[MASK]`, `[CLS]` and `[SEP]` above its own ids, where it has none.
    """

    kind: ClassVar[ModelKind] = "masked"
    examples: ClassVar = ({"width": 16, "layers": 2, "heads": 2, "context": 32},)

    width: int = Field(96, ge=8)
    layers: int = Field(3, ge=1)
    heads: int = Field(3, ge=1)
    ff: int | None = Field(None, ge=8)  # None: 4 x width
    dropout: float = Field(0.0, ge=0, lt=1)  # BERT's own is 0.1, over forty epochs
    init_std: float | None = Field(None, gt=0)  # None: sqrt(2 / (5 width))

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")
        return self

    def special_tokens(self) -> dict[str, Any]:
        return {"mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}

    def training_flops(self, model: PreTrainedModel, context: float, causal: bool = True) -> float:
        """Return FLOPs per token: attention is whole, and the head is applied to what is hidden, 15 % of the tokens."""
        head: Any = model.get_output_embeddings()  # None: a classifier
        unused = 0.0 if head is None else 6.0 * head.weight.numel() * (1 - HIDDEN)
        return flops_per_token(model, context, causal=False) - unused

    def frame(self, tokenizer: PreTrainedTokenizerFast) -> tuple[list[str], list[str]]:
        return [str(tokenizer.cls_token)], [str(tokenizer.sep_token)]

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.bert.modeling_bert import BertForMaskedLM

        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.ff or 4 * self.width,
            max_position_embeddings=self.context,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            initializer_range=self.init_std or small_init(self.width),
            pad_token_id=None,  # a padding embedding would be held at zero; padding is masked instead
            bos_token_id=end_of_text,
            eos_token_id=end_of_text,
            attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
            dtype="float32",
        )
        return BertForMaskedLM(config)
