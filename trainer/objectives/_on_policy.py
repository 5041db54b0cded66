"""The base class of objectives that learn from the model's own replies.

A round samples replies of the current model to some prompts and scores them by a reward; the optimiser steps of the
round learn from these. Everything random belongs to (seed, round, row, sample), and a checkpoint lies between two
rounds, so an interrupted stage goes on with the same bits and keeps no replies.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import Plugin, keyed_spec, label, make
from windtunnel.trainer.data.chat import ChatEncoder, prepare
from windtunnel.trainer.data.chat_rows import Limits, Rows, encoded_rows
from windtunnel.trainer.data.row_schedule import RowSchedule
from windtunnel.trainer.eval.chat_evaluate import score_preferences
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Data, Setting
from windtunnel.trainer.objectives._rounds import Lesson, Rounds
from windtunnel.trainer.rewards._reward import Places, Reward
from windtunnel.trainer.rollouts.prompts import Prompts
from windtunnel.trainer.rollouts.round import Round
from windtunnel.trainer.rollouts.vllm import Rollouts

if TYPE_CHECKING:
    from transformers import PreTrainedModel


OF_TOKENS = ("batch_tokens", "budget", "max_epochs", "too_long")  # of a base class, without a meaning here


class OnPolicy(ChatObjective):
    """An objective on the model's own replies to the prompts of conversations.

    A step learns from `prompts` times `samples` replies over `minibatches`; the stage takes `rounds` times `epochs`
    times `minibatches` steps.
    """

    version: ClassVar[int] = 2
    dropout: ClassVar[bool] = False
    unit: ClassVar[str] = "the units of its form, per token"
    batch_by: ClassVar[str] = "prompts"

    lr: float = Field(1e-6, gt=0)
    eps: float = Field(1e-5, gt=0)
    reward: Any = "exact"  # spec of a reward, e.g. {weighted: [...]}, {model: NAME}
    rounds: int = Field(100, ge=1)
    prompts: int = Field(32, ge=1)  # of a round
    samples: int = Field(4, ge=1)  # replies to each of them
    epochs: int = Field(1, ge=1)  # passes over the replies of a round
    minibatches: int = Field(1, ge=1)  # optimiser steps of a pass
    max_tokens: int = Field(64, ge=1)  # of a reply
    temperature: float = Field(1.0, gt=0)
    beta: float = Field(0.05, ge=0)  # weight of the KL divergence to the initial model
    target_kl: float | None = Field(None, gt=0)  # nats a reply, to which beta is adapted
    horizon: float = Field(2.0, ge=1)  # rounds in which the level of beta doubles where the KL is twice its target
    max_kl: float = Field(200.0, gt=0)  # nats a reply, beyond which the stage stops
    truncated: float | None = None  # the reward of a reply that does not end; None: that of its text
    rollout_tokens: int = Field(16384, ge=1)  # of prompts and replies that are sampled together
    rollouts: Rollouts | None = None  # {vllm: {url, directory}}: a server that samples; None: this process

    @model_validator(mode="before")
    @classmethod
    def _without_tokens(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and (wrong := [name for name in OF_TOKENS if name in given]):
            raise ValueError(
                f"`{wrong[0]}` says nothing here: a step learns from `prompts` times `samples` replies over "
                "`minibatches`, and `rounds` says how often"
            )
        return given

    @model_validator(mode="after")
    def _divides(self) -> OnPolicy:
        if self.reward is None and type(self).model_fields["reward"].default is not None:
            raise ValueError("`reward` is missing, and without one all replies are equally good: name a reward")
        if self.minibatches > self.prompts * self.samples:
            raise ValueError(f"{self.prompts * self.samples} replies do not make {self.minibatches} minibatches")
        return self

    @property
    def one_micro_batch(self) -> bool:
        return self.micro_tokens is None

    def nested(self) -> list[Plugin]:
        reward = self.rewarded()
        return [*super().nested(), *([reward] if reward is not None else [])]

    def rewarded(self) -> Reward | None:
        """Return the reward; None for an objective without one."""
        return make(Reward, self.reward) if self.reward is not None else None  # type: ignore[type-abstract]

    def models(self) -> tuple[str, ...]:
        reward = self.rewarded()
        return reward.models() if reward is not None else ()

    def reads_stages(self) -> tuple[str, ...]:
        reward = self.rewarded()
        return reward.reads_stages() if reward is not None else ()

    def keyed(self) -> dict[str, Any]:
        reward = self.rewarded()
        served = {"rollouts": {"vllm": self.rollouts.vllm.keyed()}} if self.rollouts is not None else {}
        return {**super().keyed(), **served, "reward": keyed_spec(reward) if reward is not None else None}

    def rows(self, setting: Setting, role: str) -> Rows:
        """Return the encoded rows of a role; those to learn from as prompts, which leave room for a reply."""
        if role != self.kind:
            return super().rows(setting, role)
        room = min(self.context or setting.context, setting.context) - self.max_tokens
        if room < 1:
            raise InputError(f"the model has {setting.context:,} positions, and `max_tokens` takes {self.max_tokens:,}")
        artifact, limits = setting.inputs[role], Limits(room, False)
        encoder = ChatEncoder(setting.tokenizer)
        files, form = artifact.files("rows"), self.encoding(role)
        rows = encoded_rows(form, files, encoder, limits, setting.cache, artifact.manifest.key)
        return Rows(rows.path, self.sets or ())

    def encoding(self, role: str) -> str:
        """Return `prompts` for the conversations to learn from, `answered_prompts` where replies are compared."""
        if role != self.kind:
            return super().encoding(role)
        reward = self.rewarded()
        return "answered_prompts" if reward is not None and reward.asks_answer else "prompts"

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        """Encode the prompts, unless cached; keep the initial model as the reference, a copy of its weights."""
        prepare(setting.tokenizer, model)
        if self.kind not in setting.inputs:
            raise InputError(f"{label(self)!r} replies to the prompts of conversations, and this stage has none")
        rows = self.rows(setting, self.kind)
        prompts = Prompts(rows, setting.inputs[self.kind].files("rows"))
        ones = np.ones(len(rows), np.int64)
        budget = self.rounds * self.prompts
        schedule = RowSchedule(rows.keys, ones, rows.strata, setting.seed, self.prompts, budget, math.inf)
        places = Places(setting.models, setting.cache, str(model.device))
        reference = copy.deepcopy(model).requires_grad_(False).eval()
        return Rounds(self, setting, prompts, schedule, reference, places, self.shares(model, setting))

    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, float]:
        """Score held-out pairs by the log-likelihood per byte."""
        return score_preferences(model, rows, self.micro_tokens, share, path)

    def look(self, made: Round, data: Rounds) -> None:
        """Add to a round what the loss needs beside the log-probabilities of its tokens; nothing by default."""

    def learns(self, row: Mapping[str, float]) -> bool:
        """Return whether a round teaches something, by its row in the log: whether replies to a prompt differ."""
        return row["same_reward"] < 1

    @abstractmethod
    def lesson(self, made: Round, beta: float) -> Lesson:
        """Return what is learnt from a round."""
