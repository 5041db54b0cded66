"""Rewards replies of few different words less.

In a recipe: `train: {stages: [{grpo: {reward: {./new_part.py:NewPart: {least: 0.5}}}}]}`
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.rewards._reward import Example, Reply, Verifier


class NewPart(Verifier):
    """1 for a reply in which the share of different words is at least `least`, else that share."""

    version: ClassVar[int] = 1  # raise it whenever the same replies are rewarded otherwise
    least: float = Field(0.5, gt=0, le=1)

    # Replies and their rewards: `windtunnel check reward ./new_part.py:NewPart`
    examples: ClassVar[tuple[Example, ...]] = (
        Example("each word is another", 1.0),
        Example("so so so so", 0.25),
    )

    def reward(self, reply: Reply) -> float:
        """Return the reward of a reply; `reply.messages` is the prompt, `reply.answer` the row's own answer."""
        words = reply.text.lower().split()
        share = len(set(words)) / len(words) if words else 0.0
        return 1.0 if share >= self.least else share
