"""The base class of model architectures, one per file, which build model classes of transformers.

Exported models can therefore be loaded by anything that reads Hugging Face directories, such as vLLM, TRL and lm-eval.
What transformers has no class for, ELMo and static vectors, is in trainer/modules and loads through `load` alone.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import carried, with_delta
from windtunnel.schemas.plugin import Plugin
from windtunnel.schemas.weight_files import check_weights
from windtunnel.trainer.models._flops import counted_parameters as counted_parameters
from windtunnel.trainer.models._flops import flops_per_token as flops_per_token
from windtunnel.trainer.runtime.quiet import quiet

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# what a model predicts: the next token, a masked one, a target text from a source text, the next token in both reading
# directions, or nothing (vectors of words)
ModelKind = Literal["causal", "masked", "seq2seq", "bidirectional", "static"]
LOADERS = {"causal": "AutoModelForCausalLM", "masked": "AutoModelForMaskedLM", "seq2seq": "AutoModelForSeq2SeqLM"}

LONGEST = 2048  # context in tokens of a loaded model without a number of positions


class Model(Plugin, ABC):
    """An architecture and its sizes: one file in trainer/models."""

    kind: ClassVar[ModelKind] = "causal"
    from_files: ClassVar[bool] = False  # True: the weights come from the `start` input, and `build` raises
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ()  # small sizes that `windtunnel check model NAME` builds

    context: int = Field(256, ge=8)  # positions

    @abstractmethod
    def build(self, vocabulary: int, end_of_text: int) -> PreTrainedModel:
        """Return a model of the class's kind in float32 on the CPU, its weights drawn from torch's global generator.

        `vocabulary` is the number of token ids, `end_of_text` the id of the end-of-text token.
        """

    def rates(self, model: PreTrainedModel) -> dict[str, float]:
        """Return by what the learning rate of a parameter is multiplied, by name, where it is not 1."""
        return {}

    def training_flops(self, model: PreTrainedModel, context: float, causal: bool = True) -> float:
        """Return training FLOPs per token of a model as it trains (trainer.models._flops, by default).

        An architecture that a token meets otherwise, such as an encoder with a decoder, defines its own.
        """
        return flops_per_token(model, context, causal)

    def special_tokens(self) -> dict[str, Any]:
        """Return the special tokens that a tokenizer needs for this model, as `add_special_tokens` takes them."""
        return {}

    def frame(self, tokenizer: PreTrainedTokenizerFast) -> tuple[list[str], list[str]]:
        """Return the tokens before and behind a text that this model reads, which the exported tokenizer adds."""
        return [], []

    def build_for(self, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
        """Return a new model for a tokenizer, to which the special tokens that it lacks are added above its ids.

        The tokenizer also gets the model's frame of a text, where it has one.
        """
        present, missing = tokenizer.get_vocab(), {}
        for name, token in self.special_tokens().items():
            if isinstance(token, list):
                missing |= {name: new} if (new := [each for each in token if each not in present]) else {}
            elif getattr(tokenizer, name, None) is None:
                missing[name] = token
        if missing:
            tokenizer.add_special_tokens(missing, replace_extra_special_tokens=False)
        if any(frame := self.frame(tokenizer)):
            from windtunnel.trainer.modules.export import frame_texts

            frame_texts(tokenizer, *frame)
        end: Any = tokenizer.eos_token_id
        return self.build(max(tokenizer.get_vocab().values()) + 1, int(end))


def kind_of(model: PreTrainedModel) -> ModelKind:
    """Return the kind of a model by its class, or by the class that a delta wraps."""
    unwrap: Any = getattr(model, "get_base_model", None)  # peft wraps the model
    plain = model if unwrap is None else unwrap()
    return _kind(type(plain).__name__, bool(getattr(plain.config, "is_encoder_decoder", False)))


def kind_in(path: Path) -> ModelKind:
    """Return the kind of the model of a directory by its configuration."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return _kind((config.get("architectures") or [""])[0], bool(config.get("is_encoder_decoder")))


def _kind(name: str, encoder_decoder: bool) -> ModelKind:
    if name in ("Elmo", "StaticVectors"):
        return "bidirectional" if name == "Elmo" else "static"
    if name.endswith(("ForMaskedLM", "ForPreTraining")) or name == "BertForSequenceClassification":
        return "masked"
    return "seq2seq" if encoder_decoder else "causal"


def load(path: Path, *kinds: ModelKind) -> PreTrainedModel:
    """Return the model of a directory in float32; reads safetensors only and runs no code from it.

    A delta that could not be merged is in the directory's `delta/`, and the model is returned with it. Raises
    InputError, with the file's name, for weights that are cut, missing or not numbers, and for a model of another kind
    than `kinds`, if there are any.
    """
    kind = kind_in(path) if (path / "config.json").is_file() else "causal"
    if kind == "static" or (kinds and kind not in kinds):
        wanted = " or ".join(kinds) or "language"
        raise InputError(f"{path}: the model is {kind}, and a {wanted} model is needed here")
    check_weights(path)
    with quiet():
        model = _class(kind).from_pretrained(
            str(path),
            dtype="float32",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
        )
    return with_delta(model, path)


def _class(kind: ModelKind) -> Any:
    """Return the class that loads models of a kind."""
    if kind == "bidirectional":
        from windtunnel.trainer.modules.elmo import Elmo

        return Elmo
    import transformers

    return getattr(transformers, LOADERS[kind])


def small_init(width: int) -> float:
    """Return the standard deviation of initial weights, sqrt(2 / (5 width)) (Nguyen and Salazar 2019).

    It equals the usual 0.02 at a width of 1,000 and 0.065 at 96, where short runs reach a lower loss with it.
    """
    return math.sqrt(2 / (5 * width))


def positions_of(model: Any) -> int | None:
    """Return the longest text in tokens, without the positions that a carried delta has before it; None: unlimited."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    found = carried(model)
    return positions if positions is None or found is None else positions - found.delta.added_positions


def context_of(model: PreTrainedModel, spec: Model | None, added: int = 0) -> int:
    """Return the context length of a stage: that of the recipe's model, but no more than there are positions for text.

    `added` positions stand before the text, beside those of a carried delta. Raises InputError if they leave no place
    for it.
    """
    positions = positions_of(model)
    if positions is None:
        return spec.context if spec is not None else LONGEST
    if positions - added < 2:
        raise InputError(f"{positions} positions leave no place for text beside the {added} that a delta trains")
    return min(spec.context if spec is not None else positions, positions - added)
