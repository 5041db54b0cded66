"""Mixes that are more than weights: phases, shares by a power of the sizes, and an order of the documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from windtunnel.pipelines.recipe.part import Name, Part
from windtunnel.pipelines.recipe.weights import BY_SIZE, Weight, positive

Weights = dict[Name, Weight]
PLANNED = ("phases", "weights", "over")  # a mix with one of these words has a plan, unless it weighs a corpus of it
TAGS = NAME, WEIGHTS, PLAN = "(name)", "(weights)", "(plan)"  # of the kinds of mixes, in places of pydantic's errors


def _of_phase(value: Any) -> str:
    return NAME if isinstance(value, str) else WEIGHTS


class Phase(Part):
    """A part of the token budget with a mix of its own: weights, or the name of another mix.

    `until`: where it ends, as a share of the budget; the last phase has none. `ramp`: the shares go from those of the
    phase before to these in a straight line over the phase's length.
    """

    mix: Annotated[Annotated[Name, Tag(NAME)] | Annotated[Weights, Tag(WEIGHTS)], Discriminator(_of_phase)]
    until: float | None = Field(None, gt=0, lt=1)
    ramp: bool = False


class Order(Part):
    """The order of a corpus's documents by a value: `tokens`, `bytes`, a measured value, or `meta.KEY`."""

    by: str = Field(min_length=1)
    direction: Literal["ascending", "descending"] = "ascending"


class MixPlan(Part):
    """A mix with phases, with weights and an order, or with shares proportional to tokens**alpha."""

    phases: list[Phase] | None = Field(None, min_length=2)
    weights: Weights | None = None
    alpha: float | None = Field(None, ge=0)
    over: list[Name] | None = Field(None, min_length=1)
    order: Order | None = None

    @model_validator(mode="after")
    def _one_form(self) -> MixPlan:
        if sum(value is not None for value in (self.phases, self.weights, self.over)) != 1:
            raise ValueError("a mix has one of `phases:`, `weights:`, or `alpha:` with `over:`")
        if (self.alpha is None) != (self.over is None):
            raise ValueError("shares by a power of the sizes need both: `{alpha: 0.5, over: [CORPUS, ...]}`")
        if twice := [name for name in self.over or () if (self.over or []).count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is named twice in `over:`")
        if self.weights is not None and self.order is None:
            raise ValueError("`weights:` goes with `order:`; weights alone are written as {CORPUS: WEIGHT}")
        return self

    @model_validator(mode="after")
    def _phases_follow_one_another(self) -> MixPlan:
        phases = self.phases or []
        ends = [phase.until for phase in phases]
        if phases and ends[-1] is not None:
            raise ValueError("the last phase goes to the end of the budget: leave out its `until:`")
        if None in ends[:-1]:
            raise ValueError(
                f"phase {ends.index(None) + 1} needs `until:`, the share of the budget at which it ends, such as 0.8"
            )
        known = [end for end in ends if end is not None]
        if known != sorted(set(known)):
            raise ValueError(f"`until:` grows from phase to phase, and here it is {', '.join(f'{e:g}' for e in known)}")
        if phases and phases[0].ramp:
            raise ValueError("the first phase has none before it from which its shares could go: leave out its `ramp:`")
        return self

    def corpora(self, mixes: Mapping[str, Mix]) -> list[str]:
        """Return the corpora of the mix, each once; `mixes` are those of the recipe."""
        given = [phase.mix for phase in self.phases or ()] or [self.alone()]
        return list(dict.fromkeys(corpus for mix in given for corpus in resolved(mix, mixes)[0]))

    def alone(self) -> Weights:
        """Return the weights of a mix without phases."""
        return self.weights if self.weights is not None else dict.fromkeys(self.over or (), BY_SIZE)


def _of_recipe(value: Any) -> str:
    if isinstance(value, MixPlan):
        return PLAN
    words = [value[word] for word in PLANNED if word in value] if isinstance(value, dict) else []
    return PLAN if any(word != BY_SIZE and not isinstance(word, int | float) for word in words) else WEIGHTS


Mix = Annotated[Annotated[Weights, Tag(WEIGHTS)] | Annotated[MixPlan, Tag(PLAN)], Discriminator(_of_recipe)]


def resolved(mix: str | Weights | MixPlan, mixes: Mapping[str, Mix]) -> tuple[Weights, float]:
    """Return the weights above zero of a mix without phases, given or named, and the power of sizes in them."""
    found = mixes[mix] if isinstance(mix, str) else mix
    if isinstance(found, MixPlan):
        return positive(found.alone()), 1.0 if found.alpha is None else found.alpha
    return positive(found), 1.0
