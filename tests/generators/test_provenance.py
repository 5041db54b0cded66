"""Provenance and accounting by the base class: what a kind forgets, swallows or reports twice."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest

from windtunnel.generators.core.generator import Dropped, Example, Generator, Kept
from windtunnel.generators.core.material import Table
from windtunnel.generators.core.origin import Origin, Record
from windtunnel.generators.core.rows import RowWriter, conversation_row, message
from windtunnel.generators.core.scripted import play, session
from windtunnel.generators.core.two_stages import Candidates
from windtunnel.generators.text.groups import document_group, group_of, groups_of, text_group
from windtunnel.pipelines.datasets.chat_split import ChatSplit
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import WindtunnelError


def documents(count: int, licence: str | None = "MIT") -> list[dict]:
    meta = json.dumps({"licence": licence}) if licence else None
    return [{"id": f"d{i}", "text": f"Text {i} on hills.", "source": "wiki", "meta": meta} for i in range(count)]


def row(question: str, kind: str = "forgetful") -> dict:
    return conversation_row([message("user", question), message("assistant", "Yes.")], kind)


class Reader(Generator):
    """A kind that reads documents; the subclasses differ in what they forget."""

    asks: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ("documents",)
    rows: int = 1000


class Forgetful(Reader):
    """Three rows per document that ask different things, and not a word on where they come from."""

    def attempt(self, session, number, record):
        return [Kept(row(f"What is {k} of hill {number}?")) for k in range(3)]
        yield


class Careless(Reader):
    """Reads its documents by itself and names no parent."""

    def outcomes(self, session):
        for number, _ in session.records("documents"):
            yield Kept(row(f"What is hill {number}?"))


def generated(kind: Generator, **inputs) -> list:
    return list(kind.generate(session("forgetful", kind, {}, inputs)))


def written(kind: Generator, folder: Path, **inputs) -> Artifact:
    with RowWriter(kind, folder, 0) as writer:
        for outcome in generated(kind, **inputs):
            writer.take(outcome)
    return Artifact(folder)


def split(artifact: Artifact, folder: Path, share: float = 0.4) -> dict[str, list[dict]]:
    sides = {}
    for side in ("held_out", "train"):
        work = ChatSplit(side=side, share=share)
        counts = [work.run({"rows": artifact}, folder / side, rank) for rank in range(work.shards({"rows": artifact}))]
        sides[side] = list(Table.of(Artifact(folder / side)).rows())
        assert sum(c.kept for c in counts) == len(sides[side])
    return sides


def test_rows_of_a_kind_that_forgets_still_carry_group_and_licence_and_no_document_is_on_both_sides(tmp_path):
    artifact = written(Forgetful(), tmp_path / "made", documents=documents(40))
    for made in Table.of(artifact).rows():
        lineage = json.loads(made["lineage"])
        number = made["messages"][0]["content"].split()[-1].rstrip("?")
        assert lineage == {"group": document_group(f"d{number}"), "licence": "MIT"}
    sides = split(artifact, tmp_path)
    held, train = ({made["group"] for made in rows} for rows in sides.values())
    assert held and train and not held & train
    assert len(sides["held_out"]) + len(sides["train"]) == 120


def test_a_row_without_parents_is_an_error_that_names_the_kind_also_for_its_examples(monkeypatch):
    with pytest.raises(WindtunnelError, match="'forgetful' keeps a row without parents although it reads documents"):
        generated(Careless(), documents=documents(2))
    example = Example(params={}, replies={}, kept=[], inputs={"documents": documents(1)})
    with pytest.raises(WindtunnelError, match="generator 'careless' keeps a row without parents"):
        play("careless", Careless, example)


class Invented(Reader):
    """Names a parent, but none of the input."""

    def outcomes(self, session):
        for number, _ in session.records("documents"):
            yield Kept(row(f"What is hill {number}?"), parents=[Origin.of_text("hills")])


def test_an_origin_that_is_made_up_does_not_stand_for_the_input():
    with pytest.raises(WindtunnelError, match="without parents"):
        generated(Invented(), documents=documents(1))


class Optional(Generator):
    """May read documents; `free` says whether it states that a row used none."""

    asks: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ("documents",)
    free: bool = False

    def outcomes(self, session):
        yield Kept(row("Why?"), parents=() if self.free else None)


def test_where_an_input_is_optional_a_kind_states_that_a_row_used_none():
    with pytest.raises(WindtunnelError, match="without parents although it reads documents"):
        generated(Optional(), documents=documents(1))
    for kind, inputs in ((Optional(), {}), (Optional(free=True), {"documents": documents(1)})):
        (kept,) = generated(kind, **inputs)
        assert json.loads(kept.row["lineage"]) == {"group": text_group("Why?"), "licence": None}


class Presumptuous(Reader):
    """Writes a group of its own choice."""

    def attempt(self, session, number, record):
        return Kept(row("Why?"), {"group": "mine"})
        yield


def test_a_kind_cannot_set_the_group_itself():
    with pytest.raises(WindtunnelError, match="writes group into a lineage: name the parents"):
        generated(Presumptuous(), documents=documents(1))


def test_a_kind_cannot_replace_the_method_that_sets_the_group():
    with pytest.raises(TypeError, match="overrides `generate`"):
        type("Rebel", (Reader,), {"__module__": __name__, "generate": lambda self, session: iter(())})


class Joining(Reader):
    """Makes a row of every two neighbouring documents, so that each document is in two rows."""

    def outcomes(self, session):
        records = [record for _, record in session.records("documents")]
        for k, pair in enumerate(pairwise(records)):
            yield Kept(row(f"What do texts {k} and {k + 1} have in common?"), parents=pair)


def test_rows_that_share_any_parent_are_on_one_side_or_on_none(tmp_path):
    artifact = written(Joining(), tmp_path / "made", documents=documents(200))
    sides = split(artifact, tmp_path)
    held, train = ({group for made in rows for group in groups_of(made)} for rows in sides.values())
    assert held and train and not held & train
    assert all(len(groups_of(made)) == 2 and made["group"] == group_of(made) for made in sides["train"])
    counts = [ChatSplit(side=s, share=0.4).run({"rows": artifact}, tmp_path / "x", 0) for s in ("held_out", "train")]
    assert len({c.dropped["groups_on_both_sides"] for c in counts}) == 1
    assert sum(c.kept for c in counts) + counts[0].dropped["groups_on_both_sides"] == 199


def test_what_is_made_of_a_row_with_several_groups_has_all_of_them():
    (joined,) = generated(Joining(), documents=documents(2))
    origin = Record(joined.row, 0).origin
    assert origin.groups == (document_group("d0"), document_group("d1")) and origin.licences == ("MIT",)


def test_licences_are_those_of_all_parents_and_of_the_models_that_answered():
    rows = [*documents(1, "MIT"), *documents(1, None), *documents(1, "CC0-1.0")]
    records = list(Table(memory=tuple(rows), licences={"wiki": "CC-BY-SA-4.0"}).rows())
    assert [record.origin.licences for record in records] == [("MIT",), ("CC-BY-SA-4.0",), ("CC0-1.0",)]
    unknown = Record(rows[1], 1).origin
    assert Origin.union([records[0].origin, unknown]).facts()["licence"] == ["MIT", None]  # never MIT alone
    kind = Forgetful()
    run = session("forgetful", kind, {}, {"documents": documents(1)})
    run.licences = {"m": "Apache-2.0", "other": "GPL-3.0"}
    monologue = Kept(row("Why?"), {"models": {"answer": ["m", "r1"]}}, parents=[records[0]])
    kept = kind._with_provenance(run, monologue)
    assert isinstance(kept, Kept) and json.loads(kept.row["lineage"])["licence"] == ["Apache-2.0", "MIT"]


def test_a_rewritten_record_has_one_origin():
    record = Record({"id": "r", "messages": [{"role": "human", "content": "Why?"}]}, 0)
    first = record.rewritten([message("user", "Why?")])
    second = record.rewritten([message("user", "Wherefore?")])
    assert first.origin == second.origin == record.origin == Origin((text_group("Why?"),), (None,))


class Losing(Reader):
    """Loses attempts in the way that `how` says."""

    how: str

    def outcomes(self, session):
        records = list(session.records("documents"))
        kept = [Kept(row(f"What is {n}?"), parents=[record]) for n, record in records]

        def chain(*results):
            return Candidates(results)
            yield

        if self.how == "twice":
            yield from (kept[0], kept[0], *kept[1:])
        elif self.how == "replaced":
            yield from kept
            yield kept[0].refused("late", "gate", "", {})
        elif self.how == "record":
            yield from kept[1:]
        elif self.how == "swallowed":
            for result in session.drive([chain(*kept)]):
                yield from result.entries[1:]
        elif self.how == "gate":
            for result in session.drive([chain(*kept)]):
                yield Dropped("gate", "gate", "", parents=kept[0].parents)
                yield from result.entries[1:]
        elif self.how == "abandoned":
            for result in session.drive(chain(one) for one in kept):
                yield from result.entries
                break
            yield from kept[1:]


@pytest.mark.parametrize(
    ("how", "message_"),
    [
        ("twice", "reports one attempt twice"),
        ("replaced", "reports one attempt twice"),
        ("record", "does not report 1 records of the input 'documents', such as row 0"),
        ("swallowed", "does not report 1 outcomes of chains.*1 records of the input"),
        ("gate", "does not report 1 outcomes of chains"),
        ("abandoned", "does not report 2 chains that were started"),
    ],
)
def test_an_attempt_that_is_lost_or_reported_twice_is_an_error_that_names_the_kind(how, message_):
    with pytest.raises(WindtunnelError, match=f"generator 'forgetful' {message_}"):
        generated(Losing(how=how), documents=documents(3))


def test_a_refusal_of_a_kept_row_is_the_same_attempt():
    class Gated(Reader):
        def outcomes(self, session):
            for outcome in session.each(session.records("documents"), lambda n, r: self.attempt(session, n, r)):
                yield outcome.refused("gate", "gate", "", {})

        def attempt(self, session, number, record):
            return Kept(row(f"What is {number}?"))
            yield

    kind = Gated()
    run = session("gated", kind, {}, {"documents": documents(3)})
    outcomes = list(kind.generate(run))
    assert run.attempts.started == len(outcomes) == 3 and run.kept == 0
    assert [o.lineage["group"] for o in outcomes] == [document_group(f"d{k}") for k in range(3)]
