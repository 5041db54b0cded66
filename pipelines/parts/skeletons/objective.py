"""Supervised fine-tuning in which tokens that the model already finds likely count less.

In a recipe: `train: {stages: [{./new_part.py:NewPart: {lr: 1e-4, batch_tokens: 4096}}]}`
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Loss, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class NewPart(ChatObjective):
    """Focal cross-entropy of assistant turns, in nats: (1 - p)^focus times -log p (Lin et al. 2017)."""

    version: ClassVar[int] = 1  # raise it whenever the same data gives another loss
    # Or "preferences": `loss` then gets the tokens of both answers of each pair, as windtunnel.trainer.objectives.dpo
    # does. A loss on a mix of corpora derives from windtunnel.trainer.objectives.causal_lm.CausalLM instead: it has no
    # `judge`, and `loss` gets `batch.tensors["ids"]`, rows of context + 1 token ids.
    kind: ClassVar = "conversations"

    # Sets of parameters: `windtunnel check objective ./new_part.py:NewPart` trains a tiny model with each.
    examples: ClassVar = ({}, {"focus": 0.0})

    lr: float = Field(2e-5, gt=0)  # peak learning rate
    focus: float = Field(1.0, ge=0)  # 0: plain cross-entropy

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return sums over a micro-batch, divided by nothing: the loop divides a step by its normalisers."""
        from windtunnel.trainer.losses.target_logps import target_log_probs

        logps = target_log_probs(model, batch.tensors)  # of the tokens that are learnt
        losses = -logps * (1 - logps.exp()).clamp(min=0) ** self.focus
        return Loss(losses.sum(), float(len(logps)), {"plain_nats": float(-logps.detach().sum())})

    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, Any]:
        """Score held-out preference pairs, where a recipe has some, by which answer the model finds likelier."""
        from windtunnel.trainer.eval.chat_evaluate import score_preferences

        return score_preferences(model, rows, self.micro_tokens, share, path)
