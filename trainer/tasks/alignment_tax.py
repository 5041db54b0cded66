"""Score documents by how likely a model still finds them after it was tuned."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import ClassVar

from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.tasks._evaluation import Asker, Evaluation, Measured, Row, Text

SHOWN = 200  # characters of a document in the table of items


class AlignmentTax(Evaluation):
    """What tuning costs on text like that of pretraining (Askell et al. 2021, arXiv 2112.00861): bits per byte.

    Up to `items` documents of the recipe's corpus, each cut to `characters`, without a chat template. Runs are compared
    by the share of tokens than which the model finds no other likelier; bits per byte stand beside it.
    """

    about: ClassVar[str] = "documents of {corpus}, by how likely their tokens are"
    needs_documents: ClassVar[bool] = True

    items: int = Field(100, ge=1)
    characters: int = Field(1000, ge=1)

    gives: ClassVar[str] = "The old mill stands beside a narrow river, and nobody has lived there since."
    gives_none: ClassVar[str] = " "

    @property
    def compared_by(self) -> str:
        return "token_accuracy"

    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Score the documents; see Evaluation."""
        keyed = (
            (blake3(d.id.encode()).digest(), d.id, d.text[: self.characters]) for d in documents() if d.text.strip()
        )
        chosen = heapq.nsmallest(self.items, keyed)
        if not chosen:
            raise InputError("no document to measure on")
        found = asker.pieces([()] * len(chosen), [(text,) for _, _, text in chosen])
        rows = []
        for (_, name, text), one in zip(chosen, found, strict=True):
            tokens, share = int(one.tokens.sum()), float(one.hits.sum() / one.tokens.sum())
            about = {"answer": text[:SHOWN], "bytes": len(text.encode()), "nats": float(one.nats.sum())}
            rows.append(
                Row(
                    id=name,
                    prompt="",
                    reply="",
                    correct=share,
                    metrics={"token_accuracy": share},
                    tokens=tokens,
                    **about,
                )
            )
        return Measured(rows, {})
