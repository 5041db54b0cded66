"""Export of a model as a Hugging Face directory: safetensors, configuration and tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.schemas.artifact import writing_directory
from windtunnel.schemas.model_delta import FOLDER
from windtunnel.trainer.runtime.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def open_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """Return a directory's fast tokenizer, without network access and without running code from the directory."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False, use_fast=True)


def open_tokenizer_alone(directory: Path) -> PreTrainedTokenizerFast:
    """Return a directory's fast tokenizer as its files have it, without the class of its model.

    Importing the classes takes seconds, since they bring torch along; tokens and template are those of the files.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(str(directory), local_files_only=True)


def export(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, out: Path, delta: Path | None = None) -> None:
    """Write model, tokenizer and, in `delta/`, the files of a delta to a directory that takes the place of `out`."""
    plain: Any = model
    _name_ends(plain, tokenizer)
    with writing_directory(out) as partial:
        with quiet():
            plain.save_pretrained(str(partial), safe_serialization=True)
        save_tokenizer(tokenizer, partial)
        if delta is not None:
            shutil.copytree(delta, partial / FOLDER)


def untie(model: Any) -> None:
    """Give a model whose head shares the embeddings a head of its own, with the same weights."""
    from torch import nn

    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is embeddings.weight:
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.get_text_config().tie_word_embeddings = False
        model.config.tie_word_embeddings = False


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the files of a tokenizer, without the traces that its opening leaves in them."""
    for trace in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(trace, None)
    with quiet():
        tokenizer.save_pretrained(str(folder))


def frame_texts(tokenizer: PreTrainedTokenizerFast, before: list[str], behind: list[str]) -> None:
    """Make a tokenizer frame a text by these tokens, and a second text behind it by the last ones, as BERT's does."""
    from tokenizers import processors

    vocabulary = tokenizer.get_vocab()
    framed = [*before, "$A", *behind]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=framed,
        pair=[*framed, "$B:1", *(f"{token}:1" for token in behind)],
        special_tokens=[(token, vocabulary[token]) for token in dict.fromkeys([*before, *behind])],
    )


def _name_ends(model: Any, tokenizer: Any) -> None:
    """Say in the generation settings of a model which tokens begin, end and pad a text.

    The padding id is there and not in the model's configuration, with which transformers would hold its embedding at
    zero: it is often the end-of-text token. Settings that a loaded model brought along are kept.
    """
    if not model.can_generate() or model.generation_config is None:
        return
    from transformers import GenerationConfig

    names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    known = {name: getattr(model.generation_config, name, None) for name in names}
    if known["pad_token_id"] is None:
        known["pad_token_id"] = tokenizer.pad_token_id
    if getattr(model.generation_config, "_from_model_config", False):  # it would be derived again, without the padding
        model.generation_config = GenerationConfig(**{name: id for name, id in known.items() if id is not None})
    else:
        model.generation_config.pad_token_id = known["pad_token_id"]
