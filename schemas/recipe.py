"""The recipe: one YAML file from raw text to a measured answer, as nested frozen models.

`read` turns text into a checked Recipe; an error names the line and the nearest right word. YAML names and
parameterises, it never holds logic.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas import plugin
from schemas.errors import RecipeError, nearest

Spec = str | dict[str, Any]  # a plug-in: its name, or {name: parameters}


def _safe_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError(
            f"{name!r} is no name: letters, digits, '_', '-' and '.', at most 64, starting with one of the first two"
        )
    return name


Name = Annotated[str, AfterValidator(_safe_name)]  # names become directory names


class Part(BaseModel):
    """A frozen piece of a recipe that refuses words it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Corpus(Part):
    """Documents from a source or from other corpora, then rules, then dedup, then decontamination."""

    source: Spec | None = None
    from_: Name | list[Name] | None = Field(None, alias="from")
    extract: Spec | None = None
    words: str = Field("fast", pattern="^(fast|exact)$")  # exact: the reference's spaCy tokens, slow
    rules: list[Spec] = Field(default_factory=list)
    dedup: Spec | list[Spec] | None = None
    decontaminate: bool | dict[str, Any] = False

    @model_validator(mode="after")
    def _one_origin(self) -> Corpus:
        if (self.source is None) == (self.from_ is None):
            raise ValueError("a corpus has either `source:` (text from outside) or `from:` (other corpora)")
        return self

    @property
    def parents(self) -> list[str]:
        """Names of the corpora this one is made from."""
        if self.from_ is None:
            return []
        return [self.from_] if isinstance(self.from_, str) else list(self.from_)


class HeldOut(Part):
    """What the frozen evaluation set is made of: a share of a corpus's documents, or files of the user's own."""

    from_: Name | None = Field(None, alias="from")
    share: float = Field(0.02, gt=0, lt=1)
    where: str | None = None
    documents: int | None = Field(None, gt=0)  # at most so many
    files: Spec | None = None  # a source, e.g. {jsonl: my_eval.jsonl}
    threshold: float = Field(0.72, gt=0, le=1)  # Jaccard similarity from which training text counts as the same text

    @model_validator(mode="after")
    def _one_origin(self) -> HeldOut:
        if (self.files is None) == (self.from_ is None):
            raise ValueError("held_out has either `from:` (a corpus) or `files:` (a source of your own)")
        return self


class Tokenizer(Part):
    """A byte-level BPE trained on a corpus, or a tokenizer directory."""

    bpe: int | None = Field(None, ge=257, le=1_000_000)
    trained_on: Name | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Tokenizer:
        if (self.bpe is None) == (self.path is None):
            raise ValueError("tokenizer has either `bpe: SIZE, trained_on: CORPUS` or `path: DIRECTORY`")
        if self.bpe is not None and self.trained_on is None:
            raise ValueError("tokenizer `bpe:` needs `trained_on: CORPUS`")
        return self


class Tokens(Part):
    """How text becomes tokens and how many of them every mix trains on."""

    tokenizer: Tokenizer
    budget: int = Field(gt=0)
    max_epochs: float = Field(4.0, gt=0)


class Train(Part):
    """The small model, its schedule, the seeds and the stages of training."""

    model: Spec
    schedule: Spec = Field(default_factory=lambda: {"wsd": {"warmup": 0.05, "decay": 0.2}})
    seeds: list[int] = Field(default_factory=lambda: [0, 1, 2], min_length=1)
    stages: list[Spec] = Field(min_length=1)
    threads: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _distinct(self) -> Train:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must differ from one another")
        return self


class Compare(Part):
    """What is compared with what, on what, and from which size on a difference matters."""

    baseline: Name
    metric: str = Field("bits_per_byte", pattern="^bits_per_byte$")
    on: str = Field("held_out", pattern="^held_out$")
    interval: float = Field(0.95, gt=0.5, lt=1)
    margin: float = Field(0.005, ge=0)


class Recipe(Part):
    """A question and everything that it takes to answer it."""

    question: str = Field(min_length=1)
    store: str
    corpora: dict[Name, Corpus] = Field(min_length=1)
    held_out: HeldOut | None = None
    mixes: dict[Name, dict[Name, Annotated[float, Field(ge=0)]]] = Field(default_factory=dict)
    tokens: Tokens | None = None
    train: Train | None = None
    compare: Compare | None = None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, for editors that complete and check YAML."""
    return Recipe.model_json_schema(by_alias=True)


def check(recipe: Recipe) -> None:
    """Raise RecipeError where names do not meet or a plug-in's word or parameter is wrong.

    The error carries `path`, the keys that lead to the place, so that the reader can name the line.
    """
    for name, corpus in recipe.corpora.items():
        here = ("corpora", name)
        for parent in corpus.parents:
            _known(parent, recipe.corpora, "corpus", (*here, "from"))
        _specs(corpus, here)
    _acyclic(recipe)
    if recipe.held_out is not None and recipe.held_out.from_ is not None:
        _known(recipe.held_out.from_, recipe.corpora, "corpus", ("held_out", "from"))
    for name, weights in recipe.mixes.items():
        for corpus_name in weights:
            _known(corpus_name, recipe.corpora, "corpus", ("mixes", name, corpus_name))
        if sum(weights.values()) <= 0:
            raise at(("mixes", name), f"mix {name!r} needs at least one weight above zero")
    _training(recipe)


def _training(recipe: Recipe) -> None:
    if recipe.mixes and recipe.tokens is None:
        raise at(("mixes",), "mixes need a `tokens:` part: a tokenizer and a budget")
    if recipe.tokens is not None and recipe.tokens.tokenizer.trained_on is not None:
        _known(recipe.tokens.tokenizer.trained_on, recipe.corpora, "corpus", ("tokens", "tokenizer", "trained_on"))
    if recipe.train is not None:
        _make("model", recipe.train.model, ("train", "model"))
        _make("schedule", recipe.train.schedule, ("train", "schedule"))
        for i, stage in enumerate(recipe.train.stages):
            _make("objective", stage, ("train", "stages", i))
        if not recipe.mixes:
            raise at(("train",), "`train:` needs `mixes:` to train on")
        if recipe.held_out is None:
            raise at(("train",), "`train:` needs `held_out:`: what the models are measured on is part of the question")
    if recipe.compare is not None:
        if recipe.train is None:
            raise at(("compare",), "`compare:` needs `train:`")
        _known(recipe.compare.baseline, recipe.mixes, "mix", ("compare", "baseline"))


def _specs(corpus: Corpus, here: tuple[str | int, ...]) -> None:
    if corpus.source is not None:
        _make("source", corpus.source, (*here, "source"))
    for i, rule in enumerate(corpus.rules):
        _make("rule", rule, (*here, "rules", i))
    methods = corpus.dedup if isinstance(corpus.dedup, list) else [corpus.dedup] if corpus.dedup else []
    for method in methods:
        _make("dedup", method, (*here, "dedup"))


def _make(kind: str, spec: Spec, path: tuple[str | int, ...]) -> None:
    try:
        plugin.make(kind, spec)
    except RecipeError as error:
        raise at(path, str(error)) from error


def _known(name: str, known: Any, kind: str, path: tuple[str | int, ...]) -> None:
    if name not in known:
        raise at(path, f"no {kind} is called {name!r}: {nearest(name, known)}")


def _acyclic(recipe: Recipe) -> None:
    for start in recipe.corpora:
        seen, todo = set(), list(recipe.corpora[start].parents)
        while todo:
            name = todo.pop()
            if name == start:
                raise at(("corpora", start, "from"), f"corpus {start!r} is made from itself")
            if name not in seen:
                seen.add(name)
                todo.extend(recipe.corpora[name].parents)


def at(path: tuple[str | int, ...], message: str) -> RecipeError:
    """Return a RecipeError that knows the keys leading to its place in the recipe."""
    error = RecipeError(message)
    error.path = path  # type: ignore[attr-defined]
    return error
