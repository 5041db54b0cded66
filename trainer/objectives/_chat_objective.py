"""The base class of objectives on chat data: encoded rows, batches by target tokens, held-out scores.

Input roles of a stage: `conversations` or `preferences` for training, `held_out_conversations` and
`held_out_preferences` for evaluation; each is an artifact with Parquet files of that schema in `rows/`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from windtunnel.schemas.artifact import canonical_json, write_text
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import carried
from windtunnel.schemas.plugin import label
from windtunnel.schemas.results import EncodedSet
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat import ChatEncoder, prepare
from windtunnel.trainer.data.chat_batches import batches
from windtunnel.trainer.data.chat_rows import Limits, Rows, encoded_rows
from windtunnel.trainer.data.packing import Row
from windtunnel.trainer.data.row_schedule import RowSchedule
from windtunnel.trainer.eval.chat_evaluate import score_conversations
from windtunnel.trainer.modules.heads import takes_block_mask
from windtunnel.trainer.objectives._objective import FORWARD_TOKENS, Data, Evaluation, Objective, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ENCODED = "encoded.json"  # what became of the rows of a stage


REFERENCE = "reference"  # log-probabilities of the initial model, which reads every row once before the first step


class ChatObjective(Objective, ABC):
    """An objective on conversations or preferences; `batch_tokens` and `budget` count target tokens only."""

    kind: ClassVar = "conversations"

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.kind == "tokens":
            raise TypeError(
                f"{cls.__name__} is a ChatObjective, which learns from conversations or preferences, and its `kind` is "
                "'tokens': for a mix of corpora derive from windtunnel.trainer.objectives.causal_lm.CausalLM"
            )

    micro_tokens: int | None = Field(4096, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    budget: int | None = Field(None, gt=0)  # target tokens of the whole stage; None: `epochs` passes over the data
    epochs: float = Field(1.0, gt=0)  # passes over the data if no budget is given
    max_epochs: float = Field(4.0, gt=0)  # limit for a given budget
    context: int | None = Field(None, gt=1)  # maximum row length in tokens; None: the model's positions
    sets: list[str] | None = Field(None, min_length=1)  # of the mix, to learn from; None: all
    too_long: Literal["drop", "truncate"] = "drop"  # truncate: keep the rounds of a conversation that fit

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        """Encode the rows, unless cached, check the budget, and return the stage's batches."""
        prepare(setting.tokenizer, model)
        rows = self.rows(setting, self.kind)
        extra = self.extra(setting, model, rows)
        return ChatData(rows, self.schedule(rows, setting), self.micro_tokens, self.shares(model, setting), extra)

    def schedule(self, rows: Rows, setting: Setting) -> RowSchedule:
        """Return which rows every step takes. Raises InputError for a budget beyond the rows."""
        weights = rows.targets.astype(np.int64)
        budget = self.budget or max(1, round(self.epochs * int(weights.sum())))
        cap = self.max_epochs if self.budget else math.inf  # a given number of epochs is not limited
        return RowSchedule(rows.keys, weights, rows.strata, setting.seed, self.batch_tokens, budget, cap)

    def rows(self, setting: Setting, role: str) -> Rows:
        """Return the encoded rows of a role. Raises InputError for a missing role or if all rows are dropped."""
        if role not in setting.inputs:
            raise InputError(
                f"this stage needs `{role}` as input; it has {', '.join(sorted(setting.inputs)) or 'none'}"
            )
        artifact = setting.inputs[role]
        files = artifact.files("rows")
        if not files:
            raise InputError(f"{artifact.path} has no rows/*.parquet to read {role} from")
        rows = self.encoded_as(self.encoding(role), files, self.limits(setting), setting, artifact.manifest.key)
        return Rows(rows.path, self.sets) if self.sets and role == self.kind else rows

    def reads(self, name: str) -> bool:
        """Return whether the stage learns from the rows of a set, where a mix holds them."""
        return not self.sets or name in self.sets

    def encoding(self, role: str) -> str:
        """Return how the rows of a role are encoded, a key of windtunnel.trainer.data.row_encoders.ENCODERS."""
        return role.removeprefix("held_out_")

    def encoded_as(self, kind: str, files: list[Path], limits: Limits, setting: Setting, content: str) -> Rows:
        """Return the encoded rows of files; by default by the tokenizer's chat template."""
        return encoded_rows(kind, files, ChatEncoder(setting.tokenizer), limits, setting.cache, content)

    def limits(self, setting: Setting) -> Limits:
        """Return the limits on the length of a row."""
        return Limits(min(self.context or setting.context, setting.context), self.too_long == "truncate")

    def shares(self, model: PreTrainedModel, setting: Setting) -> bool:
        """Return whether rows may be packed: the model supports the block mask, and its deltas allow packing."""
        earlier = carried(model)
        deltas = [*self.deltas(), *([earlier.delta] if earlier else [])]
        return takes_block_mask(model, setting.context) and all(delta.shares_bins for delta in deltas)

    def extra(self, setting: Setting, model: PreTrainedModel, rows: Rows) -> dict[str, np.ndarray]:
        """Return further inputs of the loss by name, with one entry per row of `rows`."""
        return {}

    def evaluate(self, model: PreTrainedModel, setting: Setting, out: Path) -> Evaluation:
        """Score held-out conversations into `scores.parquet` and preferences into `preferences.parquet`."""
        totals: dict[str, dict[str, float]] = {}
        metrics: dict[str, float] = {}
        share = self.shares(model, setting)
        if "held_out_conversations" in setting.inputs:
            rows = self.rows(setting, "held_out_conversations")
            totals, metrics = score_conversations(model, rows, self.micro_tokens, share, out / "scores.parquet")
        if "held_out_preferences" in setting.inputs:
            rows = self.rows(setting, "held_out_preferences")
            metrics |= self.judge(model, setting, rows, share, out / "preferences.parquet")
        write_text(out / ENCODED, canonical_json(self.encoded(setting)))
        return Evaluation(totals, metrics)

    def encoded(self, setting: Setting) -> list[dict[str, Any]]:
        """Return what became of the rows that the stage has read, as JSON values of EncodedSet."""
        roles = [self.kind, "held_out_conversations", "held_out_preferences"]
        read = [role for role in dict.fromkeys(roles) if role in setting.inputs]
        return [part.model_dump() for role in read for part in self._encoded(setting, role)]

    def _encoded(self, setting: Setting, role: str) -> list[EncodedSet]:
        return self.rows(setting, role).encoded(role, label(self) if role == self.kind else "")

    @abstractmethod
    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, float]:
        """Write the scores of held-out preference pairs to `path`; return the mean metrics."""


class ChatData(Data):
    """Batches of encoded rows, selected by trainer.data.row_schedule and packed by trainer.data.packing."""

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
        self.window = float(np.average(rows.lengths, weights=rows.lengths))  # mean over tokens, not over rows

    def batch(self, step: int) -> list[Batch]:
        """Return the micro-batches of an optimiser step."""
        parts = self.schedule.parts(step)
        rows = [_first_targets(self.rows[part.row], part.targets) for part in parts]
        numbers = [part.row for part in parts]
        return list(batches(self.rows, numbers, rows, self.micro_tokens, self.share, self.extra))

    def facts(self, step: int) -> dict[str, float]:
        """Return the tokens that went through a further model, or the reference before the first step."""
        if not self.read_further and REFERENCE not in self.extra:
            return {}
        further = self.read_further * sum(int(self.rows.lengths[p.row]) for p in self.schedule.parts(step))
        first = int(self.rows.lengths.sum(dtype=np.int64)) if REFERENCE in self.extra and step == 0 else 0
        return {FORWARD_TOKENS: further + first}

    def realised(self) -> list[dict[str, Any]]:
        """Return target tokens, bytes of answers, rows and epochs of the stage by source."""
        uses = self.schedule.uses()
        sources = np.asarray(self.rows.sources.to_pylist(), dtype=object)
        out = []
        for source in sorted(set(sources.tolist())):
            where = sources == source
            tokens, repeats = self.rows.targets[where].astype(np.int64), uses[where]
            out.append(
                {
                    "domain": source,
                    "source": source,
                    "tokens": int((tokens * repeats).sum()),
                    "bytes": int((self.rows.bytes[where].astype(np.int64) * repeats).sum()),
                    "documents": int((repeats > 0).sum()),
                    "epochs": float((tokens * repeats).sum() / tokens.sum()),
                }
            )
        return out


def _first_targets(row: Row, targets: int) -> Row:
    """Return the row truncated after its first `targets` target tokens; rows with answer branches are unchanged."""
    if row.branch[-1] or targets >= int(row.target.sum()):
        return row
    end = int(np.flatnonzero(row.target)[targets - 1]) + 1
    return Row(row.ids[:end], row.target[:end], row.branch[:end])
