"""The step that runs one kind of generator: inputs by role, rows and drops by shard, counts that add up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from windtunnel.generators.core.generator import Failed, Generator, Outcome
from windtunnel.generators.core.material import Table
from windtunnel.generators.core.rows import RowWriter
from windtunnel.generators.core.session import Answers, Session, Share
from windtunnel.generators.serving.served import MODEL_ROLE, Served, opened
from windtunnel.schemas import plugin
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text
from windtunnel.schemas.errors import RecipeError, WindtunnelError
from windtunnel.schemas.work import Counts, Work, versions_of

STUCK_AFTER = 32  # outcomes that all failed with one error, before anything was kept, end the step


class Generate(Work):
    """Runs the kind `kind` (its name and parameters) on models by name; writes `rows/`, `dropped/`, `journal/`.

    `completions` is the file that keeps every completion: with it, a second run sends nothing, and a run that was
    killed goes on where it stood. Rows do not depend on `concurrency`, on the addresses or on the store.
    """

    kind: dict[str, Any] | str
    models: dict[str, Served] = Field(default_factory=dict)
    completions: str | None = None
    concurrency: int = Field(default=64, gt=0)
    rows_per_shard: int = Field(default=5000, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Generate:
        missing = [name for name in self.made().models() if name not in self.models]
        if missing:
            raise ValueError(f"no address is given for model {', '.join(map(repr, missing))}")
        return self

    def made(self) -> Generator:
        """Return the kind with its parameters checked, and settled for the models it asks."""
        kind = plugin.make(Generator, self.kind)
        return kind.on({name for name, served in self.models.items() if served.raw})

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows: the kind whole, its prompts and seed files, and which models answer."""
        kind = self.made()
        models = {name: self.models[name] for name in kind.models()}
        return {
            "kind": plugin.full_spec(kind),
            "fingerprint": kind.fingerprint(),
            "models": {name: served.identity() for name, served in models.items()},
            "rows_per_shard": self.rows_per_shard,
            "plugin_versions": versions_of(self.plugins()),
        }

    def plugins(self) -> list[Generator]:
        """Return the generator."""
        return [self.made()]

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        """Return the number of tasks: one for a sequential kind, else one per `rows_per_shard` rows."""
        kind = self.made()
        if kind.sequential:
            return 1
        tables = {role: Table.of(inputs[role]) for role in kind.reads if role in inputs}
        total = kind.total(tables)
        return max(1, math.ceil(total / self.rows_per_shard))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        """Make share `rank` of the rows.

        Raises WindtunnelError when a model cannot be reached: what was answered so far is kept, run again to go on.
        """
        from windtunnel.generators.client.client import Client

        models = {name: self.models[name] for name in self.made().models()}
        store = Path(self.completions) if self.completions else None
        if not models:
            return self.make(inputs, out, rank, None)
        with opened(models, inputs) as endpoints, Client(endpoints, store, self.concurrency) as client:
            return self.make(inputs, out, rank, client)

    def make(self, inputs: Mapping[str, Artifact], out: Path, rank: int, client: Answers | None) -> Counts:
        """Make share `rank` of the rows with a client that is already open; None for kinds that ask no model."""
        kind = self.made()
        name = plugin.label(self.made())
        _roles(kind, name, inputs)
        tables = {role: Table.of(artifact) for role, artifact in inputs.items() if not role.startswith(MODEL_ROLE)}
        share = Share(rank, self.shards(inputs))
        session = Session(name, kind.seed, client, tables, share, window=2 * self.concurrency)
        with RowWriter(kind, out, rank) as sheets:
            for outcome in kind.generate(session):
                sheets.take(outcome)
                _stuck(sheets, outcome)
        counts = _counts(sheets, session, kind)
        write_text(out / "journal" / f"{rank:05d}.json", canonical_json(counts.model_dump()))
        return counts


def _roles(kind: Generator, name: str, inputs: Mapping[str, Artifact]) -> None:
    """Raise RecipeError for an input that the kind needs and has not, or has and does not know."""
    if missing := [role for role in kind.reads if role not in inputs]:
        raise RecipeError(f"generator {name!r} needs {' and '.join(missing)} as input")
    known = (*kind.reads, *kind.optional)
    if unknown := [role for role in inputs if role not in known and not role.startswith(MODEL_ROLE)]:
        raise RecipeError(f"generator {name!r} takes no input called {', '.join(unknown)}")


def _stuck(sheets: RowWriter, outcome: Outcome) -> None:
    """End a step in which nothing but one error happens: thousands of equal failures help nobody."""
    only = len(sheets.failed) == 1 and not sheets.dropped and not sheets.kept
    if isinstance(outcome, Failed) and only and sheets.failed.total() >= STUCK_AFTER:
        raise WindtunnelError(
            f"the first {STUCK_AFTER} rows all failed with {outcome.error!r} at {outcome.stage}: {outcome.detail}"
        )


def _counts(sheets: RowWriter, session: Session, kind: Generator) -> Counts:
    """Return the shard's books; the notes hold requests by purpose and what the kind noted in its journal."""
    notes: dict[str, float | int | str] = {f"requests_{name}": n for name, n in sorted(session.asked.items())}
    notes |= {f"tokens_{name}": n for name, n in sorted(session.tokens.items())}
    notes |= dict(sorted(session.journal.items()))
    notes |= kind.notes()
    return Counts(
        seen=sheets.kept + sheets.dropped.total() + sheets.failed.total(),
        kept=sheets.kept,
        dropped=dict(sorted(sheets.dropped.items())),
        unreadable=dict(sorted(sheets.failed.items())),
        bytes=sheets.bytes,
        tokens=session.tokens["completion"],
        notes=notes,
    ).check(f"generate {session.kind}")
