"""Constraints that code checks, as an instruction may put them on a reply."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import Plugin, make
from windtunnel.trainer.constraints._constraint import Constraint
from windtunnel.trainer.rewards._reward import Example, Reply, Verifier


class Constraints(Verifier):
    """The share of the constraints that a reply keeps to; `windtunnel list constraint` names them."""

    primary: ClassVar[str | None] = "keep"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("the mill stands here", 1.0, params={"keep": ["lowercase", {"words": {"most": 5}}]}),
        Example("The mill stands here", 0.5, params={"keep": ["lowercase", {"words": {"most": 5}}]}),
    )

    keep: list[Any] = Field(min_length=1)

    @field_validator("keep")
    @classmethod
    def _known(cls, keep: list[Any]) -> list[Any]:
        try:
            [make(Constraint, spec) for spec in keep]  # type: ignore[type-abstract]
        except RecipeError as error:
            raise ValueError(str(error)) from error
        return keep

    def nested(self) -> list[Plugin]:
        """Return the constraints."""
        return [make(Constraint, spec) for spec in self.keep]  # type: ignore[type-abstract]

    def reward(self, reply: Reply) -> float:
        constraints = [make(Constraint, spec) for spec in self.keep]  # type: ignore[type-abstract]
        return sum(constraint.holds(reply.text) for constraint in constraints) / len(constraints)
