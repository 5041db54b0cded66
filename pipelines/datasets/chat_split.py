"""Splits generated rows into a held-out part and a training part, by what they come from and by nothing else.

A row is held out when the hash of its group falls below the share: no state, no order, and rows of one instruction,
passage or prompt go to the same side in every set, with whatever is made from them (`generators.text.groups`). A row
that is made from parents of several groups is on a side only if all of them are, and on neither otherwise: so rows that
share a parent are never on different sides, whatever else they are made from. Two rows of different groups may still
ask the same thing, in the same words or nearly so; the training part leaves such rows out (`near_questions`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import Field

from windtunnel.generators.text.groups import first_question, groups_of, text_group
from windtunnel.pipelines.datasets.near_questions import SHORTEST, Match, NearQuestions
from windtunnel.pipelines.shards.writer import shard_writer
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.role import of_kind
from windtunnel.schemas.work import Counts, Work

GROUP = pa.field("group", pa.string(), nullable=False)
HELD_OUT = "held_out"
LATER_WORDS = 5  # that a later question of a held-out row needs to say something alone
DROPPED = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("held_out_id", pa.string()),  # the held-out row that asks the same
        pa.field("similarity", pa.float64()),  # of the questions
    ]
)


class ChatSplit(Work):
    """Writes one side of the split to `rows/`, with the column `group` (the first one of a row that has several).

    Inputs: sets of rows, `rows` or `rows:SET`, in the order of their roles; for the training side also what is held
    out, `held_out` and `held_out:SET`: no row stays that asks what a row there asks (`asked_in_held_out`: the same
    words or the same origin; `near_held_out`), and `dropped/` says which row that is. Memory: about 1.5 kB for each row
    held out.
    """

    version: ClassVar[int] = 4
    side: Literal["held_out", "train"]
    share: float = Field(0.1, ge=0, le=1)
    salt: str = ""
    threshold: float = Field(0.72, gt=0, le=1)

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(rows_files(inputs))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts, dropped, measured = Counts(), Counter[str](), self._measured(inputs)
        with (
            pq.ParquetFile(rows_files(inputs)[rank]) as source,
            shard_writer(out, "rows", rank, source.schema_arrow.append(GROUP)) as writer,
            shard_writer(out, "dropped", rank, DROPPED) as dropper,
        ):
            for batch in source.iter_batches(batch_size=1024):
                rows = list(_origins(batch))
                groups = [groups_of(row) for row in rows]
                decided = self._decided(rows, groups, measured)
                whole = [*batch.columns, pa.array(map(min, groups), GROUP.type)]
                staying = pa.array([drop is None for drop in decided], pa.bool_())
                writer.write_batch(pa.record_batch(whole, schema=source.schema_arrow.append(GROUP)).filter(staying))
                drops = [drop for drop in decided if drop is not None]
                leaks = [drop for drop in drops if drop["held_out_id"]]
                dropper.write_table(pa.Table.from_pylist(leaks, schema=DROPPED))
                dropped.update(drop["reason"] for drop in drops)
                counts.seen += batch.num_rows
                counts.kept += staying.true_count
        counts.dropped = dict(sorted(dropped.items()))
        return counts.check(f"{self.side} rows, shard {rank}")

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        """Raises InputError where nothing is held out."""
        files = sorted((out / "rows").glob("*.parquet"))
        if self.side == "held_out" and not any(pq.read_metadata(file).num_rows for file in files):
            rows = sum(pq.read_metadata(file).num_rows for file in rows_files(inputs))
            raise InputError(
                f"none of {rows:,} rows is held out by a share of {self.share:g}, so nothing could be measured on "
                "them: raise `held_out.share`, or give files of your own"
            )

    def _decided(
        self, rows: Sequence[Mapping[str, Any]], groups: Sequence[Sequence[str]], measured: _Measured
    ) -> list[dict[str, Any] | None]:
        """Return why each row is not on this side, None for one that is."""
        decided = [self._other_side(row, names) for row, names in zip(rows, groups, strict=True)]
        open_ = [number for number, drop in enumerate(decided) if drop is None]
        if not measured.ids:
            return decided
        near = measured.near([rows[number] for number in open_])
        for number, match in zip(open_, near, strict=True):
            same = measured.same({*groups[number], _asks(rows[number], groups[number])})
            if same is not None:
                decided[number] = _drop(rows[number], "asked_in_held_out", same, 1.0)
            elif match is not None:
                decided[number] = _drop(rows[number], "near_held_out", *match)
        return decided

    def _other_side(self, row: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any] | None:
        sides = {"held_out" if self._held(group) else "train" for group in groups}
        if len(sides) > 1:
            return _drop(row, "groups_on_both_sides")
        return _drop(row, sides.pop()) if sides != {self.side} else None

    def _held(self, group: str) -> bool:
        digest = blake3(f"{self.salt}\x00{group}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64

    def _measured(self, inputs: Mapping[str, Artifact]) -> _Measured:
        """Return groups and questions of all held-out rows."""
        measured = _Measured(self.threshold)
        for file in rows_files(inputs, HELD_OUT):
            with pq.ParquetFile(file) as source:
                for batch in source.iter_batches(batch_size=1024, columns=_columns(source.schema_arrow.names)):
                    for row in _origins(batch):
                        measured.add(row)
        return measured


class _Measured:
    """What held-out rows ask: their first questions, and what they ask later, which has an answer that is measured too.

    A first question counts wherever a training row says it, in any turn of the user or the system. A later one counts
    only where a row begins with it: as a later turn of others, "Can you say more about that?" tells nothing.
    """

    def __init__(self, threshold: float) -> None:
        self.ids: list[str] = []
        self._threshold = threshold
        self._first: list[str] = []
        self._later: list[str] = []
        self._later_ids: list[str] = []
        self._by_group: dict[str, str] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        groups = groups_of(row)
        self.ids.append(row["id"])
        self._first.append(first_question(row))
        later = later_questions(row)
        self._later += later
        self._later_ids += [row["id"]] * len(later)
        self._by_group.update(dict.fromkeys((*groups, _asks(row, groups)), row["id"]))

    @cached_property
    def _of_first(self) -> NearQuestions:
        return NearQuestions(self._first, self._threshold)

    @cached_property
    def _of_later(self) -> NearQuestions:
        return NearQuestions(self._later, self._threshold)

    def same(self, groups: Iterable[str]) -> str | None:
        """Return the id of a held-out row with one of these groups or questions, or None."""
        return next((self._by_group[group] for group in sorted(groups) if group in self._by_group), None)

    def near(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float] | None]:
        """Return for each row the id of a held-out row that asks what it asks, and how alike the questions are."""
        begins = [first_question(row) for row in rows]
        found = [self._named(self.ids, match) for match in self._of_first.match(begins)]
        if self._later:
            later = self._of_later.match(begins)
            found = [
                one or self._named(self._later_ids, match, LATER_WORDS) for one, match in zip(found, later, strict=True)
            ]
        turns = [(number, text) for number, row in enumerate(rows) for text in other_turns(row)]
        for (number, _), match in zip(turns, self._of_first.match([text for _, text in turns]), strict=True):
            found[number] = found[number] or self._named(self.ids, match, SHORTEST)
        return found

    @staticmethod
    def _named(ids: Sequence[str], match: Match | None, words: int = 0) -> tuple[str, float] | None:
        return None if match is None or match.words < words else (ids[match.number], match.similarity)


def _drop(row: Mapping[str, Any], reason: str, held_out_id: str | None = None, similarity: float | None = None) -> Any:
    return {"id": row["id"], "reason": reason, "held_out_id": held_out_id, "similarity": similarity}


def rows_files(inputs: Mapping[str, Artifact], kind: str = "rows") -> list[Path]:
    """Return the files in `rows/` of the inputs `KIND` and `KIND:SET`, in the order of the roles' names."""
    return [file for _, artifact in sorted(of_kind(inputs, kind).items()) for file in artifact.files("rows")]


def later_questions(row: Mapping[str, Any]) -> list[str]:
    """Return what the user says after the first question."""
    return [turn["content"] for turn in _turns(row) if turn["role"] == "user"][1:]


def other_turns(row: Mapping[str, Any]) -> list[str]:
    """Return what the user says after the first question, and what the system says."""
    return [*later_questions(row), *(turn["content"] for turn in _turns(row) if turn["role"] == "system")]


def _turns(row: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    return row.get("messages") or row.get("prompt") or ()


def _asks(row: Mapping[str, Any], groups: Sequence[str]) -> str:
    """Return the group that a row's first question alone would have; the row's own where it asks nothing."""
    asked = first_question(row)
    return text_group(asked) if asked else groups[0]


def _origins(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield what says where rows come from: id, first turns, lineage."""
    yield from batch.select(_columns(batch.schema.names)).to_pylist()


def _columns(names: Sequence[str]) -> list[str]:
    return [name for name in ("id", "messages", "prompt", "lineage") if name in names]
