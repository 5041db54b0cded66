"""Checks an objective on a tiny model: batches by step, sums over micro-batches, a gradient that helps, its scores."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.schemas.finding import Finding, finding
from windtunnel.schemas.plugin import make
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.objectives._check_inputs import inputs, tokenizer
from windtunnel.trainer.objectives._fitted_objective import FittedObjective
from windtunnel.trainer.objectives._objective import Data, Loss, Objective, Setting

if TYPE_CHECKING:
    import torch

CONTEXT = 128
BATCH_TOKENS = 1024  # of a step, so that one step holds all conversations
MICRO_TOKENS = 128
STEP = 1e-3  # length of a step down the gradient, in lengths of the weights
SIZE = {"width": 32, "layers": 2, "context": CONTEXT, "init_std": 0.2}
MODELS = {  # by the first kind of model that an objective trains
    "causal": {"llama": {**SIZE, "heads": 2, "ff": 64}},
    "masked": {"bert": {**SIZE, "heads": 2, "ff": 64}},
    "seq2seq": {"t5": {"width": 32, "layers": 2, "heads": 2, "ff": 64, "context": CONTEXT}},
    "static": {"static": {"width": 16, "buckets": 100, "fewest": 2, "context": CONTEXT}},
    "bidirectional": {"elmo": {"width": 32, "layers": 2, "cell": 48, "context": CONTEXT}},
}
PRECISION = 1e-5  # of sums in float32, relative


def check(cls: type[Objective]) -> Iterator[Finding]:
    """Yield the outcome of every property, for each set of parameters."""
    import torch

    from windtunnel.trainer.modules.export import export
    from windtunnel.trainer.runtime.numerics import numerics

    with numerics(threads=1, seed=0), tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
        words = copy.deepcopy(tokenizer())  # a model's special tokens are added to it
        made, cache, teacher = inputs(Path(folder) / "inputs"), Path(folder) / "cache", Path(folder) / "teacher"
        setting = Setting(made, words, CONTEXT, 0, cache, {"teacher": teacher})
        torch.manual_seed(1)  # other weights than those of the model that learns from it
        export(make(Model, MODELS["causal"]).build_for(words), words, teacher)
        for number, params in enumerate(cls.examples):
            what = f" with {dict(params)}" if params else ""
            if issubclass(cls, FittedObjective):
                objective = cls(**params)
                yield finding(f"fits the same files again{what}", lambda o=objective: _fits(o, setting, Path(folder)))
                continue
            whole = cls(**params).model_copy(update={"batch_tokens": BATCH_TOKENS, "micro_tokens": None})
            yield finding(f"batches are a function of the step{what}", lambda o=whole: _batches(o, setting))
            yield finding(f"micro-batches add up to the batch{what}", lambda o=whole: _sums(o, setting))
            yield finding(f"its gradient lowers the loss{what}", lambda o=whole: _descends(o, setting))
            out = Path(folder) / f"scores-{number}"
            yield finding(f"scores what is held out{what}", lambda o=whole, out=out: _scores(o, setting, out))


def _fits(objective: FittedObjective, setting: Setting, folder: Path) -> str | None:
    """Fit twice and compare what is written."""
    spec = make(Model, MODELS[objective.trains[0]])
    written = []
    for _ in range(2):
        with tempfile.TemporaryDirectory(dir=folder) as out:
            done = objective.fit(spec, setting, Path(out))
            written.append({file.name: file.read_bytes() for file in Path(out).iterdir()})
    if written[0] != written[1]:
        return f"{next(n for n in written[0] if written[0][n] != written[1].get(n))} differs when it is fitted again"
    return None if done.tokens > 0 and math.isfinite(done.loss) else f"{done.tokens} tokens, a loss of {done.loss}"


class _Step(NamedTuple):
    """The sums over the micro-batches of the first step."""

    total: float
    normaliser: float
    metrics: dict[str, float]
    gradients: dict[str, torch.Tensor]
    batches: int


def _model(objective: Objective, setting: Setting) -> Any:
    import torch

    torch.manual_seed(0)
    spec = make(Model, MODELS[objective.trains[0]])
    return objective.adopt(spec.build_for(setting.tokenizer)).eval()


def _open(objective: Objective, setting: Setting, model: Any) -> Data:
    """Return the stage's data, with the model complete as it trains."""
    data = objective.open(setting, model)
    objective.alone(model)
    objective.beside(model, data)
    data.follow(model, lambda function, *args: function(model, *args))
    return data


def _step(objective: Objective, setting: Setting) -> tuple[Any, _Step]:
    """Return the model and what the first step computes, before it moves anything."""
    model = _model(objective, setting)
    batches = _batches_of(objective, setting, model)
    model.train()
    losses: list[Loss] = []
    for batch in batches:
        losses.append(objective.loss(model, batch))
        losses[-1].total.backward()
    metrics: dict[str, float] = {}
    for loss in losses:
        for name, value in loss.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + float(value)
    total, normaliser = math.fsum(loss.total.item() for loss in losses), math.fsum(loss.normaliser for loss in losses)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return model, _Step(total, normaliser, metrics, gradients, len(batches))


def _batches_of(objective: Objective, setting: Setting, model: Any) -> list[Batch]:
    """Return the micro-batches of the first step, with what their losses need of the whole step."""
    batches = [(batch, 1.0) for batch in _open(objective, setting, model).batch(0)]
    return [batch for batch, _ in objective.with_step_sums(lambda f, batch: f(model, batch), batches)]


def _batches(objective: Objective, setting: Setting) -> str | None:
    import torch

    model = _model(objective, setting)
    data, again = _open(objective, setting, model), _open(objective, setting, model)
    if data.steps < 1:
        return f"a stage of {data.steps} steps"
    last = data.steps - 1 if data.prefetched else 0  # later ones depend on what was learnt
    for one, other in zip(data.batch(last), again.batch(last), strict=True):
        if any(not torch.equal(value, other.tensors[name]) for name, value in one.tensors.items()):
            return f"step {last} gives other tensors when the stage is opened again"
    tokens = sum(batch.tokens for batch in data.batch(0))
    return None if tokens > 0 else "the first step holds no tokens"


def _sums(objective: Objective, setting: Setting) -> str | None:
    _, whole = _step(objective, setting)
    _, cut = _step(objective.model_copy(update={"micro_tokens": MICRO_TOKENS}), setting)
    if not (math.isfinite(whole.total) and whole.normaliser > 0):
        return f"the loss is {whole.total}, its normaliser {whole.normaliser}"
    if cut.batches <= whole.batches:
        return f"`micro_tokens` of {MICRO_TOKENS} cuts no step: {cut.batches} micro-batches, {whole.batches} without"
    for name, a, b in (("total", whole.total, cut.total), ("normaliser", whole.normaliser, cut.normaliser)):
        if not math.isclose(a, b, rel_tol=PRECISION, abs_tol=1e-6 * whole.normaliser):
            return f"the {name} of one batch is {a:.7g}, of its {cut.batches} micro-batches together {b:.7g}"
    for name, value in whole.metrics.items():
        if not math.isclose(value, cut.metrics.get(name, math.nan), rel_tol=1e-3, abs_tol=1e-3):
            return f"metric {name!r} is no sum: {value:.7g} of one batch, {cut.metrics.get(name)} of micro-batches"
    largest = max(float(g.abs().max()) for g in whole.gradients.values())
    wrong = {n: float((g - cut.gradients[n]).abs().max()) for n, g in whole.gradients.items()}
    name = max(wrong, key=lambda key: wrong[key])
    return None if wrong[name] < 1e-4 * largest else f"micro-batches give {name} another gradient, by {wrong[name]:.2g}"


def _descends(objective: Objective, setting: Setting) -> str | None:
    import torch

    model, before = _step(objective, setting)
    length = math.sqrt(sum(p.detach().square().sum().item() for p in model.parameters()))
    slope = math.sqrt(sum(g.square().sum().item() for g in before.gradients.values()))
    if not 0 < slope < math.inf:
        return f"the gradient's norm is {slope}"
    batches = _batches_of(objective, setting, _model(objective, setting))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in before.gradients:
                parameter.sub_(STEP * length / slope * before.gradients[name])
        after = math.fsum(objective.loss(model, batch).total.item() for batch in batches)
    change = (after - before.total) / before.normaliser
    return None if change < 0 else f"a small step down the gradient changes the loss by {change:+.3g}"


def _scores(objective: Objective, setting: Setting, out: Path) -> str | None:
    model = _model(objective, setting)
    objective.open(setting, model)
    out.mkdir()
    evaluated = objective.evaluate(model.eval(), setting, out)
    numbers = {**evaluated.metrics, **{f"{d}.{k}": v for d, sums in evaluated.totals.items() for k, v in sums.items()}}
    if wrong := [name for name, value in numbers.items() if not math.isfinite(value)]:
        return f"{wrong[0]} is {numbers[wrong[0]]}"
    if not objective.scores:
        return None
    whole = all(sums.get(key, 0) > 0 for sums in evaluated.totals.values() for key in ("nats", "bytes", "documents"))
    return (
        None if evaluated.totals and whole else "`evaluate` gives no nats, bytes and documents by domain (see `scores`)"
    )
