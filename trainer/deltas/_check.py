"""Checks a delta on a tiny Llama: where it starts, what it trains, how it is saved, and what it merges into."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.schemas.artifact import canonical_json, write_text
from windtunnel.schemas.finding import Finding, finding
from windtunnel.schemas.model_delta import FOLDER, SPEC
from windtunnel.schemas.plugin import full_spec
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.models._model import load
from windtunnel.trainer.models.llama import Llama
from windtunnel.trainer.runtime.quiet import quiet

if TYPE_CHECKING:
    import torch

VOCABULARY, END = 300, 7
FEW = 0.25  # of the base's weights at most
MOVED = 0.05  # spread of what is added to the delta's weights, so that they stand where training might have put them


def check(cls: type[Delta]) -> Iterator[Finding]:
    """Yield the outcome of every property, for each set of parameters."""
    from windtunnel.trainer.runtime.numerics import numerics

    with numerics(threads=1, seed=0):
        for params in cls.examples:
            yield from _checked(cls(**params).sized(_base()), f" with {dict(params)}" if params else "")


def _checked(delta: Delta, what: str) -> Iterator[Finding]:
    if delta.shares_bins:
        yield finding(f"starts at the base model{what}", lambda: _starts(delta))
    if delta.trains != "all":
        yield finding(f"trains few weights, those {delta.trains}{what}", lambda: _trains(delta))
    yield finding(f"comes back from its files{what}", lambda: _comes_back(delta))
    result = "merges into a plain model" if delta.mergeable else "travels with its base"
    yield finding(f"{result}{what}", lambda: _exports(delta))


def _base() -> Any:
    import torch

    torch.manual_seed(0)
    return Llama(width=32, layers=2, heads=2, ff=64, context=64, init_std=0.2).build(VOCABULARY, END).eval()  # type: ignore[call-arg]


def _moved(delta: Delta) -> Any:
    """Return a model with the delta, its weights away from where they start."""
    import torch

    model = delta.apply(_base())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in delta.trainable(model).values():
            parameter.add_(MOVED * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _logits(model: Any) -> torch.Tensor:
    import torch

    ids = torch.arange(3, 27)[None]
    with torch.no_grad():
        return model(input_ids=ids).logits[:, -ids.shape[1] :]


def _same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-4) -> bool:
    import torch

    return torch.allclose(a, b, atol=tolerance, rtol=1e-4)


def _starts(delta: Delta) -> str | None:
    base = _base()
    before = _logits(base)
    same = _same(_logits(delta.apply(base).eval()), before)
    return None if same else "the model with the untrained delta predicts something else than the base"


def _trains(delta: Delta) -> str | None:
    import torch

    base = _base()
    own = {id(p) for p in base.parameters()}
    total = sum(p.numel() for p in base.parameters())
    model = delta.apply(base)
    trained = delta.trainable(model)
    count = sum(p.numel() for p in trained.values())
    if not 0 < count < FEW * total:
        return f"{count} of {total} weights train; more than none and less than {FEW:.0%} must"
    if delta.trains == "added" and (base_names := [name for name, p in trained.items() if id(p) in own]):
        return f"weights of the base train: {', '.join(base_names[:3])}"
    model(input_ids=torch.arange(3, 27)[None]).logits.square().sum().backward()
    if leaks := [name for name, p in model.named_parameters() if p.grad is not None and name not in trained]:
        return f"a gradient reaches weights that do not train: {', '.join(leaks[:3])}"
    moved = any(p.grad is not None and bool(p.grad.any()) for p in trained.values())
    return None if moved else "no gradient reaches the delta's weights"


def _comes_back(delta: Delta) -> str | None:
    model = _moved(delta)
    if _same(_logits(model), _logits(_base()), 1e-3):
        return "the delta's weights change nothing of what the model predicts"
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
        delta.save(model, Path(folder))
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        if unsafe := [path.name for path in files if path.suffix not in (".json", ".safetensors")]:
            return f"it saves {unsafe[0]}: JSON and safetensors only"
        if any(folder in path.read_text(encoding="utf-8") for path in files if path.suffix == ".json"):
            return "its files name the directory that they were saved to"
        same = _same(_logits(delta.attach(_base(), Path(folder)).eval()), _logits(model))
    return None if same else "`attach` of what `save` wrote predicts something else"


def _exports(delta: Delta) -> str | None:
    model = _moved(delta)
    expected, base = _logits(model), _logits(_base())
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder, quiet():
        path = Path(folder)
        if not delta.mergeable:
            delta.save(model, path / FOLDER)
            write_text(path / FOLDER / SPEC, canonical_json(full_spec(delta)))
        plain: Any = delta.merge(model) if delta.mergeable else delta.base(model)
        plain.save_pretrained(folder)
        same = _same(_logits(load(path).eval()), expected)
        if delta.mergeable or not same:
            return None if same else "the model that is loaded predicts something else than the model with the delta"
        shutil.rmtree(path / FOLDER)
        same = _same(_logits(load(path).eval()), base)
    return None if same else "without the delta, the plain model predicts something else than the base"
