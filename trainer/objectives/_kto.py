"""The base class of KTO: answers that are desirable or not, measured from how far the policy has moved as a whole.

The reference point is an estimate of the KL divergence of the policy from the initial model. As in the paper and in TRL
it is the mean log-ratio of prompts with answers of other rows, at least 0, and no gradient flows through it. Here it is
one number per optimiser step, the mean over all its rows, so that it does not depend on micro-batches or processes; and
whose answer a prompt gets is fixed by the data (`MismatchedRows`), so that the reference's part of it is computed once.
Its forward pass adds about a third to a step, which is counted, and so is that of the reference, once a row.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_batches import pack_rows
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.data.mismatched import MismatchedRows
from windtunnel.trainer.data.packing import tensors
from windtunnel.trainer.objectives._chat_objective import ChatData
from windtunnel.trainer.objectives._objective import FORWARD_TOKENS, Data, Loss, Setting
from windtunnel.trainer.objectives._reference_logps import reference_logps
from windtunnel.trainer.objectives._referenced import ReferencedObjective

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

MISMATCHED = "mismatched_"  # before the names of a micro-batch's tensors of mismatched rows


class KtoObjective(ReferencedObjective):
    """KTO (Ethayarajh et al. 2024), normalised by the number of rows; a row's loss is the mean over its answers."""

    unit: ClassVar[str] = "one minus value, per answer"
    sums_of_step: ClassVar[bool] = True
    examples: ClassVar = ({}, {"undesirable_weight": 1.5})

    desirable_weight: float = Field(1.0, ge=0)  # of desirable answers; the paper balances both kinds by number
    undesirable_weight: float = Field(1.0, ge=0)

    @abstractmethod
    def desirable(self, batch: Batch, like: torch.Tensor) -> torch.Tensor:
        """Return which answers of the batch are desirable, bool of the shape and on the device of `like`."""

    @abstractmethod
    def metrics(self, rewards: torch.Tensor, kl: torch.Tensor, desirable: torch.Tensor) -> dict[str, Any]:
        """Return sums over the rows for the log; `rewards` [rows, answers] and `kl` are multiplied by beta."""

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        """Return the stage's batches, each with its mismatched rows."""
        data = super().open(setting, model)
        assert isinstance(data, ChatData)
        return KtoData(data, self._mismatched(setting, data.rows))

    def extra(self, setting: Setting, model: PreTrainedModel, rows: Rows) -> dict[str, np.ndarray]:
        """Return the numbers of the rows and the reference log-probabilities, also of the mismatched rows."""
        references = self.references(setting, model, rows)
        mismatched = reference_logps(
            model, self._mismatched(setting, rows), self.micro_tokens, self.shares(model, setting), setting.cache
        )
        return {"number": np.arange(len(rows)), "reference": references, f"{MISMATCHED}reference": mismatched}

    def _mismatched(self, setting: Setting, rows: Rows) -> MismatchedRows:
        return MismatchedRows(rows, self.limits(setting).context)

    def step_sums(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Return the summed log-ratios of the mismatched answers and their number."""
        import torch

        from windtunnel.trainer.losses.target_logps import answer_sums

        given = {name.removeprefix(MISMATCHED): t for name, t in batch.tensors.items() if name.startswith(MISMATCHED)}
        logps, _ = answer_sums(model, given, given["reference"].shape[1])
        ratios = (logps - given["reference"].to(logps.device)).double()
        return torch.stack([ratios.sum(), torch.full_like(ratios.sum(), ratios.numel())])

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's rows."""
        import torch

        from windtunnel.trainer.losses.preference import kto
        from windtunnel.trainer.losses.target_logps import answer_sums

        reference = batch.tensors["reference"]
        logps, _ = answer_sums(model, batch.tensors, reference.shape[1])
        ratios = logps - reference.to(logps.device)
        total, count = batch.tensors["step_sums"].to(logps.device)
        kl = (total / count).clamp(min=0).to(logps.dtype)
        good = self.desirable(batch, ratios)
        weights = torch.where(good, self.desirable_weight, self.undesirable_weight)
        losses = (weights * kto(ratios, good, kl, self.beta)).mean(1)
        told = self.metrics(self.beta * ratios.detach(), self.beta * kl, good)
        return Loss(losses.sum(), float(len(losses)), {**told, "kl": kl * len(losses)})


class KtoData(Data):
    """The batches of chat data, each with the tensors of the same rows' prompts and other rows' answers."""

    def __init__(self, data: ChatData, mismatched: MismatchedRows):
        self.data, self.mismatched = data, mismatched
        self.rows, self.steps, self.window = data.rows, data.steps, data.window

    def batch(self, step: int) -> list[Batch]:
        """Return the micro-batches of an optimiser step."""
        return [self._with_mismatched(batch) for batch in self.data.batch(step)]

    def _with_mismatched(self, batch: Batch) -> Batch:
        rows = [self.mismatched[k] for k in batch.tensors["number"].tolist()]
        more = {f"{MISMATCHED}{name}": t for name, t in tensors(pack_rows(rows, self.data.share)).items()}
        return batch._replace(tensors={**batch.tensors, **more})

    def facts(self, step: int) -> dict[str, float]:
        """Return the tokens of the mismatched rows, which go forward alone, and what the reference reads."""
        rows = range(len(self.rows)) if step == 0 else ()  # which the reference reads
        read = [*rows, *(part.row for part in self.data.schedule.parts(step))]
        first = self.data.facts(step).get(FORWARD_TOKENS, 0)
        return {FORWARD_TOKENS: float(first + sum(len(self.mismatched[row].ids) for row in read))}

    def realised(self) -> list[dict[str, Any]]:
        """Return the data of the stage by source."""
        return self.data.realised()
