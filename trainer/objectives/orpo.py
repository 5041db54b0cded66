"""Odds ratio preference optimisation: fine-tuning on chosen answers that also lowers the odds of rejected ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.objectives._objective import Loss
from windtunnel.trainer.objectives._unreferenced import UnreferencedObjective

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Orpo(UnreferencedObjective):
    """ORPO (Hong et al. 2024), normalised by the number of pairs: no reference, hence no stage before it.

    The likelihood of the chosen answer is the mean over its tokens, of each pair alone and without the prompt's.
    """

    version: ClassVar[int] = 1

    lr: float = Field(8e-6, gt=0)
    beta: float = Field(0.1, ge=0)  # weight of the odds ratio; lambda of the paper

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's pairs; rewards in the log are log-likelihoods per token."""
        from windtunnel.trainer.losses.preference import orpo, pair_metrics
        from windtunnel.trainer.losses.target_logps import answer_sums

        logps, tokens = answer_sums(model, batch.tensors, 2)
        means = logps / tokens
        losses = orpo(means[:, 0], means[:, 1], self.beta)
        return Loss(losses.sum(), float(len(losses)), pair_metrics(means))
