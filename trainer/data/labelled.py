"""Labelled rows: conversations whose last turn is the label of what stands before it, one of a small closed set.

A row is encoded as its text, framed as the model reads it, and behind it the tokens of the label as targets. Labels are
those of the training rows; the rows of a source are one task, whose labels are those that the source has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from blake3 import blake3

from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.turns import turns
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_check import conversation_problem
from windtunnel.trainer.data.chat_errors import ChatError
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.data.packing import Row, micro_batches
from windtunnel.trainer.data.row_encoders import EncodedRow, Limits

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

MOST = 256  # labels of a closed set


class Frame(NamedTuple):
    """Token ids around a text: before it, behind it, and behind the label."""

    before: list[int]
    behind: list[int]
    end: Sequence[int] = ()


class LabelEncoder:
    """Encodes the text of a row in its frame, and its label; special tokens in either are ordinary characters."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, frame: Frame) -> None:
        self.frame, self._backend = frame, plain_backend(tokenizer)

    @property
    def key(self) -> str:
        """Return a hash of what determines the encoder's output."""
        parts = {"labelled": self._backend.to_str(), "frame": self.frame}
        return blake3(canonical_json(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text without a frame. Raises ChatError for one that has no UTF-8 encoding."""
        try:
            return self._backend.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError) as error:
            raise ChatError("not_unicode", str(error)) from error

    def text(self, ids: Iterable[int]) -> str:
        """Return the text of token ids without special tokens."""
        return self._backend.decode([int(k) for k in ids], skip_special_tokens=True)


def plain_backend(tokenizer: Any) -> Any:
    """Return a copy of a tokenizer's backend that frames no text, and encodes special tokens as ordinary characters."""
    from tokenizers import Tokenizer

    content = json.loads(tokenizer.backend_tokenizer.to_str()) | {"post_processor": None}
    backend = Tokenizer.from_str(json.dumps(content))
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True
    return backend


def encode_labelled(encoder: LabelEncoder, limits: Limits, record: Mapping[str, Any]) -> EncodedRow:
    """Encode a row of windtunnel.schemas.records.CONVERSATION. Raises ChatError with the drop reason.

    The text is what all turns but the last say, in lines; of a longer one than fits its beginning is kept, or nothing.
    """
    text, label = text_and_label(record)
    before, behind, end = encoder.frame
    ids, room = encoder.ids(text), limits.context - len(before) - len(behind)
    if (cut := len(ids) > room) and (not limits.truncate or room < 1):
        raise ChatError("too_long")
    answer = [*encoder.ids(label), *end]
    whole = [*before, *ids[:room], *behind]
    target = np.arange(len(whole) + len(answer)) >= len(whole)
    row = Row(np.asarray([*whole, *answer]), target, np.zeros(len(target), np.uint8))
    return EncodedRow(row, len(label.encode()), truncated=cut)


def text_and_label(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return what all turns but the last say, in lines, and what the last one says. Raises ChatError."""
    messages = turns(record)
    if record.get("label") is False:
        raise ChatError("undesirable_answer")
    if problem := conversation_problem(messages):
        raise ChatError(problem)
    if messages[-1]["role"] != "assistant":
        raise ChatError("no_assistant_turn", "the last turn is not the assistant's")
    return "\n".join(turn["content"] for turn in messages[:-1]), messages[-1]["content"].strip()


class Labels:
    """The labels of training rows, sorted, and which of them each source has."""

    def __init__(self, rows: Rows, encoder: LabelEncoder) -> None:
        ends, sources = len(encoder.frame.end), rows.sources.to_pylist()
        tokens = [label_ids(rows[k]) for k in range(len(rows))]
        texts = {ids: encoder.text(ids[: len(ids) - ends]) for ids in set(tokens)}
        order = sorted(texts, key=lambda ids: (texts[ids], ids))
        self.names, self.tokens = [texts[ids] for ids in order], order
        self._numbers = {ids: number for number, ids in enumerate(order)}
        by_source: dict[str, set[int]] = {}
        for source, ids in zip(sources, tokens, strict=True):
            by_source.setdefault(str(source), set()).add(self._numbers[ids])
        self._by_source = {source: sorted(numbers) for source, numbers in by_source.items()}

    def check(self) -> Labels:
        """Return the labels. Raises InputError if there are too few or too many to be a closed set."""
        if not 2 <= len(self.names) <= MOST:
            raise InputError(
                f"the training rows end with {len(self.names):,} different texts, and labels are 2 to {MOST}: give "
                "labelled rows, whose last turn is the label"
            )
        return self

    def of_source(self, source: str) -> list[int]:
        """Return the numbers of the labels that a source has in training; all of a source that is not there."""
        return self._by_source.get(source) or list(range(len(self.names)))

    def numbers(self, rows: Rows) -> np.ndarray:
        """Return the number of each row's label, int64 [rows]; -1 for one that no training row has."""
        return np.array([self._numbers.get(label_ids(rows[k]), -1) for k in range(len(rows))], np.int64)


def label_ids(row: Row) -> tuple[int, ...]:
    """Return the token ids of a row's label with what ends it."""
    return tuple(row.ids[row.target].tolist())


def text_batches(
    texts: Sequence[np.ndarray], answers: Sequence[np.ndarray], micro_tokens: int | None
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Yield (numbers, tensors) of micro-batches of texts and answers, each padded on the right.

    `input_ids` and `attended` [rows, width] are the texts and which of their tokens are no padding, `targets` and
    `scored` the same of the answers.
    """
    widths = [len(text) + len(answer) for text, answer in zip(texts, answers, strict=True)]
    for group in micro_batches(widths, micro_tokens):
        group.sort()
        ids, attended = _padded([texts[k] for k in group])
        targets, scored = _padded([answers[k] for k in group])
        yield group, {"input_ids": ids, "attended": attended, "targets": targets, "scored": scored}


def labelled_batches(
    rows: Rows, numbers: Sequence[int], classes: np.ndarray, micro_tokens: int | None
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yield (numbers of the rows, batch) of rows, with the number of each one's label as `classes` int64 [rows]."""
    import torch

    loaded = [rows[k] for k in numbers]
    texts, answers = [row.ids[~row.target] for row in loaded], [row.ids[row.target] for row in loaded]
    for group, tensors in text_batches(texts, answers, micro_tokens):
        which = np.array([numbers[k] for k in group], np.int64)
        tensors["classes"] = torch.from_numpy(classes[which])
        size = sum(len(loaded[k].ids) for k in group)
        yield which, Batch(tensors, size, [rows.ids[int(k)].as_py() for k in which])


def _padded(rows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as int64 [rows, width], padded by zeros on the right, and which tokens are theirs, bool."""
    import torch

    lengths = np.array([len(row) for row in rows])
    mask = np.arange(max(int(lengths.max(initial=0)), 1)) < lengths[:, None]
    out = np.zeros(mask.shape, np.int64)
    out[mask] = np.concatenate(rows) if len(rows) else []
    return torch.from_numpy(out), torch.from_numpy(mask)
