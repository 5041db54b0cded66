"""ELMo's bidirectional language model (Peters et al. 2018, arXiv 1802.05365), in the form of a model of transformers.

Two stacks of LSTMs read the token embeddings, one forward and one backward; each layer's output is projected to the
width of the embeddings, and from the second layer on its input is added. One output matrix, that of the embeddings,
predicts the next token of both directions. Tokens are those of the tokenizer, where the original read characters.

transformers has no such class: the files are read by `windtunnel.trainer.models._model.load`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils.generic import ModelOutput


class ElmoConfig(PreTrainedConfig):
    """The sizes of a bidirectional language model."""

    model_type = "windtunnel_elmo"

    vocab_size: int = 4096
    hidden_size: int = 96  # of embeddings and of each direction's states
    cell_size: int = 384  # of the LSTM cells, which are projected to `hidden_size`
    num_hidden_layers: int = 2
    max_position_embeddings: int = 256  # the longest row in training; longer ones run, too
    initializer_range: float = 0.02
    dropout: float = 0.0
    eos_token_id: int | None = None
    tie_word_embeddings: bool = True


@dataclass
class ElmoStates(ModelOutput):
    """The last layer's states of both directions, [rows, positions, width] each, where they were asked for."""

    last_hidden_state: torch.Tensor | None = None  # forward
    backward_hidden_state: torch.Tensor | None = None


class ElmoBody(nn.Module):
    """Embeddings and the two stacks."""

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__()
        width, cell = config.hidden_size, config.cell_size
        self.embeddings = nn.Embedding(config.vocab_size, width)
        self.forward_layers, self.backward_layers = (
            nn.ModuleList(
                nn.LSTM(width, cell, proj_size=width, batch_first=True) for _ in range(config.num_hidden_layers)
            )
            for _ in range(2)
        )
        self.dropout = nn.Dropout(config.dropout)

    def read(self, layers: nn.ModuleList, vectors: torch.Tensor) -> list[torch.Tensor]:
        """Return the states of each layer of a stack over vectors [rows, positions, width] in its reading order."""
        states: list[torch.Tensor] = []
        below = self.dropout(vectors)
        for number, layer in enumerate(layers):
            above = self.dropout(layer(below)[0])
            below = above + below if number else above
            states.append(below)
        return states

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False, reverse: bool = False) -> ElmoStates:
        """Return the last states over ids [rows, positions] of the forward stack, or of the other if `reverse`.

        The backward stack gets its ids in its reading order: the last token of a text first.
        """
        layers = self.backward_layers if reverse else self.forward_layers
        last = self.read(layers, self.embeddings(input_ids))[-1]
        return ElmoStates(backward_hidden_state=last) if reverse else ElmoStates(last_hidden_state=last)


class Elmo(PreTrainedModel):
    """The language model; its `logits` are those of the forward direction, as of any causal model."""

    config_class = ElmoConfig
    base_model_prefix = "elmo"
    _supports_sdpa = True  # there is no attention to support; `load` asks for it
    _tied_weights_keys: ClassVar = {"lm_head.weight": "elmo.embeddings.weight"}
    config: ElmoConfig

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__(config)
        self.elmo = ElmoBody(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Draw embeddings and head; LSTMs keep torch's own initial weights, uniform in +-1/sqrt(cell size)."""
        if isinstance(module, nn.Embedding | nn.Linear):
            nn.init.normal_(module.weight, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        return self.elmo.embeddings

    def set_input_embeddings(self, value: Any) -> None:
        self.elmo.embeddings = value

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, input_ids: torch.Tensor, **ignored: Any) -> CausalLMOutput:
        return CausalLMOutput(logits=self.lm_head(self.elmo(input_ids).last_hidden_state))  # type: ignore[arg-type]

    def layer_vectors(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the vectors of every token by layer, [layers + 1, rows, positions, 2 width].

        `lengths` int64 [rows] are those of the texts, which begin their rows; what is behind is padding, whose vectors
        mean nothing. Layer 0 is the embedding twice, the others the states of both directions beside each other.
        """
        body = self.elmo
        vectors = body.embeddings(input_ids)
        order = _reversed_within(lengths, input_ids.shape[1])[:, :, None].expand_as(vectors)
        forward = body.read(body.forward_layers, vectors)
        backward = [states.gather(1, order) for states in body.read(body.backward_layers, vectors.gather(1, order))]
        both = zip([vectors, *forward], [vectors, *backward], strict=True)
        return torch.stack([torch.cat(pair, -1) for pair in both])


class LayerSum(nn.Module):
    """ELMo's vector of a token for a task: gamma times the sum of its layers, weighted by a softmax (equation 1).

    Weights and gamma are learnt with the task; at first it is the mean of the layers.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights, self.gamma = nn.Parameter(torch.zeros(layers)), nn.Parameter(torch.ones(()))

    def forward(self, layers: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of layers [layers, ...]."""
        return self.gamma * torch.tensordot(self.weights.softmax(0), layers, 1)


def _reversed_within(lengths: torch.Tensor, positions: int) -> torch.Tensor:
    """Return indices int64 [rows, positions] that reverse the first `lengths` places of each row; it is its inverse."""
    places = torch.arange(positions, device=lengths.device)
    return torch.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)
