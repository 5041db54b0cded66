"""Members of UltraFeedback's pool, and the table `responses/` with every answer and its ratings."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.judging import judged
from windtunnel.schemas.artifact import canonical_json

OK = "ok"  # status of a usable answer
RESPONSE = pa.schema(
    [
        pa.field("prompt", pa.string(), nullable=False),  # id of the prompt
        pa.field("member", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("principle", pa.string()),
        pa.field("draw", pa.int32(), nullable=False),  # above 0: a further answer of the same member
        pa.field("status", pa.string(), nullable=False),  # ok or an error code such as context_too_long
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("ratings", pa.string(), nullable=False),  # JSON: aspect -> number or status per order
        pa.field("overall", pa.float64()),
        pa.field("score", pa.float64()),
        pa.field("score_status", pa.string(), nullable=False),
        pa.field("feedback", pa.large_string(), nullable=False),
    ]
)


class Member(BaseModel):
    """A member of the pool: a model with its decoding and, optionally, its own principle."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    model: str
    name: str = ""
    principle: str | None = None
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    family: str | None = None  # models of one family do not judge each other; default: the model's name

    @property
    def label(self) -> str:
        """The name in rows."""
        return self.name or self.model


def status_of(reply: Completion) -> str:
    """Return `ok`, or the error code of an answer."""
    if not reply.ok:
        return str(reply.error)
    return OK if reply.text.strip() else "empty_reply"


def response(prompt: str, member: Member, principle: str, draw: int, status: str, reply: Completion) -> dict[str, Any]:
    """Return the row of an answer before it is judged; `prompt` is the id of its prompt."""
    return {
        "prompt": prompt, "member": member.label, "model": member.model, "principle": principle, "draw": draw,
        "status": status,
        "text": reply.text.strip().encode("utf-8", "replace").decode("utf-8"),  # a failed reply may be broken text
        "truncated": reply.truncated, "ratings": "{}", "overall": None, "score": None,
        "score_status": "not_applicable", "feedback": "",
    }  # fmt: skip


def judgement(answer: judged.Answer) -> dict[str, Any]:
    """Return the fields of an answer's row that the judge decides."""
    return {
        "ratings": canonical_json({a: [r.value or r.status for r in rs] for a, rs in answer.aspects.items()}),
        "overall": answer.overall,
        "score": answer.critique.value,
        "score_status": answer.critique.status,
        "feedback": answer.critique.rationale,
    }
