"""A reward model: one that an earlier stage of the run has trained, or one of the recipe's models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.rewards._reward import MOST_FAILED, Example, Places, Reply, Reward, Scorer, Scores

STAGE = "reward"  # the name of the model that a stage `reward` before has trained


class Model(Reward):
    """The score of a sequence classifier with one output at the last token of the reply, times `scale`.

    Without `name` it is that of the stage `reward` before; with it, one of the recipe's `models:`. A reply that it
    cannot read, since it spells a special token or is longer than its positions, has the lowest reward of the round and
    is counted; where these are more than a fifth of a round, the run stops.
    """

    primary: ClassVar[str | None] = "name"

    examples: ClassVar[tuple[Example, ...]] = (Example("It is so.", 2.8307, params={"name": "tiny-reward"}),)

    name: str | None = None
    scale: float = 1.0
    micro_tokens: int = Field(8192, gt=0)

    def models(self) -> tuple[str, ...]:
        return (self.name,) if self.name is not None else ()

    def reads_stages(self) -> tuple[str, ...]:
        """Return the stage that trains the reward model, where no other is named."""
        return (STAGE,) if self.name is None else ()

    def scorer(self, places: Places) -> Scorer:
        """Return what scores replies in this process; see Reward."""
        from windtunnel.trainer.rewards._reward_model import RewardScorer

        name = self.name or STAGE
        if name not in places.models:
            raise InputError(
                "the reward `model` is the one that a stage `reward` has trained before this stage, and there is none: "
                "put `{reward: {...}}` before it, or name one of the recipe's models, `{model: NAME}`"
            )
        scorer = RewardScorer(places.models[name], self.micro_tokens)
        scorer.model.to(places.device)

        def score(replies: Sequence[Reply]) -> Scores:
            chats = [[*map(dict, r.messages), {"role": "assistant", "content": r.text}] for r in replies]
            refused = list[int]()
            values = [self.scale * value for value in scorer.score(chats, refused)]
            if len(refused) > MOST_FAILED * len(replies):
                raise InputError(
                    f"the reward model cannot read {len(refused)} of {len(replies)} replies (special tokens, length), "
                    f"such as {one_line(replies[refused[0]].text, 80)!r} to row {one_line(replies[refused[0]].row, 60)}"
                )
            lowest = min(value for value in values if not math.isnan(value))
            return Scores([lowest if math.isnan(value) else value for value in values], len(refused))

        return score
