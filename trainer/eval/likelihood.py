"""How likely a causal language model finds texts, token by token: in nats, and whether it finds a token the likeliest.

Rows go through the model in batches of similar length, and the head sees only the positions that are scored. Answers to
one question share its prompt: it is processed once, with a mask that keeps the answers apart, where this saves enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from windtunnel.schemas.model_delta import carried
from windtunnel.trainer.data.encoder import open_encoder
from windtunnel.trainer.data.packing import Packed, Row, micro_batches, pack, tensors
from windtunnel.trainer.losses.target_logps import target_scores
from windtunnel.trainer.models._model import positions_of
from windtunnel.trainer.modules.heads import takes_block_mask
from windtunnel.trainer.tasks._evaluation import Pieces

BATCH_TOKENS = 2048  # of a pass: more leave the cache
LONGEST = 2048  # tokens of context where the model names no number of positions
WORTH = 0.6  # share of the tokens up to which a shared prompt pays for attention with a mask
MOST_ANSWERS = 255  # of one row


class Tokens(NamedTuple):
    """The scored tokens of a sequence."""

    nats: np.ndarray  # float64 [tokens]
    hits: np.ndarray  # bool [tokens], the model finds no other token likelier


NOTHING = Tokens(np.empty(0), np.empty(0, bool))


class TextScorer:
    """A model and its tokenizer, for texts as they stand: no template, and special tokens are ordinary text.

    A text begins with the token that the tokenizer puts before texts, or with end-of-text.
    """

    def __init__(self, path: Path, model: Any, batch_tokens: int) -> None:
        self.model, self.batch_tokens = model, batch_tokens
        self.encoder = open_encoder(path)
        prefix = self.encoder.backend.encode("", add_special_tokens=True).ids
        self.start = prefix[0] if prefix else self.encoder.end_of_text
        self.context = min(positions_of(model) or LONGEST, LONGEST)

    def ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the token ids of texts, without the token that begins them."""
        return list(self.encoder.encode(texts))

    def pieces(self, contexts: Sequence[Sequence[str]], texts: Sequence[Sequence[str]]) -> list[Pieces]:
        """Return the scores of the pieces of each text after its context, in pieces, too.

        Pieces are encoded one by one, so that equal ones have equal tokens wherever they stand. A context that does not
        fit is cut on the left, a text that does not is scored in windows.
        """
        words = list(dict.fromkeys(piece for parts in (*contexts, *texts) for piece in parts))
        ids = dict(zip(words, self.ids(words), strict=True))
        before = [_joined([ids[piece] for piece in parts]) for parts in contexts]
        after = [_joined([ids[piece] for piece in parts]) for parts in texts]
        out = []
        for one, parts, context, text in zip(self.scores(before, after), texts, before, after, strict=True):
            cut = len(context) > 0 and len(context) + len(text) > self.context
            out.append(_by_piece(one, [len(ids[piece]) for piece in parts], cut))
        return out

    def scores(self, prompts: Sequence[np.ndarray], answers: Sequence[np.ndarray]) -> list[Tokens]:
        """Return the scores of each answer's tokens after its prompt."""
        return answer_scores(self.model, prompts, answers, self.start, self.context, self.batch_tokens)


def answer_scores(
    model: Any,
    prompts: Sequence[np.ndarray],
    answers: Sequence[np.ndarray],
    start: int,
    context: int,
    batch_tokens: int = BATCH_TOKENS,
) -> list[Tokens]:
    """Return the scores of the tokens of each answer, which follows the token `start` and its prompt.

    Equal prompts in a row are processed once. A prompt that does not fit the context is cut on the left; an answer that
    does not is scored in consecutive windows, each of which begins with the last token of the one before.
    """
    shares = carried(model) is None and takes_block_mask(model, context)
    rows: list[Row] = []
    parts: list[int] = []  # sequences of each answer
    for first, last in _runs(prompts):
        row = _shared(start, prompts[first], answers[first:last], context) if shares else None
        if row is not None:
            rows.append(row)
            parts += [1] * (last - first)
            continue
        for k in range(first, last):
            windows = list(_windows(start, prompts[k], answers[k], context))
            rows += windows
            parts.append(len(windows))
    found = score_rows(model, rows, batch_tokens)
    ends = np.cumsum([0, *parts]).tolist()
    return [_concatenated(found[a:b]) for a, b in pairwise(ends)]


def _shared(start: int, prompt: np.ndarray, answers: Sequence[np.ndarray], context: int) -> Row | None:
    """Return one row of a prompt with several answers, or None where it does not fit or does not pay."""
    sizes, before = [len(answer) for answer in answers], len(prompt) + 1
    if not (2 <= len(sizes) <= MOST_ANSWERS and min(sizes) and before + max(sizes) <= context):
        return None
    if before + sum(sizes) > WORTH * (len(sizes) * before + sum(sizes)):
        return None
    branch = np.repeat(np.arange(len(sizes) + 1), [before, *sizes]).astype(np.uint8)
    return Row(np.concatenate([[start], prompt, *answers]), branch > 0, branch)


def score_rows(model: Any, rows: Sequence[Row], batch_tokens: int) -> list[Tokens]:
    """Return the scores of the targets of each sequence: rows in order, then the answers of a row."""
    counts = [max(1, int(row.branch[-1])) for row in rows]
    first = np.cumsum([0, *counts])
    out = [NOTHING] * int(first[-1])
    with torch.inference_mode():
        for shared in (False, True):
            chosen = [k for k, row in enumerate(rows) if bool(row.branch[-1]) is shared]
            for group in micro_batches([len(rows[k].ids) for k in chosen], batch_tokens):
                numbers = [chosen[k] for k in group]
                batch = pack([rows[k] for k in numbers], 0, one_per_bin=True)
                batch = batch if shared else _without_last(batch)
                nats, hits = (values.cpu().numpy() for values in target_scores(model, tensors(batch)))
                owners = np.concatenate([np.arange(first[k], first[k + 1]) for k in numbers])
                ends = np.cumsum(np.bincount(batch.owners, minlength=len(owners)))[:-1]
                for owner, one, hit in zip(owners, np.split(nats, ends), np.split(hits, ends), strict=True):
                    out[owner] = Tokens(one.astype(np.float64), hit)
    return out


def _without_last(batch: Packed) -> Packed:
    """Return plain rows without the last column, which predicts nothing; there may be no position for it."""
    width = batch.ids.shape[1]
    return batch._replace(ids=batch.ids[:, :-1], sources=batch.sources - batch.sources // width)


def _windows(start: int, prompt: np.ndarray, answer: np.ndarray, context: int) -> Iterator[Row]:
    """Yield rows in which every token of the answer is a target once."""
    if not len(answer):
        return
    before = np.concatenate([[start], prompt])[-(max(0, context - len(answer)) + 1) :]
    stream = np.concatenate([before, answer])
    for first in range(0, len(stream) - 1, context):
        ids = stream[first : first + context + 1]
        target = np.arange(first, first + len(ids)) >= len(before)
        target[0] = False
        yield Row(ids, target, np.zeros(len(ids), np.uint8))


def _runs(prompts: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) of runs of equal prompts."""
    first = 0
    for k in range(1, len(prompts) + 1):
        if k == len(prompts) or not np.array_equal(prompts[k], prompts[first]):
            yield first, k
            first = k


def _by_piece(tokens: Tokens, sizes: Sequence[int], cut: bool) -> Pieces:
    ends = np.cumsum(sizes)[:-1]
    nats = [float(part.sum()) for part in np.split(tokens.nats, ends)]
    hits = [int(part.sum()) for part in np.split(tokens.hits, ends)]
    return Pieces(np.array(nats), np.array(sizes), np.array(hits), cut)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _concatenated(parts: Sequence[Tokens]) -> Tokens:
    if not parts:
        return NOTHING
    return parts[0] if len(parts) == 1 else Tokens(*(np.concatenate(values) for values in zip(*parts, strict=True)))
