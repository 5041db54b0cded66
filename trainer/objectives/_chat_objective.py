"""What the objectives on chat data share: rows from artifacts, batches by learnt tokens, held-out scores.

Roles of a stage's inputs: `conversations` or `preferences` to train on, `held_out_conversations` and
`held_out_preferences` to be measured on; each is an artifact whose `rows/` holds Parquet files of that schema.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat import ChatEncoder, prepare
from windtunnel.trainer.data.chat_batches import batches
from windtunnel.trainer.data.chat_rows import Limits, Rows, encoded_rows
from windtunnel.trainer.data.packing import Row
from windtunnel.trainer.data.row_schedule import RowSchedule
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.eval.chat_evaluate import score_conversations
from windtunnel.trainer.objectives._objective import Data, Evaluation, Objective, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ChatObjective(Objective, ABC):
    """An objective on conversations or preferences; `batch_tokens` and `budget` count learnt tokens only."""

    kind: ClassVar = "conversations"

    micro_tokens: int | None = Field(4096, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    budget: int | None = Field(None, gt=0)  # learnt tokens of the whole stage; None: `epochs` passes
    epochs: float = Field(1.0, gt=0)  # passes over the data where no budget is given
    max_epochs: float = Field(4.0, gt=0)  # a budget that needs more is an error
    context: int | None = Field(None, gt=1)  # longest row in tokens; None: what the model has
    too_long: Literal["drop", "truncate"] = "drop"  # truncate: a conversation keeps the rounds that fit

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        """Encode the rows (once), check the budget, and return the stage's batches."""
        prepare(setting.tokenizer, model)
        rows = self.rows(setting, self.kind)
        weights = rows.targets.astype(np.int64)
        budget = self.budget or max(1, round(self.epochs * int(weights.sum())))
        cap = self.max_epochs if self.budget else math.inf  # passes that were asked for are allowed, rounding included
        schedule = RowSchedule(rows.keys, weights, setting.seed, self.batch_tokens, budget, cap)
        extra = self.extra(setting, model, rows)
        return ChatData(rows, schedule, self.micro_tokens, self.shares(model, setting), extra)

    def rows(self, setting: Setting, role: str) -> Rows:
        """Return the encoded rows of a role. Raises InputError for a missing role or rows that all are unfit."""
        if role not in setting.inputs:
            there = ", ".join(sorted(setting.inputs)) or "none"
            raise InputError(f"this stage needs `{role}` as input; it has {there}")
        artifact = setting.inputs[role]
        files = artifact.files("rows")
        if not files:
            raise InputError(f"{artifact.path} holds no rows/*.parquet to read {role} from")
        limits = Limits(min(self.context or setting.context, setting.context), self.too_long == "truncate")
        kind = role.removeprefix("held_out_")
        encoder = ChatEncoder(setting.tokenizer)
        return encoded_rows(kind, files, encoder, limits, setting.cache, artifact.manifest.key)

    def shares(self, model: PreTrainedModel, setting: Setting) -> bool:
        """Return whether rows may share a bin: the model's attention takes our mask, and the delta allows it."""
        delta = make(Delta, self.delta) if self.delta is not None else None
        return takes_block_mask(model, setting.context) and (delta is None or delta.shares_bins)

    def extra(self, setting: Setting, model: PreTrainedModel, rows: Rows) -> dict[str, np.ndarray]:
        """Return what the loss needs beside the tokens, by name, one line per row of `rows`."""
        return {}

    def evaluate(self, model: PreTrainedModel, setting: Setting, out: Path) -> Evaluation:
        """Score what is held out: `scores.parquet` for conversations, `preferences.parquet` for preferences."""
        totals: dict[str, dict[str, float]] = {}
        metrics: dict[str, float] = {}
        share = self.shares(model, setting)
        if "held_out_conversations" in setting.inputs:
            rows = self.rows(setting, "held_out_conversations")
            totals, found = score_conversations(model, rows, self.micro_tokens, share, out / "scores.parquet")
            metrics |= found
        if "held_out_preferences" in setting.inputs:
            rows = self.rows(setting, "held_out_preferences")
            metrics |= self.judge(model, setting, rows, share, out / "preferences.parquet")
        return Evaluation(totals, metrics)

    @abstractmethod
    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, float]:
        """Score held-out preferences pair by pair into `path`; return the headline figures."""


class ChatData(Data):
    """Batches of encoded rows; see trainer.data.row_schedule for which, trainer.data.packing for how."""

    def __init__(
        self,
        rows: Rows,
        schedule: RowSchedule,
        micro_tokens: int | None,
        share: bool,
        extra: dict[str, np.ndarray],
    ):
        self.rows, self.schedule, self.micro_tokens, self.share, self.extra = rows, schedule, micro_tokens, share, extra
        self.steps = schedule.steps
        self.window = float(np.average(rows.lengths, weights=rows.lengths))  # as seen by a token, not by a row

    def batch(self, step: int) -> list[Batch]:
        """Return the micro-batches of an optimiser step."""
        parts = self.schedule.parts(step)
        rows = [_first_targets(self.rows[part.row], part.targets) for part in parts]
        numbers = [part.row for part in parts]
        return list(batches(self.rows, numbers, rows, self.micro_tokens, self.share, self.extra))

    def realised(self) -> list[dict[str, Any]]:
        """Return what the stage trains on, by source: learnt tokens, bytes of answers, rows, epochs."""
        uses = self.schedule.uses()
        sources = np.asarray(self.rows.sources.to_pylist(), dtype=object)
        out = []
        for source in sorted(set(sources.tolist())):
            mine = sources == source
            tokens, seen = self.rows.targets[mine].astype(np.int64), uses[mine]
            out.append(
                {
                    "domain": source,
                    "source": source,
                    "tokens": int((tokens * seen).sum()),
                    "bytes": int((self.rows.bytes[mine].astype(np.int64) * seen).sum()),
                    "documents": int((seen > 0).sum()),
                    "epochs": float((tokens * seen).sum() / tokens.sum()),
                }
            )
        return out


def takes_block_mask(model: PreTrainedModel, context: int) -> bool:
    """Return whether one mask for all layers is what the model would do: full attention, or windows never reached."""
    config = model.config.get_text_config()
    if config.is_encoder_decoder or not getattr(model, "_supports_sdpa", False):
        return False
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if window is not None and window < context and not getattr(config, "layer_types", None):
        return False  # an architecture that does not say which of its layers have the window
    return kinds <= {"full_attention"} | ({"sliding_attention"} if window is not None and window >= context else set())


def _first_targets(row: Row, targets: int) -> Row:
    """Return the row with only its first `targets` learnt tokens learnt, cut after the last of them."""
    if row.branch[-1] or targets >= int(row.target.sum()):
        return row
    end = int(np.flatnonzero(row.target)[targets - 1]) + 1
    return Row(row.ids[:end], row.target[:end], row.branch[:end])
