"""What each kind of row is as token ids: conversations, preferences, labelled answers, prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from windtunnel.schemas.turns import tools, turns
from windtunnel.trainer.data.chat import ChatEncoder, Encoded
from windtunnel.trainer.data.chat_check import conversation_problem, preference_problem, turns_problem
from windtunnel.trainer.data.chat_errors import ChatError
from windtunnel.trainer.data.packing import Row


class EncodedRow(NamedTuple):
    """An encoded row, ready to be written."""

    row: Row
    bytes: int
    bytes_rejected: int = 0
    margin: float | None = None
    desirable: bool | None = None
    truncated: bool = False


class Limits(NamedTuple):
    """Limits on the length of a row."""

    context: int  # positions of the model
    truncate: bool  # truncate longer conversations to complete rounds; False: drop them


def encode_conversation(encoder: ChatEncoder, limits: Limits, record: Mapping[str, Any]) -> EncodedRow:
    """Encode a row of windtunnel.schemas.records.CONVERSATION. Raises ChatError with the drop reason."""
    messages, callable_tools = turns(record), tools(record)
    if record.get("label") is False:
        raise ChatError("undesirable_answer")
    if problem := conversation_problem(messages):
        raise ChatError(problem)
    encoded = whole = encoder.encode(messages, tools=callable_tools)
    fitting = _ends(whole, limits.context) if len(whole.ids) > limits.context else len(whole.turns)
    while len(encoded.ids) > limits.context:
        if not limits.truncate or not fitting:
            raise ChatError("too_long")
        # encoded again, because templates write a last turn in another way than an earlier one
        fitting -= 1
        encoded = encoder.encode(messages[: whole.turns[fitting].message + 1], tools=callable_tools)
    size = sum(turn.bytes for turn in encoded.turns)
    return EncodedRow(Row.of(encoded.ids, encoded.target), size, truncated=encoded is not whole)


def _ends(encoded: Encoded, context: int) -> int:
    """Return how many learnt turns end within the first `context` tokens."""
    target = np.append(np.asarray(encoded.target), False)
    ends = np.flatnonzero(target[:-1] & ~target[1:]) + 1
    return min(int((ends <= context).sum()), len(encoded.turns) - 1)


def encode_preference(encoder: ChatEncoder, limits: Limits, record: Mapping[str, Any]) -> EncodedRow:
    """Encode a row of windtunnel.schemas.records.PREFERENCE: the shared prompt, then both answers. Raises ChatError."""
    if problem := preference_problem(record):
        raise ChatError(problem)
    prompt, callable_tools = turns(record, "prompt"), tools(record)
    conversations = [[*prompt, *turns(record, column)] for column in ("chosen", "rejected")]
    encoded = [encoder.encode(messages, len(prompt), callable_tools) for messages in conversations]
    shared = min(e.target.index(True) for e in encoded)
    same = np.asarray(encoded[0].ids[:shared]) == np.asarray(encoded[1].ids[:shared])
    shared = shared if same.all() else int(np.argmin(same))
    if not shared:
        raise ChatError("no_prompt", "the answers share no token")
    if max(len(e.ids) for e in encoded) > limits.context:
        raise ChatError("too_long")
    if encoded[0].ids == encoded[1].ids:  # templates strip spaces
        raise ChatError("chosen_equals_rejected", "the template writes both answers alike")
    tails = [len(e.ids) - shared for e in encoded]
    ids = encoded[0].ids + encoded[1].ids[shared:]
    target = encoded[0].target + encoded[1].target[shared:]
    branch = np.repeat(np.array([0, 1, 2], np.uint8), [shared, *tails])
    sizes = [sum(turn.bytes for turn in e.turns) for e in encoded]
    ratings = record.get("rating_chosen"), record.get("rating_rejected")
    margin = None if ratings[0] is None or ratings[1] is None else float(ratings[0] - ratings[1])
    return EncodedRow(Row(np.asarray(ids), np.asarray(target), branch), sum(sizes), sizes[1], margin)


def encode_prompt(encoder: ChatEncoder, limits: Limits, record: Mapping[str, Any]) -> EncodedRow:
    """Encode the prompt of a row of CONVERSATION: what stands before its last answer, no target. Raises ChatError."""
    messages, _ = without_answer(turns(record))
    if not messages:
        raise ChatError("no_messages")
    if problem := turns_problem(messages):
        raise ChatError(problem)
    if messages[-1]["role"] not in ("user", "tool"):
        raise ChatError("role_order")
    ids = encoder.prompt_ids(messages, tools=tools(record))
    if len(ids) > limits.context:
        raise ChatError("too_long")
    return EncodedRow(Row.of(ids, [False] * len(ids)), 0)


def encode_answered_prompt(encoder: ChatEncoder, limits: Limits, record: Mapping[str, Any]) -> EncodedRow:
    """Encode the prompt of a row whose answer is what replies are compared with. Raises ChatError."""
    if record.get("label") is False:
        raise ChatError("undesirable_answer")
    return encode_prompt(encoder, limits, record)


def without_answer(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str | None]:
    """Return what stands before the last answer, and that answer; None where the row ends with a question."""
    if messages and messages[-1]["role"] == "assistant":
        return messages[:-1], str(messages[-1]["content"] or "")
    return messages, None


def encode_unpaired(encoder: ChatEncoder, limits: Limits, record: Mapping[str, Any]) -> EncodedRow:
    """Encode a row of OWN_CONVERSATION for its `label`: only its last answer is learnt. Raises ChatError."""
    messages = turns(record)
    if record.get("label") is None:
        raise ChatError("no_label")
    if problem := conversation_problem(messages):
        raise ChatError(problem)
    if messages[-1]["role"] != "assistant":
        raise ChatError("no_last_answer")
    encoded = encoder.encode(messages, len(messages) - 1, tools(record))
    if len(encoded.ids) > limits.context:
        raise ChatError("too_long")
    # a branch like that of a chosen answer: such rows are never cut, and their prompts can be told from the answers
    branch = np.zeros(len(encoded.ids), np.uint8)
    branch[encoded.target.index(True) :] = 1
    row = Row(np.asarray(encoded.ids), np.asarray(encoded.target), branch)
    return EncodedRow(row, sum(turn.bytes for turn in encoded.turns), desirable=record["label"])


ENCODERS = {
    "conversations": encode_conversation,
    "preferences": encode_preference,
    "unpaired": encode_unpaired,
    "prompts": encode_prompt,
    "answered_prompts": encode_answered_prompt,
}
