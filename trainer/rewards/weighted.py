"""A weighted sum of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import Plugin, keyed_spec, make
from windtunnel.trainer.rewards._reward import Example, Places, Reply, Reward, Scorer, Scores, checked


class Part(BaseModel):
    """A reward and its weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    reward: Any
    weight: float = Field(1.0, allow_inf_nan=False)


class Weighted(Reward):
    """The sum of `parts`, each a reward times its weight: `[{reward: exact}, {reward: {length: 20}, weight: 0.1}]`."""

    primary: ClassVar[str | None] = "parts"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("it is so", 1.5, "so", {"parts": [{"reward": {"exact": "contains"}}, {"reward": {"length": 6}}]}),
    )

    parts: list[Part] = Field(min_length=1)

    @field_validator("parts")
    @classmethod
    def _known(cls, parts: list[Part]) -> list[Part]:
        try:
            [make(Reward, part.reward) for part in parts]  # type: ignore[type-abstract]
        except RecipeError as error:
            raise ValueError(str(error)) from error
        return parts

    def nested(self) -> list[Plugin]:
        """Return the rewards."""
        return list(self._rewards())

    def models(self) -> tuple[str, ...]:
        """Return the models of all parts."""
        return tuple(dict.fromkeys(name for reward in self._rewards() for name in reward.models()))

    def reads_stages(self) -> tuple[str, ...]:
        """Return the earlier stages of all parts."""
        return tuple(dict.fromkeys(name for reward in self._rewards() for name in reward.reads_stages()))

    def keyed(self) -> dict[str, Any]:
        parts = zip(self._rewards(), self.parts, strict=True)
        return {"parts": [{"reward": keyed_spec(reward), "weight": part.weight} for reward, part in parts]}

    @property
    def asks_answer(self) -> bool:
        """Whether one of the parts needs the rows' answers."""
        return any(reward.asks_answer for reward in self._rewards())

    def scorer(self, places: Places) -> Scorer:
        """Return what adds up the parts; see Reward."""
        rewards = self._rewards()
        scorers = [reward.scorer(places) for reward in rewards]

        def score(replies: Sequence[Reply]) -> Scores:
            found = [checked(reward, one, replies) for reward, one in zip(rewards, scorers, strict=True)]
            weights = [part.weight for part in self.parts]
            values = [
                sum((w * value for w, value in zip(weights, row, strict=True)), 0.0)
                for row in zip(*(scores.values for scores in found), strict=True)
            ]
            return Scores(values, sum(scores.failed for scores in found))

        return score

    def _rewards(self) -> list[Reward]:
        return [make(Reward, part.reward) for part in self.parts]  # type: ignore[type-abstract]
