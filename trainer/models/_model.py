"""What a recipe's `model:` names: the base of trainer/models, one architecture a file, all of them transformers' own.

The classes are those of transformers, so that whatever reads a Hugging Face directory (vLLM, TRL, lm-eval) reads ours.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.schemas.plugin import Plugin

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel


class Model(Plugin, ABC):
    """An architecture with its sizes: one file in trainer/models."""

    from_files: ClassVar[bool] = False  # True: the weights come from the `start` input, and `build` raises
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ()  # small sizes that `windtunnel check model NAME` builds

    context: int = Field(256, ge=8)  # positions

    @abstractmethod
    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        """Return a causal language model in float32 on the CPU, its weights drawn from torch's global generator.

        `vocabulary` is the number of token ids, `end_of_text` the id that ends a document.
        """


def load(path: Path) -> PreTrainedModel:
    """Return the causal language model of a directory, in float32; safetensors only, none of its code runs."""
    from transformers import AutoModelForCausalLM

    from windtunnel.trainer.runtime.quiet import quiet

    with quiet():
        return AutoModelForCausalLM.from_pretrained(
            str(path),
            dtype="float32",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
        )


def small_init(width: int) -> float:
    """Return sqrt(2 / (5 width)), the spread of initial weights (Nguyen and Salazar 2019, arXiv 1910.05895).

    It is the customary 0.02 at a width of 1,000; at 96 it is 0.065, and a short run learns visibly more with it.
    """
    return math.sqrt(2 / (5 * width))


def context_of(model: PreTrainedModel, wanted: Model | None) -> int:
    """Return the positions a stage may use: those of the recipe's model, or all that a loaded model has."""
    return wanted.context if wanted is not None else int(model.config.get_text_config().max_position_embeddings)


def counted_parameters(model: PreTrainedModel) -> tuple[int, int]:
    """Return (all parameters, those that multiply a token: body and head, without an untied input embedding).

    Of a model with experts, a token meets only those it is sent to.
    """
    total = sum(p.numel() for p in model.parameters())
    inputs: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    met = total if head is None or inputs.weight is head.weight else total - inputs.weight.numel()
    experts = getattr(model.config, "num_local_experts", None)
    if experts:
        theirs = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
        met -= theirs - theirs * model.config.num_experts_per_tok // experts
    return total, met


def flops_per_token(model: PreTrainedModel, context: float) -> float:
    """Return training FLOPs per token: 6 (body + head parameters) + 12 layers x width x context for attention.

    Forward and backward; attention is counted without the causal half, as in PaLM's appendix B and nanoGPT.
    """
    config = model.config
    width, layers = config.hidden_size, config.num_hidden_layers
    return 6.0 * counted_parameters(model)[1] + 12.0 * layers * width * context
