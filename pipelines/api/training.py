"""Training in Python: small models on frames of text, by the steps of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from windtunnel.pipelines.api.frame_corpus import corpus_of
from windtunnel.pipelines.api.frames import Texts, documents
from windtunnel.pipelines.api.own_errors import own_errors
from windtunnel.pipelines.api.session import temporary_store, torch_lock
from windtunnel.pipelines.api.trained_model import TrainedModel
from windtunnel.pipelines.datasets.mix import Mix
from windtunnel.pipelines.datasets.tokenizer import TrainTokenizer, from_directory
from windtunnel.pipelines.datasets.tokens import Tokens
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.mirrors.opening import fetched, open_store
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.recipe.recipe import Name, Spec
from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.schemas.plugin import make
from windtunnel.schemas.results import RunResult
from windtunnel.schemas.role import StepName
from windtunnel.trainer.loop.run import TrainRun
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.objectives._objective import Objective
from windtunnel.trainer.runtime.device import resolve
from windtunnel.trainer.runtime.precision import resolve as resolve_precision

LLAMA = {"llama": {"width": 96, "layers": 3, "heads": 3, "context": 256}}
WSD = {"wsd": {"warmup": 0.05, "decay": 0.2}}
VOCABULARY = 4096


@own_errors
def train(
    texts: Texts | Mapping[str, Texts],
    *,
    token_budget: int,
    seed: int = 0,
    name: str = "mix",
    weights: Mapping[str, float] | None = None,
    model: Spec = LLAMA,  # type: ignore[assignment]
    tokenizer: int | str | Path | TrainedModel | Mapping[str, Any] = VOCABULARY,
    lr: float = 3e-3,
    batch_tokens: int = 4096,
    schedule: Spec = WSD,  # type: ignore[assignment]
    stages: Sequence[Spec] | None = None,
    max_epochs: float = 4.0,
    threads: int = 1,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Literal["auto", "float32", "bf16"] = "auto",
    text: str = "text",
    store: str | Path | None = None,
) -> TrainedModel:
    """Train a small language model from scratch, as a recipe's run does.

    Parameters
    ----------
    texts
        A frame or a list of texts; or several by name, which `weights` mixes (equal shares by default).
    token_budget, max_epochs
        The tokens to train on, the same for models that are compared; how often a text may be repeated for that.
    seed, name
        The key of the initial weights and of the order of the data; the model's name in scores, the mix of `compare`.
    tokenizer
        A number of tokens, for a byte-level BPE trained on `texts`; `{"bpe": 4096, "trained_on": frame}`; the directory
        of a fast tokenizer; or a trained model, whose tokenizer is used. Models that are compared are best given one.
    lr, batch_tokens, or stages
        Peak learning rate and tokens of a step of next-token prediction; or objectives as in a recipe's `train:`.
    store
        A directory that keeps tokens and models by the content of what they are made from, so that none is made twice.
        Without one, files are in a temporary directory, which is removed when the process ends.

    model, schedule, threads, device and precision are those of a recipe's `train:`. The same call gives the same
    weights, bit by bit. Calls from several threads wait for one another. Raises RecipeError for a wrong parameter,
    InputError for texts that cannot be read, TrainingError when the loss diverges.
    """
    parts: dict[str, Any] = dict(texts) if isinstance(texts, Mapping) else {name: texts}
    for key in (name, *parts):
        TypeAdapter(Name).validate_python(key)
    shares, context = _shares(weights, list(parts)), make(Model, model).context
    recipe_stages = _stages(stages, lr, batch_tokens)
    mix = Mix(weights={**shares}, token_budget=token_budget, max_epochs=max_epochs, context=context)
    work = TrainRun(
        mix=name,
        seed=seed,
        model=model,
        schedule=schedule,
        stages=recipe_stages,
        threads=threads,
        device=(where := resolve(device)),
        precision=resolve_precision(precision, where),
    )
    place = open_store(str(store)) if store is not None else temporary_store()
    with torch_lock:
        corpora = {key: corpus_of(documents(value, text), place) for key, value in parts.items()}
        step = _step(work, mix, corpora, tokenizer, text, place)
        run([step], place, Where("inline"))
    folder = fetched(step.artifact(place)).path
    return TrainedModel(folder / "model", RunResult.model_validate_json((folder / "result.json").read_bytes()))


def _step(work: TrainRun, mix: Mix, corpora: Mapping[str, Step], tokenizer: Any, text: str, store: Path) -> Step:
    """Return the step that trains, with those that it reads from: tokenizer, tokens and mix."""
    vocabulary = _tokenizer(tokenizer, corpora, text, store)
    tokens = {
        f"tokens:{key}": Step(
            StepName.parse("tokens:frame"), Tokens(), {"corpus": corpora[key], "tokenizer": vocabulary}
        )
        for key in mix.weights
    }
    inputs = {"mix": Step(StepName.parse(f"mix:{work.mix}"), mix, tokens), **tokens, "tokenizer": vocabulary}
    return Step(StepName.parse(f"train:{work.mix}:{work.seed}"), work, inputs)


def _shares(weights: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
    """Return the weights of a mix by name, without those that are zero."""
    if not names:
        raise InputError("train: there are no texts")
    given = dict.fromkeys(names, 1.0) if weights is None else weights
    for name in [*given, *names]:
        if name not in names:
            raise RecipeError(f"weights: no texts are called {name!r}: {nearest(name, names)}")
        if name not in given:
            raise RecipeError(f"weights: {name!r} has no weight; 0 leaves it out")
        if not isinstance(given[name], Real):
            raise RecipeError(f"weights: the weight of {name!r} is {given[name]!r}: give a number")
    return {name: float(given[name]) for name in names if given[name] != 0}


def _stages(stages: Sequence[Spec] | None, lr: float, batch_tokens: int) -> tuple[Spec, ...]:
    if stages is None:
        return ({"causal_lm": {"lr": lr, "batch_tokens": batch_tokens}},)
    for stage in stages:
        objective = make(Objective, stage)
        if objective.kind != "tokens":
            raise RecipeError(f"stages: {stage!r} learns from {objective.kind}, and texts are none: use a recipe")
    return tuple(stages)


def _tokenizer(wanted: Any, corpora: Mapping[str, Step], text: str, store: Path) -> Step:
    """Return the step of the tokenizer that was asked for."""
    if isinstance(wanted, TrainedModel):
        return Step(StepName.parse("tokenizer"), from_directory(str(wanted.path)))
    if isinstance(wanted, str | Path):
        return Step(StepName.parse("tokenizer"), from_directory(str(wanted)))
    words: Any = {"bpe": wanted} if isinstance(wanted, int) else wanted
    if not isinstance(words, Mapping) or set(words) - {"bpe", "trained_on"}:
        what = f"the parameters {', '.join(map(str, words))}" if isinstance(words, Mapping) else repr(wanted)
        raise RecipeError(
            "tokenizer is a number of tokens, {'bpe': 4096, 'trained_on': frame}, the directory of a fast tokenizer "
            f"or a trained model, not {what}"
        )
    work = TrainTokenizer(vocabulary=words.get("bpe", VOCABULARY), max_bytes=None)
    source = words.get("trained_on", next(iter(corpora)) if len(corpora) == 1 else None)
    if source is None:
        hint = "tokenizer={'bpe': 4096, 'trained_on': NAME or frame}"
        raise RecipeError(f"there are several texts: say on which the tokenizer is trained, {hint}")
    named = isinstance(source, str) and source in corpora
    corpus = corpora[source] if named else corpus_of(documents(source, text), store)
    return Step(StepName.parse("tokenizer"), work, {"corpus": corpus})
