"""Simple preference optimisation: the chosen answer's log-likelihood per token is to exceed the rejected one's."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.objectives._objective import Loss
from windtunnel.trainer.objectives._unreferenced import UnreferencedObjective

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Simpo(UnreferencedObjective):
    """SimPO (Meng et al. 2024), normalised by the number of pairs; with `nll`, CPO-SimPO (Xu et al. 2024)."""

    version: ClassVar[int] = 1
    examples: ClassVar = ({}, {"nll": 0.5})

    lr: float = Field(5e-7, gt=0)
    beta: float = Field(2.0, gt=0)  # scale of the log-likelihoods per token
    gamma: float = Field(1.0, ge=0)  # margin that the scaled difference is to reach, in nats
    nll: float = Field(0.0, ge=0)  # weight of the chosen answer's negative log-likelihood per token

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's pairs; rewards in the log are beta x nats per token."""
        from windtunnel.trainer.losses.preference import Pairs, pair_metrics, simpo
        from windtunnel.trainer.losses.target_logps import answer_sums

        logps, tokens = answer_sums(model, batch.tensors, 2)
        means = logps / tokens
        losses = simpo(Pairs(*logps.unbind(1), *tokens.unbind(1)), self.beta, self.gamma) - self.nll * means[:, 0]
        return Loss(losses.sum(), float(len(losses)), pair_metrics(self.beta * means))
