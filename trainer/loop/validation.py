"""Held-out loss while a stage trains: nats of the same documents of every source at fixed points.

The objective's own `evaluate` scores them, from input artifacts that hold the chosen documents alone; its scores of the
last point are therefore those of its evaluation, where all documents are chosen. Rows after the step from which a stage
resumes are dropped and measured again, to the same bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from blake3 import blake3

from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest, remove, write_parquet
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.results import Totals
from windtunnel.trainer.loop.looking import looking_at
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Setting

if TYPE_CHECKING:
    from windtunnel.trainer.loop.loop import Loop

FILE = "validation.parquet"
SCHEMA = {
    "step": pl.Int64,  # steps done
    "tokens": pl.Int64,  # trained on
    "source": pl.String,
    "nats": pl.Float64,
    "bytes": pl.Int64,
    "documents": pl.Int64,
}
HELD_OUT = {"held_out": "documents", "held_out_conversations": "rows"}  # input role -> folder of its files


class Validation:
    """Scores held-out documents of every source after the steps in `at`."""

    def __init__(self, at: frozenset[int], documents: int) -> None:
        self.at, self.documents = at, documents
        self.setting: Setting | None = None
        self.rows = pl.DataFrame(schema=SCHEMA)

    def begin(self, loop: Loop) -> None:
        """Choose the documents; go on with the rows of the steps that are done."""
        self.rows = kept_rows(loop.out / FILE, SCHEMA, loop.step)
        folder = loop.setting.cache / "validation"
        inputs = {
            role: chosen(loop.setting.inputs[role], held, self.documents, folder / role, fitting)
            for role, held in HELD_OUT.items()
            if role in loop.setting.inputs and (fitting := _fitting(loop, role)) != set()
        }
        if not inputs:
            return
        rest = {role: loop.setting.inputs[role] for role in ("tokenizer", "start") if role in loop.setting.inputs}
        self.setting = replace(loop.setting, inputs={**rest, **inputs})

    def wants(self, step: int) -> bool:
        """Return whether the model is scored after so many steps."""
        return self.setting is not None and step in self.at

    def settled(self, loop: Loop, rows: list[dict[str, float]]) -> None:
        """Score the documents where it is time to."""
        if not self.wants(loop.step) or self.setting is None:
            return
        scratch = loop.setting.cache / "scores"
        with looking_at(loop) as score:
            totals = score(loop.objective.evaluate, self.setting, scratch).totals
        remove(scratch)
        if not totals:  # the objective scores nothing
            self.setting = None
            return
        place = {"step": loop.step, "tokens": loop.tokens}
        new = pl.DataFrame([{**place, "source": s, **_whole(sums)} for s, sums in totals.items()], SCHEMA)
        self.rows = pl.concat([self.rows, new])
        write_parquet(loop.out / FILE, self.rows)

    @property
    def last(self) -> tuple[int, float] | None:
        """The step and the bits per byte over all sources of the last point."""
        if self.rows.is_empty():
            return None
        step = int(self.rows["step"][-1])
        here = self.rows.filter(pl.col("step") == step)
        sums: Any = here.select("nats", "bytes", "documents").sum().row(0, named=True)
        return step, Totals(**sums).bits_per_byte


def kept_rows(path: Path, schema: Mapping[str, Any], step: int) -> pl.DataFrame:
    """Return the rows of an interrupted stage up to the step from which it goes on."""
    if step == 0 or not path.exists():
        return pl.DataFrame(schema=schema)
    return pl.read_parquet(path).filter(pl.col("step") <= step)


def chosen(artifact: Artifact, folder: str, documents: int, out: Path, among: set[str] | None = None) -> Artifact:
    """Write the `documents` rows of each source whose ids have the lowest hashes; return them as an artifact."""
    files = artifact.files(folder)
    keys = pl.concat([pl.read_parquet(file, columns=["id", "source"]) for file in files])
    if among is not None:
        keys = keys.filter(pl.col("id").is_in(list(among)))
    order = pl.col("id").map_elements(_hash, pl.Binary)
    few = keys.unique("id").sort(order).group_by("source", maintain_order=True).head(documents)["id"]
    table = pl.concat([pl.read_parquet(file) for file in files], how="diagonal").filter(
        pl.col("id").is_in(few.implode())
    )
    remove(out)
    write_parquet(out / folder / "00000.parquet", table)
    key = blake3(f"{artifact.path.name}/{documents}".encode()).hexdigest()[:32]
    Manifest(step="validation", version=1, key=key, config={}).write(out / MANIFEST)
    return Artifact(out)


def _fitting(loop: Loop, role: str) -> set[str] | None:
    """Return the ids of the held-out conversations that can be scored; None: there is no limit to documents."""
    if not isinstance(loop.objective, ChatObjective):
        return None
    with contextlib.suppress(InputError):  # none: an objective that needs them says so at the end
        return set(loop.objective.rows(loop.setting, role).ids.to_pylist())
    return set()


def _hash(key: str) -> bytes:
    return blake3(key.encode()).digest(16)


def _whole(sums: Mapping[str, float]) -> dict[str, float]:
    return {"nats": sums["nats"], "bytes": int(sums["bytes"]), "documents": int(sums["documents"])}
