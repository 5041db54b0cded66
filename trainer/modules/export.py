"""Export of a model as a Hugging Face directory: safetensors, configuration and tokenizer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Write model, tokenizer and, in `delta/`, the files of a delta to a temporary directory; rename it to `out`."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    plain: Any = model
    with quiet():
        plain.save_pretrained(str(partial), safe_serialization=True)
        tokenizer.save_pretrained(str(partial))
    if delta is not None:
        shutil.copytree(delta, partial / FOLDER)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
