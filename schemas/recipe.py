"""The recipe: one YAML file from raw text to a measured answer, as nested frozen models.

`read` turns text into a checked Recipe; an error names the line and the nearest right word. YAML names and
parameterises, it never holds logic.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

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
    words: str = Field("fast", pattern="^(fast|exact)$")  # exact: the reference's spaCy tokens, slow
    language: str | None = Field(None, pattern="^[a-z]{2,3}$")  # whose tokens `words: exact` takes; en when left out
    rules: list[Spec] = Field(default_factory=list)
    dedup: Spec | list[Spec] | None = None
    decontaminate: bool | dict[str, Any] = False

    @model_validator(mode="after")
    def _one_origin(self) -> Corpus:
        if (self.source is None) == (self.from_ is None):
            raise ValueError("a corpus has either `source:` (text from outside) or `from:` (other corpora)")
        return self

    @model_validator(mode="after")
    def _language_of_exact_words(self) -> Corpus:
        if self.language is not None and self.words != "exact":
            raise ValueError("`language:` names whose words `words: exact` finds; the fast ones need no language")
        return self

    @property
    def parents(self) -> list[str]:
        """Names of the corpora this one is made from."""
        if self.from_ is None:
            return []
        return [self.from_] if isinstance(self.from_, str) else list(self.from_)


class Model(Part):
    """A model that answers or is trained on: a sample or a directory (served by vLLM when it must answer), or a URL."""

    sample: str | None = None  # see `windtunnel samples`
    path: str | None = None  # a directory with config.json, safetensors and a tokenizer
    url: str | None = None  # an OpenAI-compatible address, with `model` and the name of the variable that holds the key
    model: str | None = None
    key: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$")
    price: tuple[float, float] = (0.0, 0.0)  # dollars per million prompt and completion tokens
    serve: dict[str, str | int | float | bool | list[str]] = Field(
        default_factory=dict
    )  # options of the server we start

    @model_validator(mode="after")
    def _one_origin(self) -> Model:
        if sum(value is not None for value in (self.sample, self.path, self.url)) != 1:
            raise ValueError("a model has one of `sample:`, `path:` or `url:`")
        if (self.url is None) != (self.model is None):
            raise ValueError("a model at a `url:` has the name it goes by there: `model:`")
        return self


class Generated(Part):
    """Rows that a generator makes, from models and, for some kinds, from documents or other rows."""

    with_: Spec = Field(alias="with")
    from_: dict[str, Name | list[Name]] = Field(default_factory=dict, alias="from")  # role -> corpora or rows
    remarks: str | None = None  # what a person who read some of these rows has to say of them; goes on the card


class HeldOut(Part):
    """What the frozen evaluation set is made of: a share of a corpus's documents, or files of the user's own.

    For generated rows `from` may name several sets; the share is held out of each.
    """

    from_: Name | list[Name] | None = Field(None, alias="from")
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

    @property
    def sets(self) -> list[str]:
        """Names of the corpora or generated sets that the share is taken from."""
        return [self.from_] if isinstance(self.from_, str) else list(self.from_ or [])


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
    """The model (a new small one, or one to start from), its schedule, the seeds and the stages of training."""

    model: Spec | None = None
    start: Name | None = None  # one of `models:`
    context: int = Field(1024, ge=8)  # longest sequence in tokens, for `start:`; a new model says its own
    schedule: Spec = Field(default_factory=lambda: {"wsd": {"warmup": 0.05, "decay": 0.2}})
    seeds: list[int] = Field(default_factory=lambda: [0, 1, 2], min_length=1)
    stages: list[Spec] = Field(min_length=1)
    threads: int = Field(1, ge=1)

    preferences: Name | None = None  # the generated pairs that preference stages train on

    @model_validator(mode="after")
    def _distinct(self) -> Train:
        if (self.model is None) == (self.start is None):
            raise ValueError("train has either `model:` (a new model) or `start:` (one of `models:`)")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must differ from one another")
        return self


class Tasks(Part):
    """Checkable questions with exact answers, made from the documents of a corpus."""

    from_: Name = Field(alias="from")
    tasks: list[Spec] = Field(
        default_factory=lambda: ["copying", "counting", "extraction", "question_answering", "sorting"], min_length=1
    )


class WinRate(Part):
    """A judge that compares every model's answers to held-out questions with the baseline's, in both orders."""

    judge: Name  # one of `models:`
    questions: int = Field(40, gt=0)
    max_tokens: int = Field(96, gt=0)


class Calibrate(Part):
    """A judge held against known labels: a JSONL file of labelled pairs, else planted pairs of the seed tasks."""

    judge: Name  # one of `models:`
    pairs: str | None = None
    number: int = Field(60, gt=1)  # of planted pairs


class Evaluate(Part):
    """What chat models are measured on beside the loss of held-out answers, and how far the judge can be trusted."""

    tasks: Tasks | None = None
    win_rate: WinRate | None = None
    calibrate: Calibrate | None = None


class Compare(Part):
    """What is compared with what, on what, and from which size on a difference matters."""

    baseline: Name
    metric: str = Field("bits_per_byte", pattern="^bits_per_byte$")
    on: str = Field("held_out", pattern="^held_out$")
    interval: float = Field(0.95, gt=0.5, lt=1)
    margin: float = Field(0.005, ge=0)
    looks: list[int] = Field(default_factory=list)  # numbers of seeds at which the answer is looked at; empty: once
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"  # how the looks share the error

    @field_validator("looks")
    @classmethod
    def _growing(cls, looks: list[int]) -> list[int]:
        if looks != sorted(set(looks)) or (looks and looks[0] < 2):
            raise ValueError("looks are growing numbers of seeds, from 2 on, for example [3, 5, 8]")
        return looks


class Recipe(Part):
    """A question and everything that it takes to answer it."""

    question: str = Field(min_length=1)
    store: str
    corpora: dict[Name, Corpus] = Field(min_length=1)
    models: dict[Name, Model] = Field(default_factory=dict)
    generate: dict[Name, Generated] = Field(default_factory=dict)
    held_out: HeldOut | None = None
    mixes: dict[Name, dict[Name, Annotated[float, Field(ge=0)]]] = Field(default_factory=dict)
    tokens: Tokens | None = None
    train: Train | None = None
    evaluate: Evaluate | None = None
    compare: Compare | None = None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, for editors that complete and check YAML."""
    return Recipe.model_json_schema(by_alias=True)
