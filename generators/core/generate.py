"""The step that runs one kind of generator: inputs by role, rows and drops by shard, counts that add up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from windtunnel.generators.client.budget import Budget
from windtunnel.generators.client.client import Client
from windtunnel.generators.core.generator import Failed, Generator, Outcome
from windtunnel.generators.core.material import Table
from windtunnel.generators.core.rows import RowWriter
from windtunnel.generators.core.session import Answers, Session, Share
from windtunnel.generators.serving.served import MODEL, Served, opened
from windtunnel.schemas import plugin
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text
from windtunnel.schemas.errors import RecipeError, WindtunnelError
from windtunnel.schemas.role import of_kind
from windtunnel.schemas.spending import Price
from windtunnel.schemas.work import Counts, Work, versions_of

FLOOR = "floor"  # role of an input that is there when the judges may label
STUCK_AFTER = 32  # outcomes that all failed with one error, before anything was kept, end the step


class Generate(Work):
    """Runs the kind `kind` (its name and parameters) on models by name; writes `rows/`, `dropped/`, `journal/`.

    `licences` maps a `source` of input rows to its licence, for rows that state none. `completions` is the file that
    stores every completion: a second run then sends nothing, and a run that was killed continues where it stopped.
    Rows do not depend on `concurrency`, on the addresses, on the store or on the `budget`, which may only end the step
    before they are made.
    """

    version: ClassVar[int] = 2
    aids: ClassVar[frozenset[str]] = frozenset({FLOOR})
    kind: dict[str, Any] | str
    models: dict[str, Served] = Field(default_factory=dict)
    licences: dict[str, str] = Field(default_factory=dict)
    completions: str | None = None
    concurrency: int = Field(default=64, gt=0)
    budget: Budget | None = None
    rows_per_shard: int = Field(default=5000, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Generate:
        missing = [name for name in self.generator().models() if name not in self.models]
        if missing:
            raise ValueError(f"no address is given for model {', '.join(map(repr, missing))}")
        return self

    def generator(self) -> Generator:
        """Return the kind with its parameters checked, settled for the models it asks."""
        kind = plugin.make(Generator, self.kind)
        return kind.on({name for name, served in self.models.items() if served.raw})

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows: the kind with its prompts and seed files, the models, the licences."""
        kind = self.generator()
        models = {name: self.models[name] for name in kind.models()}
        known = {name: served.licence for name, served in models.items() if served.licence}
        return {
            "kind": plugin.full_spec(kind),
            "fingerprint": kind.fingerprint(),
            "models": {name: served.identity() for name, served in models.items()},
            "rows_per_shard": self.rows_per_shard,
            "plugin_versions": versions_of(self.plugins()),
        } | ({"licences": [self.licences, known]} if self.licences or known else {})

    def plugins(self) -> list[Generator]:
        """Return the generator."""
        return [self.generator()]

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        """Return the number of tasks: one for a sequential kind, else one per `rows_per_shard` rows."""
        kind = self.generator()
        _roles(kind, plugin.label(kind), inputs)
        if kind.sequential:
            return 1
        tables = {role: Table.of(inputs[role]) for role in kind.reads if role in inputs}
        return max(1, math.ceil(kind.total(tables) / self.rows_per_shard))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        """Make share `rank` of the rows.

        Raises WindtunnelError when a model cannot be reached; stored completions are kept, so run again to continue.
        """
        models = {name: self.models[name] for name in self.generator().models()}
        store = Path(self.completions) if self.completions else None
        if not models:
            return self.make(inputs, out, rank, None)
        with (
            opened(models, inputs) as endpoints,
            Client(endpoints, store, self.concurrency, budget=self.budget) as client,
        ):
            tokens = sorted({token for endpoint in endpoints for token in endpoint.special_tokens})
            counts = self.make(inputs, out, rank, client, tokens)
            if refused := client.refused():
                counts.notes["warning"] = refused
            return counts

    def make(
        self, inputs: Mapping[str, Artifact], out: Path, rank: int, client: Answers | None,
        special_tokens: Sequence[str] = (),
    ) -> Counts:  # fmt: skip
        """Make share `rank` of the rows with an open client; None for kinds that ask no model.

        `special_tokens` are those of the models' tokenizers, which texts in prompts may not contain.
        """
        kind = self.generator()
        name = plugin.label(kind)
        _roles(kind, name, inputs)
        models = of_kind(inputs, MODEL)
        materials = {role: artifact for role, artifact in inputs.items() if role not in {FLOOR, *models}}
        session = Session(
            name, kind.seed, client, {role: Table.of(each, self.licences) for role, each in materials.items()},
            Share(rank, self.shards(inputs)), window=2 * self.concurrency,
            licences={served.model or model: served.licence for model, served in self.models.items() if served.licence},
            special_tokens=special_tokens,
        )  # fmt: skip
        with RowWriter(kind, out, rank) as writer:
            for outcome in kind.generate(session):
                writer.take(outcome)
                _stuck(writer, outcome)
            counts = _counts(writer, session, kind, {name: served.price for name, served in self.models.items()})
        write_text(out / "journal" / f"{rank:05d}.json", canonical_json(counts.model_dump()))
        return counts


def _roles(kind: Generator, name: str, inputs: Mapping[str, Artifact]) -> None:
    """Raise RecipeError for an input that the kind needs and lacks, or does not know."""
    if missing := [role for role in kind.reads if role not in inputs]:
        raise RecipeError(f"generator {name!r} needs {' and '.join(missing)} as input")
    known = {FLOOR, *kind.reads, *kind.optional, *of_kind(inputs, MODEL)}
    if unknown := [role for role in inputs if role not in known]:
        raise RecipeError(f"generator {name!r} takes no input called {', '.join(unknown)}")


def _stuck(writer: RowWriter, outcome: Outcome) -> None:
    """Raise WindtunnelError when the first outcomes all failed with one error: the rest would fail as well."""
    only = len(writer.failed) == 1 and not writer.dropped and not writer.kept
    if isinstance(outcome, Failed) and only and writer.failed.total() >= STUCK_AFTER:
        raise WindtunnelError(
            f"the first {STUCK_AFTER} rows all failed with {outcome.error!r} at {outcome.stage}: {outcome.detail}"
        )


def _counts(writer: RowWriter, session: Session, kind: Generator, prices: Mapping[str, Price]) -> Counts:
    """Return the shard's counts, checked: attempts as the session started them, outcomes as the writer took them.

    The notes hold requests by purpose, what models were asked for and its cost, and the counts of the kind's journal.
    """
    notes: dict[str, float | int | str] = {f"requests_{name}": n for name, n in sorted(session.asked.items())}
    notes |= {f"tokens_{name}": n for name, n in sorted(session.tokens.items())}
    notes |= session.spending.notes(prices)
    notes |= dict(sorted(session.journal.items()))
    notes |= kind.notes()
    return Counts(
        seen=session.attempts.started,
        kept=writer.kept,
        dropped=dict(sorted(writer.dropped.items())),
        unreadable=dict(sorted(writer.failed.items())),
        bytes=writer.bytes,
        tokens=session.tokens["completion"],
        notes=notes,
    ).check(f"generate {session.kind}")
