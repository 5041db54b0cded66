"""Generated rows: counts of attempts by outcome, variety of the kept rows, and a random sample of each set."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np
import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line, printable
from windtunnel.schemas.records import Record

SAMPLES = 5
PER_REASON = 3
CHARACTERS = 600
FACTS_FROM = 20_000  # rows at most, so that a larger set takes no more memory


class Turn(Record):
    """One message of a sample."""

    role: str
    text: str


class Reason(Record):
    """Attempts without a row, and the beginnings of the model's answers."""

    name: str
    count: int
    share: str
    width: float
    failed: bool  # the model failed; else an answer was refused
    raw: list[str]


class Generated(Record):
    """One set."""

    name: str
    kind: str
    models: list[str]
    seen: int
    kept: int
    kept_share: float
    reasons: list[Reason]
    samples: list[list[Turn]]
    facts: list[tuple[str, str]]


class GeneratedRows(Section):
    """Generated sets."""

    title: ClassVar[str] = "Generated rows"
    order: ClassVar[int] = 55

    sets: list[Generated]

    @classmethod
    def of(cls, results: Results) -> GeneratedRows | None:
        sets = [_set(name, artifact) for name, artifact in results.of_kind("generate").items()]
        return cls(sets=sets) if sets else None


def _set(name: str, artifact: Artifact) -> Generated:
    manifest = artifact.manifest
    counts: dict[str, Any] = manifest.counts
    seen, kept = counts["seen"], counts["kept"]
    outcomes = {(reason, False): n for reason, n in counts["dropped"].items()}
    outcomes |= {(reason, True): n for reason, n in counts["unreadable"].items()}
    most = max(outcomes.values(), default=1)
    raw = _raw(artifact)
    reasons = [
        Reason(
            name=one_line(reason, 60),
            count=n,
            share=units.share(n, seen),
            width=round(100 * n / most, 3),
            failed=failed,
            raw=raw.get((reason, failed), []),
        )
        for (reason, failed), n in sorted(outcomes.items(), key=lambda item: (-item[1], item[0]))
    ]
    return Generated(
        name=name,
        kind=one_line(next(iter(manifest.config.get("kind") or {}), ""), 40),
        models=[one_line(model, 40) for model in manifest.config.get("models") or {}],
        seen=seen,
        kept=kept,
        kept_share=round(100 * kept / seen, 3) if seen else 0.0,
        reasons=reasons,
        samples=_samples(artifact),
        facts=_facts(artifact),
    )


def _raw(artifact: Artifact) -> dict[tuple[str, bool], list[str]]:
    """Return the beginnings of a few refused answers by reason, in the order of their text."""
    files = artifact.files("dropped")
    if not files:
        return {}
    frame = pl.scan_parquet(files).select("reason", "failed", pl.col("raw").str.slice(0, CHARACTERS + 1))
    table = frame.unique().sort("raw").group_by("reason", "failed", maintain_order=True).head(PER_REASON).collect()
    answers: dict[tuple[str, bool], list[str]] = {}
    for reason, failed, raw in table.select("reason", "failed", "raw").iter_rows():
        answers.setdefault((reason, failed), []).append(printable(raw, CHARACTERS))
    return answers


def _samples(artifact: Artifact) -> list[list[Turn]]:
    """Return the rows with the lowest ids; ids are hashes, so this is a random sample that stays the same."""
    files = artifact.files("rows")
    if not files:
        return []
    rows = pl.scan_parquet(files).sort("id").head(SAMPLES).collect().to_dicts()
    return [_turns(row) for row in rows]


def _turns(row: dict[str, Any]) -> list[Turn]:
    parts = [("", row["messages"])] if "messages" in row else []
    parts += [(label, row[label]) for label in ("prompt", "chosen", "rejected") if label in row]
    return [
        Turn(
            role=label if label in ("chosen", "rejected") else one_line(m["role"], 20),
            text=printable(m["content"], CHARACTERS),
        )
        for label, messages in parts
        for m in messages
    ]


def _facts(artifact: Artifact) -> list[tuple[str, str]]:
    """Return figures of the kept rows: distinct questions, median answer, distinct word pairs."""
    files = artifact.files("rows")
    names = pl.scan_parquet(files).collect_schema().names() if files else []
    asked, answers = ("messages", "messages") if "messages" in names else ("prompt", "chosen")
    if asked not in names:
        return []
    table = pl.scan_parquet(files).select(*dict.fromkeys((asked, answers))).head(FACTS_FROM).collect()
    if not table.height:
        return []
    questions = [next((m["content"] for m in ms if m["role"] == "user"), "") for ms in table[asked].to_list()]
    sizes = [sum(len(m["content"].encode()) for m in ms if m["role"] == "assistant") for ms in table[answers].to_list()]
    words = [q.lower().split() for q in questions]
    pairs = [pair for w in words for pair in itertools.pairwise(w)]
    facts = [
        ("different questions", units.share(len(set(questions)), len(questions))),
        ("median answer", units.size(float(np.median(sizes)))),
    ]
    return [*facts, ("different word pairs", units.share(len(set(pairs)), len(pairs)))] if pairs else facts
