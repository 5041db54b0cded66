"""Direct preference optimisation on the model's own replies: the best against the worst of those to a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.objectives._objective import Loss
from windtunnel.trainer.objectives._on_policy import OnPolicy
from windtunnel.trainer.objectives._rounds import Lesson, log_probs
from windtunnel.trainer.rollouts.round import Round

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class OnlineDpo(OnPolicy):
    """Online DPO (Guo et al. 2024, arXiv 2402.04792): the reward labels pairs of the policy's own replies.

    Of equal replies the first counts. Prompts whose replies all have one reward teach nothing and are counted as
    `unused` in the log. `beta` is that of DPO, with the stage's initial model as the reference.
    """

    unit: ClassVar[str] = "the units of its form, per pair"
    examples: ClassVar = (
        {"reward": {"length": 3}, "samples": 4, "prompts": 8, "max_tokens": 8},
        {"reward": {"length": 3}, "samples": 4, "prompts": 8, "max_tokens": 8, "form": "ipo"},
    )

    samples: int = Field(2, ge=2)
    beta: float = Field(0.1, gt=0)
    target_kl: None = None
    form: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)

    def lesson(self, made: Round, beta: float) -> Lesson:
        """Return the pair of each prompt whose replies have different rewards, and its reference log-probabilities."""
        used = made.groups.max(1) > made.groups.min(1)
        start = np.arange(len(used)) * made.samples
        best, worst = made.groups.argmax(1) + start, made.groups.argmin(1) + start
        pairs = list(zip(best[used].tolist(), worst[used].tolist(), strict=True))
        counts = np.ones(len(pairs))
        if not pairs:  # a step has a loss, and that of this pair counts nothing
            pairs, counts = [(0, 1)], np.zeros(1)
        sums = np.array([values.sum() for values in made.reference])
        reference = sums[np.array(pairs)]
        facts = {"best_reward": float(made.groups.max(1).mean()), "unused": float(1 - used.mean())}
        return Lesson({}, {"reference": reference, "counts": counts}, pairs=pairs, facts=facts)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's pairs."""
        from windtunnel.trainer.losses.preference import LOSSES, Pairs, pair_metrics
        from windtunnel.trainer.losses.target_logps import sum_by_owner

        given: dict[str, Any] = {name: tensor.to(model.device) for name, tensor in batch.tensors.items()}
        values = log_probs(model, batch.tensors, self.temperature)
        count = 2 * len(given["counts"])
        logps = sum_by_owner(values, given["owners"], count).view(-1, 2)
        tokens = sum_by_owner(values.detach() * 0 + 1, given["owners"], count).view(-1, 2)
        ratios = logps - given["reference"]
        losses = LOSSES[self.form](Pairs(*ratios.unbind(1), *tokens.unbind(1)), self.beta, self.label_smoothing)
        return Loss((losses * given["counts"]).sum(), float(len(losses)), pair_metrics(self.beta * ratios))
