"""A causal language model's directory as a scorer of documents: nats and tokens of each, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from windtunnel.pipelines.samples.model_files import NEEDED, weights_of
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import FOLDER
from windtunnel.trainer.data.encoder import open_encoder
from windtunnel.trainer.models._model import load, positions_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.trainer.data.encoder import Encoder

LONGEST = 2048  # default context in tokens, which bounds the quadratic cost of attention


def files_of(directory: Path) -> list[Path]:
    """Return the files that determine a model's scores. Raises InputError if one is missing."""
    if not directory.is_dir():
        raise InputError(f"no model directory at {directory}: that of a training run is its `model/`")
    weights = weights_of(directory)
    others = (directory / name for name in (*NEEDED, "tokenizer_config.json", "model.safetensors.index.json"))
    delta = sorted(path for path in (directory / FOLDER).rglob("*") if path.is_file())
    return [*(path for path in others if path.is_file()), *weights, *delta]


class CausalScorer(NamedTuple):
    """A model with its tokenizer; `start` is the token before a document, the tokenizer's own or end-of-text."""

    model: PreTrainedModel
    encoder: Encoder
    start: int
    positions: int | None  # maximum context of the model

    def scores(self, texts: Sequence[str], context: int | None, stride: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return (nats float64, tokens int64) of each text, with every token scored once.

        Documents longer than `context` are read in windows that begin `stride` tokens apart. Windows of similar length
        are batched to about 8,000 tokens and run on one thread, since workers share the cores. Raises InputError for a
        context longer than the model's.
        """
        from windtunnel.trainer.eval.evaluate import document_nats
        from windtunnel.trainer.runtime.numerics import numerics

        context = self._window(context)
        tokens = list(self.encoder.encode(texts))
        with numerics(threads=1, seed=0, device=self.model.device.type):
            nats = document_nats(self.model, tokens, self.start, context, min(stride or context, context))
        return nats, np.array([len(ids) for ids in tokens], np.int64)

    def _window(self, context: int | None) -> int:
        if context is None:
            return min(self.positions or LONGEST, LONGEST)
        if self.positions is not None and context > self.positions:
            raise InputError(f"context is {context:,}, and the model has {self.positions:,} positions")
        return context


@cache
def opened(directory: Path) -> CausalScorer:
    """Return a directory's scorer, kept for the process: 4 bytes a parameter in every worker."""
    return open_scorer(directory)


def open_scorer(directory: Path, device: str = "cpu") -> CausalScorer:
    """Return a directory's scorer; raises InputError when there is no model that can be read safely."""
    files_of(directory)
    try:
        model: Any = load(directory, "causal", "bidirectional")
        model, encoder = model.to(device).eval().requires_grad_(False), open_encoder(directory)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).strip().splitlines()[:1])
        raise InputError(f"{directory} is not a readable causal language model: {reason}") from error
    config = model.config.get_text_config()
    if encoder.vocabulary > config.vocab_size:
        raise InputError(f"{directory}: the tokenizer has {encoder.vocabulary:,} ids, the model {config.vocab_size:,}")
    prefix = encoder.backend.encode("", add_special_tokens=True).ids
    start = prefix[0] if prefix else encoder.end_of_text
    return CausalScorer(model, encoder, start, positions_of(model))
