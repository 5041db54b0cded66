"""Base class of all kinds of generator: records in, rows with group, licence and lineage out, every attempt counted.

A kind describes an attempt as a chain: a Python generator that yields requests and is sent the answers. The session
runs many chains at once and delivers their results in the order of the chains, so that a row depends neither on the
number of requests in flight nor on which answer came first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import pyarrow as pa
from pydantic import Field

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.material import Table
from windtunnel.generators.core.origin import Origin, Record
from windtunnel.generators.core.outcome import Ask, Chain, Dropped, Failed, Kept, Outcome, models_of
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.session import Session
from windtunnel.generators.text.groups import groups_of
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.plugin import Plugin, errors_of
from windtunnel.schemas.records import CONVERSATION, PREFERENCE

__all__ = ["Ask", "Chain", "Dropped", "Example", "Failed", "Generator", "Kept", "Outcome"]


@dataclass(frozen=True)
class Example:
    """A small script: the answers of the models, by purpose and in order, and the result they lead to.

    `kept` holds, per row, the contents of its messages (of a preference: prompt, then chosen, then rejected).
    """

    params: Mapping[str, Any]
    replies: Mapping[str, Sequence[str]]
    kept: Sequence[Sequence[str]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)


class Generator(Plugin):
    """A kind of synthetic data. `rows` is the number of rows wanted, `seed` the root of every random choice.

    `asks` names the parameters that hold a model's name, `reads` the input roles, `optional` those that may be left
    out, `tables` the further folders with their schemas, `prompts` the prompt files, whose versions belong to the
    identity. A `sequential` kind is not cut into shards, since a row depends on the rows before.

    A kind implements `attempt`, for one chain per row of its input, or `outcomes`. Provenance is written here, never
    by a kind: `generate` sets `group` and `licence` of a row from the parents of its outcome. A row has the groups and
    licences of all its parents, and the licences of the models that answered where they are known. A kept row of a
    kind that `reads` an input without a record among its parents is an error, and so is one that states no `parents`
    where an optional input is given. Without parents, a row has the group of its own question. What cannot be
    detected: a parent that a kind leaves out beside another one, and `parents=()` on a row that used an optional input.
    """

    output: ClassVar[pa.Schema] = CONVERSATION
    asks: ClassVar[tuple[str, ...]] = ("model",)
    reads: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[Mapping[str, pa.Schema]] = {}
    prompts: ClassVar[tuple[str, ...]] = ()
    sequential: ClassVar[bool] = False
    examples: ClassVar[tuple[Example, ...]] = ()

    rows: int = Field(100, gt=0)
    seed: int = 0

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.generate is not Generator.generate:
            raise TypeError(f"{cls.__name__} overrides `generate`, which sets group and licence: define `outcomes`")

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return what is read and written, the parameters that name a model, and the reasons of the examples' drops."""
        return {
            "output": "preferences" if cls.output == PREFERENCE else "conversations",
            "reads": list(cls.reads),
            "reads_optionally": list(cls.optional),
            "tables": {name: schema.names for name, schema in cls.tables.items()},
            "models_named_by": [name for name in cls.asks if name in cls.model_fields],
            "drops": sorted({reason for example in cls.examples for reason in example.dropped}),
            "prompts": list(cls.prompts),
            "sequential": cls.sequential,
        }

    def models(self) -> tuple[str, ...]:
        """Return the names of the models that the recipe must give an address for."""
        return tuple(dict.fromkeys(name for field in self.asks if (name := getattr(self, field, None))))

    def judged_by(self) -> tuple[str, ...]:
        """Return the names of the models that label rows, by the parameters `judge` and `judges`."""
        one, several = getattr(self, "judge", None), getattr(self, "judges", ())
        return tuple(dict.fromkeys([*([one] if isinstance(one, str) else []), *several]))

    def requests_per_row(self) -> Sequence[tuple[str, float]]:
        """Return (model, requests) that a row takes if all goes well, for the estimate of a plan; models may repeat."""
        return [(name, 1.0) for name in self.models()]

    def on(self, raw: Collection[str]) -> Self:
        """Return the kind settled for its models: those in `raw` complete text, the others take chats only.

        Called before anything is asked or hashed.
        """
        return self

    def generate(self, session: Session) -> Iterator[Outcome]:
        """Yield the outcomes of this share of the rows in a fixed order, with provenance, every attempt once.

        Raises WindtunnelError for a row without parents and for an attempt without exactly one outcome
        (`windtunnel.generators.core.attempts`).
        """
        with errors_of(self, "`outcomes`"):
            for outcome in self.outcomes(session):
                if not isinstance(outcome, Kept | Dropped | Failed):
                    raise TypeError(f"Kept, Dropped or Failed is expected, not {type(outcome).__name__}")
                session.attempts.settle(session.kind, outcome)
                yield self._with_provenance(session, outcome)
        session.attempts.check(session.kind)

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per attempt; by default, those of one chain per record of the first input."""
        records = session.records(self.reads[0], self.total(session.inputs))
        yield from session.each(records, lambda number, record: self.attempt(session, number, record))

    def attempt(self, session: Session, number: int, record: Record) -> Chain[Outcome] | Chain[Sequence[Outcome]]:
        """Return the chain of record `number`, which ends in one outcome or several."""
        raise NotImplementedError

    def total(self, inputs: Mapping[str, Table]) -> int:
        """Return the number of rows to make over all shards, at most one per row of the inputs that are read."""
        return min([self.rows, *(len(inputs[role]) for role in self.reads)])

    @property
    def sampling(self) -> dict[str, Any]:
        """The parameters `temperature`, `top_p` and `max_tokens` of the kind."""
        return {name: getattr(self, name) for name in ("temperature", "top_p", "max_tokens")}

    def lineage(self, session: Session, completions: Mapping[str, Completion], **facts: Any) -> dict[str, Any]:
        """Return the lineage of a row: kind, seed, prompt versions, models by purpose, and `facts`."""
        prompts = {name: load(name).version for name in self.prompts}
        about = {"kind": session.kind, "version": self.version, "seed": self.seed, "prompts": prompts}
        return about | {"models": models_of(completions)} | facts

    def notes(self) -> dict[str, float | int | str]:
        """Return facts of the configuration that the report shows beside the counts."""
        return {}

    def fingerprint(self) -> dict[str, Any]:
        """Return what changes the rows besides the parameters: the version, prompt versions, seed files."""
        return {"version": self.version, "prompts": {name: load(name).version for name in self.prompts}}

    def _with_provenance(self, session: Session, outcome: Outcome) -> Outcome:
        """Return the outcome with group and licence in its lineage, and a row with its lineage written out."""
        if own := sorted({"group", "licence"} & set(outcome.lineage)):
            raise WindtunnelError(
                f"generator {session.kind!r} writes {' and '.join(own)} into a lineage: name the parents instead, "
                "Kept(row, lineage, parents=[record])"
            )
        if not isinstance(outcome, Kept):
            if not outcome.parents:
                return outcome
            return replace(outcome, lineage={**outcome.lineage, **self._origin(session, outcome).facts()})
        read = any(isinstance(parent, Record) for parent in outcome.parents or ())
        if (self.reads and not read) or (session.inputs and outcome.parents is None):
            raise WindtunnelError(
                f"generator {session.kind!r} keeps a row without parents although it reads "
                f"{' and '.join(self.reads or session.inputs)}: name the records it is made from, "
                "Kept(row, lineage, parents=[record])"
            )
        if not isinstance(outcome.row, Mapping):
            given = type(outcome.row).__name__
            raise WindtunnelError(f"generator {session.kind!r} gives a {given} for a row: a row is a dict")
        lineage = {**outcome.lineage, **self._origin(session, outcome).facts()}
        try:
            text = canonical_json(lineage)
        except (TypeError, ValueError) as error:
            raise WindtunnelError(
                f"generator {session.kind!r} gives a lineage that no JSON can hold: {error}"
            ) from error
        return replace(outcome, lineage=lineage, row={**outcome.row, "lineage": text})

    def _origin(self, session: Session, outcome: Outcome) -> Origin:
        parents = [parent.origin if isinstance(parent, Record) else parent for parent in outcome.parents or ()]
        if not parents and isinstance(outcome, Kept):
            parents = [Origin(groups_of(outcome.row))]
        names = {name for name, _ in outcome.lineage.get("models", {}).values()}
        known = tuple(session.licences[name] for name in names if name in session.licences)
        return Origin.union([*parents, Origin((), known)])
