"""Any filter, formatter or extractor of datatrove as a rule: its verdict becomes columns, its rewriting an edit."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, ClassVar

import polars as pl
import pyarrow as pa
from blake3 import blake3
from pydantic import field_validator, model_validator

from windtunnel.pipelines.filters._rule import Example, Reason, Rule, when
from windtunnel.pipelines.recipe.datatrove_block import (
    Call,
    Kind,
    build,
    documents_of,
    extracted,
    filtered,
    formatted,
    kind_of,
    parse,
)
from windtunnel.schemas.errors import RecipeError

_SPAM = "datatrove.pipeline.filters.RegexFilter(regex_exp='(?i)buy now')"
_GOPHER = "datatrove.pipeline.filters.GopherQualityFilter(min_stop_words=None, min_doc_words=3, max_doc_words=9)"


class Block(Rule):
    """Drop what a datatrove filter drops, rewrite as a datatrove formatter or extractor does.

    call: the block's constructor as text, with literals as arguments; it is parsed and never evaluated, and only
    filters, formatters and extractors below `datatrove.pipeline.` are built. name: the word in columns and reasons; the
    class's name and a digest of the call by default, so that two calls never share columns. rewrites: true for filters
    that change the text as well (C4QualityFilter); one that does so unannounced is an error, since its edits would be
    lost. Filters see id and text, and as metadata url, source, lang (as `language` too) and the fields of meta, as the
    source gave them; what other rules measured, such as a language found by `language`, is not passed. A document on
    which the block raises goes as `failed`. An extractor works twice on what it keeps, the first time for the verdict,
    in a process of its own; its `timeout` goes by the clock, so give it enough for a busy machine. A block with state
    (a cycle of replacements, a random stream) starts anew in every shard. A reader is a source, `source: {block: ...}`;
    writers, tokenizers and dedup blocks have no place in a recipe. Columns: `NAME_kept`, `NAME_reason`, `NAME_error`.
    """

    primary: ClassVar[str | None] = "call"
    version: ClassVar[int] = 2
    repeatable: ClassVar[bool] = True
    reads_meta: ClassVar[bool] = True
    call: str
    name: str = ""
    rewrites: bool = False

    keeps: ClassVar[tuple[Example, ...]] = (
        Example("A quiet page.", params={"call": _SPAM}),
        Example("three words here", params={"call": _GOPHER}),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("BUY NOW and pay later", "spam", params={"call": _SPAM, "name": "spam"}),
        Example("two words", "g.gopher_short_doc", params={"call": _GOPHER, "name": "g"}),
    )

    @field_validator("name")
    @classmethod
    def _word(cls, name: str) -> str:
        if name and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name):
            raise ValueError("a block's name is made of letters, digits and '_', 40 at most")
        return name

    @model_validator(mode="after")
    def _callable(self) -> Block:
        try:
            parse(self.call)
        except RecipeError as error:
            raise ValueError(str(error)) from error
        return self

    @cached_property
    def parsed(self) -> Call:
        """The call in parts."""
        return parse(self.call)

    @cached_property
    def kind(self) -> Kind:
        """What the block is; raises RecipeError for a reader."""
        kind = kind_of(self.parsed)
        if kind == Kind.READER:
            raise RecipeError(f"{self.parsed.path} is a reader: as a source it stands in `source: {{block: ...}}`")
        return kind

    @cached_property
    def label(self) -> str:
        """The word that columns and reasons begin with."""
        return self.name or f"{self.parsed.class_name}_{blake3(repr(self.parsed).encode()).hexdigest()[:6]}"

    @cached_property
    def _block(self) -> Any:
        return build(self.parsed)

    @property
    def edits(self) -> bool:
        return self.rewrites or self.kind != Kind.FILTER

    @property
    def measures(self) -> bool:
        return self.kind != Kind.FORMATTER

    def measure_config(self) -> dict[str, Any]:
        return {"call": self.call, "name": self.name, "rewrites": self.rewrites}

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        judge = extracted if self.kind == Kind.EXTRACTOR else filtered
        outcomes = judge(self._block, documents_of(batch))
        texts = batch.column("text").to_pylist()
        if not self.edits and any(o.text != (text or "") for o, text in zip(outcomes, texts, strict=True)):
            raise RecipeError(
                f"{self.parsed.class_name} rewrites the text of what it keeps: say so, "
                "{block: {call: ..., rewrites: true}}, or its edits would be lost"
            )
        return pl.DataFrame(
            {
                f"{self.label}_kept": [outcome.kept for outcome in outcomes],
                f"{self.label}_reason": [outcome.reason for outcome in outcomes],
                f"{self.label}_error": [outcome.error for outcome in outcomes],
            },
            schema_overrides={
                f"{self.label}_kept": pl.Boolean,
                f"{self.label}_reason": pl.String,
                f"{self.label}_error": pl.String,
            },
        )

    def reasons(self) -> list[Reason]:
        if not self.measures:
            return []
        kept, why = pl.col(f"{self.label}_kept"), pl.col(f"{self.label}_reason")
        error = pl.col(f"{self.label}_error")
        return [
            *when(f"{self.label}.failed", error.is_not_null(), error),
            Reason(self.label, ~kept, kept, detail=why),
        ]

    def edit(self, batch: pa.RecordBatch) -> tuple[pa.Array, dict[str, int]]:
        documents, failed = documents_of(batch), 0
        if self.kind == Kind.FORMATTER:
            new, failed = formatted(self._block, documents)
        elif self.kind == Kind.EXTRACTOR:  # what is still here was extracted in time and without harm
            new = [self._block.extract(document.text) for document in documents]
        else:
            new = [outcome.text for outcome in filtered(self._block, documents)]
        changed = sum(a != b for a, b in zip(batch.column("text").to_pylist(), new, strict=True))
        counts = {"rewritten_documents": changed} | ({"failed_documents": failed} if failed else {})
        return pa.array(new, pa.large_string()), counts
