"""Whether a chat template can be trained on rows, from a sample of them, before anything is paid for."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import escaped, printable
from windtunnel.trainer.data.chat import ChatEncoder, prepare
from windtunnel.trainer.data.chat_errors import ChatError, mend
from windtunnel.trainer.data.chat_frame import ANSWER, CALL, RESULT, SYSTEM, TOOL, USER
from windtunnel.trainer.data.row_encoders import ENCODERS, Limits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PROBES: dict[str, tuple[list[dict[str, Any]], list[Any] | None]] = {
    "questions": ([USER, ANSWER], None),
    "system turns": ([SYSTEM, USER, ANSWER], None),
    "several rounds": ([USER, ANSWER, USER, ANSWER], None),
    "tools": ([USER, CALL, RESULT, ANSWER], [TOOL]),
    "reasoning": ([USER, {**ANSWER, "reasoning_content": "It fits."}], None),
}


class Refusal(BaseModel):
    """Why rows are refused: how many of the sample, the first one's id and detail, and what mends it."""

    model_config = ConfigDict(frozen=True)

    reason: str
    rows: int
    first_id: str
    detail: str
    mend: str


class TemplateCheck(BaseModel):
    """What a template can be trained on (`abilities`: by kind of conversation), and what it refuses of a sample."""

    model_config = ConfigDict(frozen=True)

    checked: int
    refusals: list[Refusal]  # most rows first
    abilities: dict[str, bool]
    problem: str | None = None  # of the template or the tokenizer itself: nothing can be trained

    @property
    def refused(self) -> int:
        """The number of refused rows."""
        return sum(refusal.rows for refusal in self.refusals)

    @property
    def share_refused(self) -> float:
        """The share of the sample that is refused, 0 for an empty one, 1 if the template itself has a problem."""
        return 1.0 if self.problem else self.refused / self.checked if self.checked else 0.0

    @property
    def counts(self) -> dict[str, int]:
        """The refused rows by reason."""
        return {refusal.reason: refusal.rows for refusal in self.refusals}


def check_template(
    tokenizer: PreTrainedTokenizerFast, rows: Iterable[Mapping[str, Any]], kind: str, limits: Limits
) -> TemplateCheck:
    """Return what the tokenizer's template refuses of rows of a kind (`conversations` or `preferences`).

    The tokenizer gets no template if it has one, and is not changed otherwise either; set the recipe's choice before
    (chat_choice). Raises nothing for rows and templates, however bad.
    """
    try:
        tokenizer = copy.copy(tokenizer)
        prepare(tokenizer)
        encoder = ChatEncoder(tokenizer)
        abilities = {name: _learns(encoder, messages, tools) for name, (messages, tools) in PROBES.items()}
        counts, first, checked = Counter[str](), dict[str, tuple[str, str]](), 0
        for row in rows:
            checked += 1
            try:
                ENCODERS[kind](encoder, limits, row)
            except ChatError as error:
                counts[error.reason] += 1
                first.setdefault(error.reason, (escaped(row.get("id")), printable(error.detail)))
    except InputError as error:
        return TemplateCheck(checked=0, refusals=[], abilities={}, problem=str(error))
    refusals = [
        Refusal(reason=reason, rows=n, first_id=first[reason][0], detail=first[reason][1], mend=mend(reason))
        for reason, n in counts.most_common()
    ]
    return TemplateCheck(checked=checked, refusals=refusals, abilities=abilities)


def _learns(encoder: ChatEncoder, messages: list[dict[str, Any]], tools: list[Any] | None) -> bool:
    try:
        encoder.encode(messages, tools=tools)
    except ChatError:
        return False
    return True
