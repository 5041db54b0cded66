"""Checks an architecture: it builds, predicts, and comes back from its directory in transformers as the same model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.finding import Finding, finding
from windtunnel.trainer.models._model import Model, flops_per_token, kind_in, kind_of, load
from windtunnel.trainer.runtime.quiet import quiet

VOCABULARY, END = 300, 7


def check(cls: type[Model]) -> Iterator[Finding]:
    """Yield the outcome of every property, for each set of parameters."""
    if cls.from_files or cls.kind == "static":
        yield finding("weights come from files alone", lambda: _refuses(cls))
        return
    if not cls.examples:
        yield Finding("examples", "no example of small sizes")
    from windtunnel.trainer.runtime.numerics import numerics

    with numerics(threads=1, seed=0):
        for params in cls.examples:
            what = f"with {dict(params)}"
            yield finding(f"builds {what}", lambda params=params: _builds(cls, params))
            yield finding(f"comes back from its files {what}", lambda params=params: _comes_back(cls, params))


def _refuses(cls: type[Model]) -> str | None:
    try:
        cls().build(VOCABULARY, END)  # type: ignore[call-arg]
    except RecipeError:
        return None
    return "`build` gives a model, and its class says that there is none"


def _built(model: Model) -> Any:
    import torch

    torch.manual_seed(0)
    return model.build(VOCABULARY, END)


def _logits(model: Any) -> Any:
    import torch

    ids = torch.arange(min(12, model.config.max_position_embeddings))[None]
    more = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **more).logits


def _builds(cls: type[Model], params: Mapping[str, Any]) -> str | None:
    import torch

    wanted = cls(**params)
    model, again = _built(wanted), _built(wanted)
    if kind_of(model) != cls.kind:
        return f"it builds a {kind_of(model)} model, and `kind` is {cls.kind}"
    if {p.dtype for p in model.parameters()} != {torch.float32}:
        return "the weights are not float32"
    if any(not torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)):
        return "the weights are not drawn from torch's global generator alone: a second model differs"
    if model.get_output_embeddings() is None or _logits(model).shape[-1] != VOCABULARY:
        return f"it does not predict {VOCABULARY} token ids"
    if model.config.max_position_embeddings < wanted.context:
        return f"it has {model.config.max_position_embeddings} positions, `context` is {wanted.context}"
    if model.config.eos_token_id != END:
        return f"its end of text is {model.config.eos_token_id}, not {END}"
    return None if flops_per_token(model, wanted.context) > 0 else "a token costs no FLOPs"


def _comes_back(cls: type[Model], params: Mapping[str, Any]) -> str | None:
    import torch

    model = _built(cls(**params))
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder, quiet():
        model.save_pretrained(folder)
        back = load(Path(folder), cls.kind)
        if kind_in(Path(folder)) != cls.kind:
            return f"its files are those of a {kind_in(Path(folder))} model, and `kind` is {cls.kind}"
    same = torch.allclose(_logits(back), _logits(model), atol=1e-5)
    return None if same else "the model that is loaded from its files predicts something else"
