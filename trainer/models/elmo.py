"""ELMo: a forward and a backward LSTM language model with one output matrix (a class of ours: modules/elmo.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from windtunnel.trainer.models._model import Model, ModelKind, flops_per_token, small_init

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Elmo(Model):
    """ELMo sizes: `layers` LSTMs a direction of `cell` units, projected to the width; embeddings are tied.

    The original has 2 layers of 4,096 units at a width of 512. Its files are safetensors and a configuration as
    transformers writes them, which has no class to read them: use `windtunnel.trainer.models._model.load`.
    """

    kind: ClassVar[ModelKind] = "bidirectional"
    examples: ClassVar = ({"width": 16, "cell": 24, "context": 32},)

    width: int = Field(96, ge=8)
    layers: int = Field(2, ge=1)
    cell: int | None = Field(None, ge=8)  # None: 4 x width
    dropout: float = Field(0.0, ge=0, lt=1)  # of what enters and leaves each layer; the original's is 0.1
    init_std: float | None = Field(None, gt=0)  # of the embeddings; None: sqrt(2 / (5 width))

    @model_validator(mode="after")
    def _check_cell(self) -> Self:
        if self.cell is not None and self.cell <= self.width:
            raise ValueError(f"a cell of {self.cell} units is projected to a smaller width, and {self.width} is not")
        return self

    def training_flops(self, model: PreTrainedModel, context: float, causal: bool = True) -> float:
        """Return FLOPs per token: there is no attention, and both directions apply the head."""
        head: Any = model.get_output_embeddings()
        return flops_per_token(model, 0) + 6.0 * head.weight.numel()

    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        from windtunnel.trainer.modules.elmo import Elmo as ElmoModel
        from windtunnel.trainer.modules.elmo import ElmoConfig

        config = ElmoConfig(
            vocab_size=vocabulary,
            hidden_size=self.width,
            cell_size=self.cell or 4 * self.width,
            num_hidden_layers=self.layers,
            max_position_embeddings=self.context,
            initializer_range=self.init_std or small_init(self.width),
            dropout=self.dropout,
            eos_token_id=end_of_text,
            dtype="float32",
        )
        return ElmoModel(config)
