"""The parts of a recipe about rows: where they come from, what is done to them, and how they are mixed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from windtunnel.pipelines.recipe.part import Name, Part, Spec

On = Literal["question", "answers", "conversation"]


class RowsOn(Part):
    """Which text of a row rules, deduplication and decontamination look at; exact duplicates are whole rows."""

    rules: On = "answers"
    dedup: On = "question"
    decontaminate: On = "conversation"


class Rows(Part):
    """Conversations or preferences: from files or from other sets; cleaned, filtered, deduplicated, selected in turn.

    `layout` names how the files write a row; without it, the columns tell. `clean` and `select` are generators that
    read `conversations` and ask no model, such as `sharegpt` and `lima`. `on` says which text of a row decides.
    """

    source: Spec | None = None
    from_: Name | list[Name] | None = Field(None, alias="from")
    layout: Spec | None = None
    clean: Spec | None = None
    rules: list[Spec] = Field(default_factory=list)
    dedup: Spec | list[Spec] | None = None
    decontaminate: dict[str, Any] | None = None
    select: Spec | None = None
    on: RowsOn = Field(default_factory=RowsOn)

    @model_validator(mode="after")
    def _one_origin(self) -> Rows:
        if (self.source is None) == (self.from_ is None):
            raise ValueError("rows have either `source:` (files or a data set) or `from:` (other rows)")
        if self.layout is not None and self.source is None:
            raise ValueError("`layout:` goes with `source:`: rows of other sets have one")
        if twice := [name for name in self.parents if self.parents.count(name) > 1]:
            raise ValueError(
                f"{twice[0]!r} is named twice, and a set holds its rows once: give it more weight in a mix"
            )
        return self

    @property
    def parents(self) -> list[str]:
        """Names of the sets this one is made from."""
        return [self.from_] if isinstance(self.from_, str) else list(self.from_ or [])

    @property
    def methods(self) -> list[Spec]:
        """The deduplication methods, in order."""
        return self.dedup if isinstance(self.dedup, list) else [self.dedup] if self.dedup else []

    @property
    def decontamination(self) -> tuple[dict[str, Any], dict[str, Spec]]:
        """The parameters under `decontaminate:`, and the sources of the evaluation sets under its `against:`."""
        parameters = dict(self.decontaminate or {})
        return parameters, parameters.pop("against", {})


class AskedLabels(Part):
    """The labels of held-out rows, asked of every model: labelled rows end with a label of a small closed set.

    `shots`: how many examples of the training rows stand before the question of models that learned from text alone;
    `prompt`: how these are asked, with {question}.
    """

    shots: list[int] = Field(default_factory=lambda: [0], min_length=1)
    prompt: str = "{question}\nAnswer:"

    @model_validator(mode="after")
    def _can_be_asked(self) -> AskedLabels:
        if self.shots != sorted(set(self.shots)) or self.shots[0] < 0:
            raise ValueError("shots are growing numbers of examples, from 0 on, for example [0, 1, 4, 16]")
        if "{question}" not in self.prompt:
            raise ValueError("a prompt has {question} in it, such as '{question}\\nAnswer:'")
        return self


class RowMixes(Part):
    """How mixes of rows are measured: shares are of target tokens, bytes of answers, or rows; rows may repeat.

    `total`: how much of that a mix holds; by default as much as the scarcest set allows. `max_epochs`: how often a row
    may be in a mix, so that a small set can have a large share. `tolerance`: how far a share may be from its weight
    after rows were refused in encoding; beyond it, there is no verdict.
    """

    by: Literal["bytes", "rows", "tokens"] = "bytes"
    total: int | None = Field(default=None, gt=0)
    max_epochs: int = Field(default=1, ge=1, le=100)
    tolerance: float = Field(default=0.05, ge=0, lt=1)
