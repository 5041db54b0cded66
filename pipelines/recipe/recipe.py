"""The schema of a recipe: one YAML file from raw text to a comparison of trained models, as nested frozen models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from windtunnel.pipelines.recipe.mixes import Mix, MixPlan, Weights
from windtunnel.pipelines.recipe.models import Model as Model
from windtunnel.pipelines.recipe.part import Name as Name
from windtunnel.pipelines.recipe.part import Part
from windtunnel.pipelines.recipe.part import Spec as Spec
from windtunnel.pipelines.recipe.rows import AskedLabels, RowMixes, Rows
from windtunnel.pipelines.recipe.variants import RunName, completed
from windtunnel.pipelines.recipe.weights import positive
from windtunnel.pipelines.recipe.yaml_loader import Keys
from windtunnel.pipelines.remote.address import checked
from windtunnel.schemas.launch import Launch
from windtunnel.schemas.role import run_names
from windtunnel.schemas.watch import Keep, Watch


class Corpus(Part):
    """Documents from a source or from other corpora, then rules, then dedup, then decontamination."""

    source: Spec | None = None
    from_: Name | list[Name] | None = Field(None, alias="from")
    words: str = Field("fast", pattern="^(fast|exact)$")  # exact: the reference's spaCy tokens, slow
    language: str | None = Field(None, pattern="^[a-z]{2,3}$")  # of the tokenizer of `words: exact`; default en
    rules: list[Spec] = Field(default_factory=list)
    dedup: Spec | list[Spec] | None = None
    decontaminate: bool | dict[str, Any] = False

    @model_validator(mode="after")
    def _one_origin(self) -> Corpus:
        if (self.source is None) == (self.from_ is None):
            raise ValueError("a corpus has either `source:` (files or a data set) or `from:` (other corpora)")
        return self

    @field_validator("from_")
    @classmethod
    def _each_once(cls, names: str | list[str] | None) -> str | list[str] | None:
        twice = [name for name in names if names.count(name) > 1] if isinstance(names, list) else []
        if twice:
            raise ValueError(
                f"{twice[0]!r} is named twice, and a corpus holds its documents once: to repeat text give it more "
                "weight in a mix, up to `max_epochs`"
            )
        return names

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

    @property
    def methods(self) -> list[Spec]:
        """The deduplication methods, in order."""
        return self.dedup if isinstance(self.dedup, list) else [self.dedup] if self.dedup else []

    @property
    def decontamination(self) -> tuple[dict[str, Any], dict[str, Spec]]:
        """The parameters under `decontaminate:`, and the sources of the evaluation sets under its `against:`."""
        parameters = dict(self.decontaminate) if isinstance(self.decontaminate, dict) else {}
        return parameters, parameters.pop("against", {})


class Remarks(Part):
    """What a person found who read some generated rows, for the data card of these rows and of no others.

    `rows`: the first 8 digits of the key of the `generate:` step, in which its directory's name ends.
    """

    rows: str
    text: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _about_rows(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("remarks name the rows they are about: {rows: 'FIRST 8 DIGITS OF THEIR KEY', text: ...}")
        return value

    @field_validator("rows", mode="before")
    @classmethod
    def _digits(cls, rows: Any) -> Any:
        if not isinstance(rows, str) or not re.fullmatch("[0-9a-f]{8}", rows):
            raise ValueError("8 digits 0-9a-f, in quotes: without quotes YAML may read a number")  # 12345678, 1234e567
        return rows


class Generated(Part):
    """Rows made by a generator from models and, for some kinds, from documents or other rows."""

    with_: Spec = Field(alias="with")
    from_: dict[Name, Name | list[Name]] = Field(default_factory=dict, alias="from")  # role -> corpora or rows
    remarks: Remarks | None = None


class HeldOut(Part):
    """The frozen evaluation set: a share of a corpus's documents, of sets of rows, or files.

    For mixes of rows, `files` holds conversations (`layout` as for `rows:`) and `preferences` pairs; without the
    latter, a share of the pairs is held out: of the sets of pairs that `from` names, or of all that are trained on.
    """

    from_: Name | list[Name] | None = Field(None, alias="from")
    share: float = Field(0.02, gt=0, lt=1)
    where: str | None = None
    documents: int | None = Field(None, gt=0)  # at most
    files: Spec | None = None  # a source, e.g. {jsonl: my_eval.jsonl}
    layout: Spec | None = None
    preferences: Spec | None = None  # a source of pairs
    threshold: float = Field(0.72, gt=0, le=1)  # Jaccard similarity from which training text is a duplicate

    @model_validator(mode="after")
    def _one_origin(self) -> HeldOut:
        if (self.files is None) == (self.from_ is None):
            raise ValueError("held_out has either `from:` (a corpus) or `files:` (a source)")
        return self

    @property
    def sets(self) -> list[str]:
        """Names of the corpora or generated sets that the share is taken from."""
        return [self.from_] if isinstance(self.from_, str) else list(self.from_ or [])


class Tokenizer(Part):
    """A byte-level BPE trained on a corpus or a set of rows, or a tokenizer directory."""

    bpe: int | None = Field(None, ge=259, le=1_000_000)  # token ids: 256 bytes, the end, two for chat
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
    """The tokenizer, and the number of tokens that every mix trains on (for mixes of rows, a stage says that).

    Training that starts from one of `models:` goes on with that model's tokenizer, and `tokenizer:` is left out.
    """

    tokenizer: Tokenizer | None = None
    budget: int | None = Field(None, gt=0)
    max_epochs: float = Field(4.0, gt=0)


class Train(Part):
    """The model (a new small one, or one to start from), its schedule, the seeds and the stages of training.

    `variants:` names several trainings of every mix; each has these words where it does not give them itself.
    """

    model: Spec | None = None
    start: Name | None = None  # one of `models:`
    context: int = Field(1024, ge=8)  # longest sequence in tokens, for `start:`; a new model has its own
    schedule: Spec = Field(default_factory=lambda: {"wsd": {"warmup": 0.05, "decay": 0.2}})
    seeds: list[int] = Field(default_factory=lambda: [0, 1, 2], min_length=1)
    stages: list[Spec] = Field(default_factory=list)
    threads: int = Field(1, ge=1)
    # where models are trained and asked; auto: on a GPU if the machine that plans the run has one
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"  # of products; auto: bf16 on a GPU that has it
    compile: bool | Literal["auto"] = "auto"  # by torch.compile; auto: stages on a GPU that take a minute or more
    deterministic: bool = True  # False, on a GPU: faster kernels, whose results differ between runs in their last bits
    activation_checkpointing: bool = False  # recompute blocks in the backward pass, which saves memory
    launch: Launch | None = None  # several processes a run: {nodes: 1, gpus: 8, shard: ddp}
    preferences: Name | None = None  # the pairs that preference stages of all mixes train on; else those in the mix
    template: str | None = None  # the chat template: one of ours by name, or a file; else the tokenizer's own
    watch: Watch | None = None  # held-out loss and samples in training: {validate: 0.1, samples: 0.25}
    keep: Keep | None = None  # models of steps in between: {every: 500}
    log: Spec | None = None  # tensorboard, trackio or wandb, beside log.parquet
    gradient_noise: bool = False  # measure the noise scale, which takes two or more micro-batches a step
    variants: dict[Name, Train] = Field(default_factory=dict)

    _completed = model_validator(mode="before")(completed)

    @model_validator(mode="after")
    def _distinct(self) -> Train:
        if not self.variants and not self.stages:
            raise ValueError("train needs `stages:`, such as [{causal_lm: {lr: 3e-3}}]")
        if not self.variants and (self.model is None) == (self.start is None):
            raise ValueError("train has either `model:` (a new model) or `start:` (one of `models:`)")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must differ")
        return self

    @property
    def each(self) -> dict[str, Train]:
        """The variants by name, or the one training there is under the name ''."""
        return self.variants or {"": self}

    def place(self, variant: str, word: str) -> Keys:
        """Return where a word of a variant is written: there, or under `train:` where all share it."""
        own = self.each[variant]
        shared = own is self or (word in self.model_fields_set and getattr(own, word) == getattr(self, word))
        return ("train", word) if shared else ("train", "variants", variant, word)


class Tasks(Part):
    """Questions with a score each: made from the documents of a corpus, or read from files; a list needs no corpus."""

    from_: Name | None = Field(None, alias="from")  # a corpus, for the tasks that are made from documents
    tasks: list[Spec] = Field(
        default_factory=lambda: ["copying", "counting", "extraction", "question_answering", "sorting"], min_length=1
    )


class Answers(Part):
    """Held-out conversations as questions: each model's greedy reply is compared with the answer, by source of row.

    For rows with short answers of which one is right. Their sources share the `questions` alike, as far as they go.
    """

    questions: int = Field(200, gt=0)  # at most
    max_tokens: int = Field(32, gt=0)  # of a reply; rows with longer answers are not asked


class WinRate(Part):
    """Comparison by a judge of every model's answers with the baseline's, in both orders.

    The questions are held-out ones, or those of `files`: a source of rows, whose answers are not needed.
    """

    judge: Name  # one of `models:`
    files: Spec | None = None
    questions: int = Field(40, gt=0)
    max_tokens: int = Field(96, gt=0)


class Calibrate(Part):
    """Agreement of a judge with known labels: a JSONL file of labelled pairs, or planted pairs of the seed tasks."""

    judge: Name  # one of `models:`
    pairs: str | None = None
    number: int = Field(60, gt=1)  # of planted pairs
    min_agreement: float | None = Field(None, gt=0, le=1)  # below it the judge labels nothing: no pairs, no win rates


class Probe(Part):
    """Linear classifiers on frozen vectors: of where a paragraph is from, and of word senses in context."""

    sources: Name | None = None  # a corpus of several sources, which are the labels
    senses: Name | None = None  # a corpus whose words are written together by two

    @model_validator(mode="after")
    def _some(self) -> Probe:
        if self.sources is None and self.senses is None:
            raise ValueError("a probe needs a corpus: `sources: CORPUS` or `senses: CORPUS`, or both")
        return self


def _as_tasks(given: Any) -> Any:
    return {"tasks": given} if isinstance(given, list) else given


class Evaluate(Part):
    """Further measurements of models, beside their loss on what is held out, and of the judge."""

    tasks: Annotated[Tasks | None, BeforeValidator(_as_tasks, json_schema_input_type=Tasks | list[Spec] | None)] = None
    answers: Answers | None = None
    win_rate: WinRate | None = None
    probe: Probe | None = None
    labels: AskedLabels | None = None
    calibrate: Calibrate | None = None


class Compare(Part):
    """The comparison of all mixes with the baseline; differences below `margin` do not matter."""

    baseline: RunName
    metric: str = Field("bits_per_byte", pattern="^bits_per_byte$")
    on: str = Field("held_out", pattern="^held_out$")
    interval: float = Field(0.95, gt=0.5, lt=1)
    margin: float = Field(0.005, ge=0)
    looks: list[int] = Field(default_factory=list)  # numbers of seeds of the interim analyses; empty: one analysis
    spending: Literal["power", "obrien_fleming", "pocock"] = "power"  # of the error over the looks
    after: list[int] = Field(default_factory=list)  # numbers of seeds at which the result was looked at, undeclared
    pin: Literal["source"] | None = None  # also train the baseline's documents at each mix's sources

    def pinned(self, mixes: Iterable[str]) -> dict[str, str]:
        """Return the name of the further mix that is trained for each mix, which no recipe can give; empty without."""
        return {name: f"{self.baseline}@{name}" for name in mixes if name != self.baseline} if self.pin else {}

    @field_validator("looks", "after")
    @classmethod
    def _growing(cls, looks: list[int]) -> list[int]:
        if looks != sorted(set(looks)) or (looks and looks[0] < 2):
            raise ValueError("looks are growing numbers of seeds, from 2 on, for example [3, 5, 8]")
        return looks

    @model_validator(mode="after")
    def _declared_or_not(self) -> Compare:
        if self.looks and self.after:
            raise ValueError("`looks:` are declared in advance, `after:` names looks that were not: give one of them")
        return self


class Budget(Part):
    """What answers of models may cost, over all runs into the recipe's store; a larger one goes on where it ended."""

    dollars: float = Field(gt=0)


class Recipe(Part):
    """A question and all that answers it."""

    question: str = Field(min_length=1)
    store: Annotated[str, AfterValidator(checked)]  # a directory, or an address such as s3://bucket/prefix
    corpora: dict[Name, Corpus] = Field(default_factory=dict)
    rows: dict[Name, Rows] = Field(default_factory=dict)
    models: dict[Name, Model] = Field(default_factory=dict)
    generate: dict[Name, Generated] = Field(default_factory=dict)
    held_out: HeldOut | None = None
    mixes: dict[Name, Mix] = Field(default_factory=dict)
    row_mixes: RowMixes = Field(default_factory=RowMixes)
    tokens: Tokens | None = None
    train: Train | None = None
    evaluate: Evaluate | None = None
    compare: Compare | None = None
    budget: Budget | None = None

    @model_validator(mode="after")
    def _some_data(self) -> Recipe:
        if not (self.corpora or self.rows or self.generate):
            raise ValueError("a recipe has `corpora:` of documents or `rows:` of conversations and preferences")
        return self

    @property
    def sets(self) -> list[str]:
        """Names of all sets of rows, one's own and generated ones."""
        return [*self.rows, *self.generate]

    @property
    def of_rows(self) -> bool:
        """Whether the mixes are of rows, not of documents."""
        return any(part in self.sets for weights in self.weights.values() for part in weights)

    @property
    def weights(self) -> dict[str, Weights]:
        """The mixes that are weights alone."""
        return {name: mix for name, mix in self.mixes.items() if not isinstance(mix, MixPlan)}

    def parts(self, mix: str) -> list[str]:
        """Return the corpora or sets of rows that a mix takes, each once."""
        found = self.mixes[mix]
        return found.corpora(self.mixes) if isinstance(found, MixPlan) else list(positive(found))

    def corpora_of(self, mix: str) -> list[str]:
        """Return the corpora that a mix takes, which are some of its parts where it takes rows too."""
        return [part for part in self.parts(mix) if part in self.corpora]

    @property
    def trainings(self) -> dict[str, tuple[str, Train]]:
        """The mix and the settings of every training by the name of its runs: the mix, the variant, or both."""
        each = self.train.each if self.train is not None else {}
        return {name: (mix, each[variant]) for name, (mix, variant) in run_names(self.mixes, each).items()}

    def ancestors(self, corpus: str) -> set[str]:
        """Return the corpora that a corpus is made from, directly or not; in a circle also itself."""
        above: set[str] = set()
        todo = list(self.corpora[corpus].parents)
        while todo:
            parent = todo.pop()
            if parent not in above:
                above.add(parent)
                todo += self.corpora[parent].parents
        return above


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, for editors that complete and check YAML."""
    return Recipe.model_json_schema(by_alias=True)
