"""Questions in pieces of text, scored by likelihood as they stand: what has no prompt and needs no reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from windtunnel.trainer.tasks._choice_scores import choice_scores
from windtunnel.trainer.tasks._evaluation import Asker, Measured, Pieces, Row, not_asked


class Made(NamedTuple):
    """A context, and texts of which the first is right, all in pieces that are encoded one by one.

    With one text, the question is whether the model finds its tokens the likeliest.
    """

    id: str
    context: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    part: str = ""
    group: str = ""
    chance: float | None = None  # of a single text; that of a choice follows from its texts


def measured(items: Sequence[Made], asker: Asker) -> Measured:
    """Return the outcomes of items; those whose context the model has no room for are counted as `too_long`."""
    flat = [(item.context, text) for item in items for text in item.texts]
    found = asker.pieces([context for context, _ in flat], [text for _, text in flat])
    rows, place, cut = [], 0, []
    for item in items:
        parts = found[place : place + len(item.texts)]
        place += len(item.texts)
        if any(part.cut for part in parts):
            cut.append((item.part, "too_long"))
        else:
            rows.append(_row(item, parts))
    return Measured(rows, not_asked(cut))


def _row(item: Made, parts: Sequence[Pieces]) -> Row:
    texts, right = ["".join(text) for text in item.texts], parts[0]
    nats = np.array([part.nats.sum() for part in parts])
    sizes = np.array([len(text.encode()) for text in texts])
    exact = right.hits == right.tokens
    metrics = {"exact": float(exact.mean()), "token_accuracy": float(right.hits.sum() / right.tokens.sum())}
    if len(texts) == 1:
        correct, chance, chances = metrics["exact"], item.chance, {"exact": item.chance}
    else:
        scores, chance = choice_scores(nats, sizes, 0), 1 / len(texts)
        correct, chances = scores["acc"], dict.fromkeys(scores, chance)
        metrics = scores | metrics
    return Row(
        id=item.id,
        prompt="".join(item.context),
        answer=texts[0],
        reply=texts[int(nats.argmin())] if len(texts) > 1 else "",
        correct=correct,
        group=item.group,
        bytes=int(sizes[0]),
        nats=float(nats[0]),
        metrics=metrics,
        chance=chance,
        chances={name: value for name, value in chances.items() if value is not None},
        tokens=int(right.tokens.sum()),
        part=item.part,
    )
