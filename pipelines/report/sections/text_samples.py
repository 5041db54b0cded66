"""What the models write while they train: the continuations of fixed prompts, of one seed of every mix."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.schemas.printable import printable
from windtunnel.schemas.records import Record

LONGEST = 600  # characters of a text
POINTS = 8  # of a run, spread over its steps, the last one among them


class Sample(Record):
    """One text."""

    after: str  # tokens trained on
    text: str


class Prompt(Record):
    """A prompt, with what a mix's model wrote after it, first to last."""

    prompt: str
    samples: list[Sample]


class Samples(Record):
    """One mix, its first seed."""

    mix: str
    seed: str
    prompts: list[Prompt]


class TextSamples(Section):
    """The samples of every mix."""

    title: ClassVar[str] = "What the models write"
    order: ClassVar[int] = 32

    mixes: list[Samples]

    @classmethod
    def of(cls, results: Results) -> TextSamples | None:
        mixes = []
        for mix, runs in results.by_run("train").items():
            seed, artifact = next(iter(runs.items()))
            file = artifact.path / "samples.parquet"
            rows = pl.read_parquet(file) if file.exists() else pl.DataFrame()
            if rows.height:
                mixes.append(Samples(mix=mix, seed=seed, prompts=_prompts(rows)))
        return cls(mixes=mixes) if mixes else None


def _prompts(rows: pl.DataFrame) -> list[Prompt]:
    steps = rows["step"].unique().sort().to_list()
    places = {round(k * (len(steps) - 1) / max(1, POINTS - 1)) for k in range(POINTS)}
    shown = rows.filter(pl.col("step").is_in([steps[k] for k in sorted(places)])).sort("number", "step")
    return [
        Prompt(
            prompt=printable(own["prompt"][0], LONGEST),
            samples=[
                Sample(after=units.short(tokens), text=printable(text, LONGEST))
                for tokens, text in own.select("tokens", "text").iter_rows()
            ],
        )
        for own in shown.partition_by("number", maintain_order=True)
    ]
