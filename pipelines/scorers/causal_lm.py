"""A causal language model's directory as a scorer of documents: nats and tokens of each, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from windtunnel.pipelines.samples.model_files import NEEDED
from windtunnel.schemas.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.trainer.data.encoder import Encoder

LONGEST = 2048  # tokens of a window where the recipe names no context: attention grows with the square of it


def files_of(directory: Path) -> list[Path]:
    """Return the files that make up a model's scores; raises InputError when one that it needs is missing."""
    if not directory.is_dir():
        raise InputError(f"no model directory at {directory}: a training run's is its `model/`")
    missing = [name for name in NEEDED if not (directory / name).is_file()]
    if missing:
        raise InputError(f"{directory} is no model directory: {', '.join(missing)} is missing")
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{directory} holds no *.safetensors; other weight formats can run code and are not read")
    others = (directory / name for name in (*NEEDED, "tokenizer_config.json", "model.safetensors.index.json"))
    return [*(path for path in others if path.is_file()), *weights]


class CausalScorer(NamedTuple):
    """A model with its tokenizer; what stands before a document is the token that the tokenizer puts there, if any."""

    model: PreTrainedModel
    encoder: Encoder
    start: int
    positions: int | None  # those that the model has

    def scores(self, texts: Sequence[str], context: int | None, stride: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return (nats float64, tokens int64) of each text, every token scored once.

        Documents longer than `context` are read in windows, each `stride` tokens after the one before. Windows of
        like length go through the model together, about 8,000 tokens at once, on one thread: workers share the cores.
        Raises InputError for a context beyond the model's own.
        """
        from windtunnel.trainer.eval.evaluate import document_nats
        from windtunnel.trainer.runtime.numerics import numerics

        context = self._window(context)
        tokens = list(self.encoder.encode(texts))
        with numerics(threads=1, seed=0, device=self.model.device.type):
            nats = document_nats(self.model, tokens, self.start, context, min(stride or context, context))
        return nats, np.array([len(found) for found in tokens], np.int64)

    def _window(self, wanted: int | None) -> int:
        if wanted is None:
            return min(self.positions or LONGEST, LONGEST)
        if self.positions is not None and wanted > self.positions:
            raise InputError(f"context is {wanted:,}, and the model has {self.positions:,} positions")
        return wanted


@cache
def opened(directory: Path) -> CausalScorer:
    """Return a directory's scorer, kept for the process: 4 bytes a parameter in every worker."""
    return open_scorer(directory)


def open_scorer(directory: Path, device: str = "cpu") -> CausalScorer:
    """Return a directory's scorer; raises InputError when there is no model that can be read safely."""
    from windtunnel.trainer.data.encoder import open_encoder
    from windtunnel.trainer.models._model import load

    files_of(directory)
    try:
        model: Any = load(directory)
        model, encoder = model.to(device).eval().requires_grad_(False), open_encoder(directory)
    except (OSError, ValueError, KeyError) as error:
        told = str(error).strip().splitlines()[:1]
        raise InputError(f"{directory} is no causal language model that can be read: {' '.join(told)}") from error
    config = model.config.get_text_config()
    if encoder.vocabulary > config.vocab_size:
        raise InputError(f"{directory}: its tokenizer has {encoder.vocabulary:,} ids, its model {config.vocab_size:,}")
    put_before = encoder.backend.encode("", add_special_tokens=True).ids
    start = put_before[0] if put_before else encoder.end_of_text
    return CausalScorer(model, encoder, start, getattr(config, "max_position_embeddings", None))
