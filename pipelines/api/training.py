"""Training in Python: small models on frames of text, by the steps of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from windtunnel.trainer.loop.run import TrainRun
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.objectives._objective import Objective
from windtunnel.trainer.runtime.device import resolve

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
    text: str = "text",
    store: str | Path | None = None,
) -> TrainedModel:
    """Train a small language model from scratch, as a recipe's run does.

    Parameters
    ----------
    texts
        A frame or a list of texts; or several by name, which `weights` mixes (equal shares by default).
    token_budget
        The tokens to train on. Models that are compared need the same budget.
    seed
        Keys the initial weights and the order of the data: the same call gives the same weights, bit by bit.
    name
        What the model is called in scores: the mix of `compare`.
    model, schedule
        As in a recipe's `train:`; `windtunnel list model` and `windtunnel list schedule` list them.
    tokenizer
        A number of tokens, for a byte-level BPE trained on `texts`; `{"bpe": 4096, "trained_on": frame}`; the directory
        of a fast tokenizer; or another trained model, whose tokenizer is taken. Models that are compared are best given
        one tokenizer.
    lr, batch_tokens
        The peak learning rate, and the tokens of a step, of next-token prediction.
    stages
        Objectives as in a recipe's `train:`, in place of `lr` and `batch_tokens`.
    max_epochs
        How often a text may be repeated; more raises RecipeError with the budget that the texts allow.
    device
        Where to train; `auto` takes a GPU if there is one.
    store
        A directory that keeps what was made, with the content of its inputs as the key: texts that were tokenized and
        models that were trained are not made again. Without one, files lie in a temporary directory of the process
        and are removed when it ends.

    Calls from several threads wait for one another. Raises RecipeError for a wrong parameter, InputError for texts that
    cannot be read, TrainingError when the loss diverges.
    """
    TypeAdapter(Name).validate_python(name)
    many = isinstance(texts, Mapping)
    parts = {TypeAdapter(Name).validate_python(key): value for key, value in texts.items()} if many else {name: texts}
    shares = _shares(weights, list(parts))
    architecture = make(Model, model)
    place = open_store(str(store)) if store is not None else temporary_store()
    with torch_lock:
        corpora = {key: corpus_of(documents(value, text), place) for key, value in parts.items()}
        vocabulary = _tokenizer(tokenizer, corpora, text, place)
        tokens = {
            f"tokens:{key}": Step("tokens:frame", Tokens(), {"corpus": corpora[key], "tokenizer": vocabulary})
            for key in shares
        }
        mix = Mix(weights=shares, token_budget=token_budget, max_epochs=max_epochs, context=architecture.context)
        work = TrainRun(
            mix=name,
            seed=seed,
            model=model,
            schedule=schedule,
            stages=_stages(stages, lr, batch_tokens),
            threads=threads,
            device=resolve(device),
        )
        inputs = {"mix": Step(f"mix:{name}", mix, tokens), **tokens, "tokenizer": vocabulary}
        step = Step(f"train:{name}:{seed}", work, inputs)
        run([step], place, Where("inline"))
    folder = fetched(step.artifact(place)).path
    result = RunResult.model_validate_json((folder / "result.json").read_bytes())
    return TrainedModel(folder / "model", result)


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
        return Step("tokenizer", from_directory(str(wanted.path)))
    if isinstance(wanted, str | Path):
        return Step("tokenizer", from_directory(str(wanted)))
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
    return Step("tokenizer", work, {"corpus": corpus})
