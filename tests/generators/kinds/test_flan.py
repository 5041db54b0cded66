"""Rows of checkable tasks: a function of seed and document, counted, in the wordings that are asked for, and right."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise

import pytest

from windtunnel.generators.core.generator import Dropped, Generator, Kept
from windtunnel.generators.core.scripted import session
from windtunnel.generators.families._family import Family
from windtunnel.generators.kinds.flan import Flan
from windtunnel.generators.kinds.flan_pairs import FlanPairs
from windtunnel.pipelines.parts.skeleton import write_skeleton
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import built_in, find, make
from windtunnel.schemas.work import versions_of

FAMILIES = built_in("family")
WORDS = (
    "narrow", "river", "valley", "ancient", "builder", "travelled", "northern", "region", "painted", "several",
    "famous", "journey", "across", "carpenter", "mountain", "village", "history", "winter", "summer", "wooden",
    "copper", "silver", "merchant", "traded", "carried", "letters", "stories", "dangerous", "hurricane",
    "fishermen",
)  # fmt: skip
MAJORITY = 0.35  # largest share of one answer in a task


def documents(number: int) -> list[dict[str, str]]:
    """Return small invented articles."""
    rng = random.Random(3)
    things = ("mill", "bridge", "castle", "harbour", "garden", "tower", "market", "quarry", "chapel", "station")
    places = ("Norwich", "Leeds", "Oxford", "Durham", "Lincoln", "Exeter", "Chester", "Ripon", "Wells", "Truro")
    found = []
    for n in range(number):
        thing, place, year = rng.choice(things), rng.choice(places), rng.randint(1200, 1990)
        first, second, third = rng.sample(places, 3)
        told = [" ".join(rng.sample(WORDS, rng.randint(6, 12))) for _ in range(3)]
        trust, owned = "".join(rng.sample("ABCDEFGH", 3)), rng.choice(WORDS)
        text = (
            f"The {place} {thing.capitalize()} is a {rng.choice(WORDS)} {thing} near the {rng.choice(WORDS)}. "
            f"It was built in {year} by a {told[0]}. The road from {first} to {second} and {third} passes the "
            f"{told[1]}. Later the {told[2]}. The Royal Trust ({trust}) owns its {owned}."
        )
        found.append({"id": f"d{n}", "text": text, "source": "articles"})
    return found


def made(given: list[dict[str, str]], **parameters):
    kind = Flan(**parameters)
    return list(kind.generate(session("flan", kind, {}, {"documents": given})))


def rows(outcomes) -> list[dict]:
    return [outcome.row for outcome in outcomes if isinstance(outcome, Kept)]


def lineage(row) -> dict:
    return json.loads(row["lineage"])


def test_a_row_depends_on_the_seed_and_the_document_alone():
    given = documents(40)
    of = {lineage(row)["document"]: row for row in rows(made(given, rows=40, seed=1))}
    again = {lineage(row)["document"]: row for row in rows(made(given[::-2], rows=40, seed=1))}
    assert len(again) == 20 and all(of[name] == row for name, row in again.items())
    assert {row["id"] for row in rows(made(given, rows=40, seed=2))} != {row["id"] for row in of.values()}


def test_documents_give_rows_until_there_are_enough_and_each_is_counted():
    given = [*documents(30), *({"id": f"no{n}", "text": "no", "source": "s"} for n in range(30))]
    outcomes = made(given, rows=20, families=["extraction"], seed=4)
    assert len(rows(outcomes)) == 20
    dropped = [outcome for outcome in outcomes if isinstance(outcome, Dropped)]
    assert dropped and {outcome.reason for outcome in dropped} == {"no_question"}
    everything = made(given, rows=1000, families=["extraction"], seed=4)
    assert Counter(type(outcome).__name__ for outcome in everything) == {"Kept": 30, "Dropped": 30}


def test_a_document_gives_rows_of_other_families_and_never_one_task_twice():
    out = rows(made(documents(30), rows=1000, per_document=9))
    by_document: dict[str, list[dict]] = {}
    for row in out:
        by_document.setdefault(lineage(row)["document"], []).append(lineage(row))
    assert {len(found) for found in by_document.values()} == {9}
    for found in by_document.values():
        assert len({about["task"] for about in found}) == 9
        assert len({about["family"] for about in found}) == len(Flan().families)


def test_sources_are_families_and_groups_are_documents():
    for row in rows(made(documents(30), rows=60, per_document=2)):
        about = lineage(row)
        assert row["source"] == about["family"] in FAMILIES
        assert about["group"] == f"document:{about['document']}"


def test_wordings_can_be_held_out():
    given = documents(60)
    first = rows(made(given, rows=60, templates=2))
    others = rows(made(given, rows=60, templates=[2, 3]))
    assert {lineage(row)["template"] for row in first} == {0, 1}
    assert {lineage(row)["template"] for row in others} == {2, 3}
    answers = [{lineage(row)["document"]: row["messages"][1] for row in out} for out in (first, others)]
    assert answers[0] == answers[1]  # the wording alone differs


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"families": ["sortin"]}, "no family is called 'sortin': did you mean 'sorting'"),
        ({"families": ["sorting", "sorting"]}, "two of `families` have one name"),
        ({"families": ["sorting"], "tasks": ["number"]}, "no task of these families is called 'number'"),
        ({"families": ["sorting", "counting"], "tasks": ["numbers"]}, "`tasks` names none of the family 'counting'"),
        ({"templates": 99}, "has 5 templates, from 0 on"),
        ({"templates": [0, 5]}, "has 5 templates, from 0 on"),
        ({"templates": [1, 1]}, "`templates` names one twice"),
        ({"templates": 0}, "name one or more"),
        ({"templates": []}, "name one or more"),
    ],
)
def test_wrong_parameters_are_told(parameters, message):
    with pytest.raises((RecipeError, ValueError), match=message):
        Flan(**parameters)


def test_an_answer_that_is_not_confirmed_is_no_row(monkeypatch):
    sorting = find(Family, "sorting")
    broken = {name: task._replace(verify=lambda fields, answer: False) for name, task in sorting.tasks.items()}
    monkeypatch.setattr(sorting, "tasks", broken)
    outcomes = made(documents(10), rows=10, families=["sorting"])
    assert {isinstance(outcome, Dropped) and outcome.reason for outcome in outcomes} == {"not_confirmed"}


def test_a_family_of_ones_own_file(tmp_path):
    write_skeleton("family", "my_family", tmp_path)
    with plugin_files.relative_to(tmp_path):
        out = rows(made(documents(20), rows=20, families=["./my_family.py:MyFamily", "sorting"]))
        assert {row["source"] for row in out} == {"my_family", "sorting"}
        flan = make(Generator, {"flan": {"families": ["./my_family.py:MyFamily"]}})
        (versions,) = [v for v in versions_of([flan]) if "MyFamily" in v[0]]
        assert len(versions) == 3  # with the digest of the file, which is part of the key


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_right_and_cannot_be_guessed(name):
    """Many rows of each task: all confirmed, and none is answered by saying always the same."""
    outcomes = made(documents(150), families=[name], rows=10_000, per_document=5)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Dropped)]
    answers: dict[str, Counter[str]] = {}
    for row in rows(outcomes):
        answers.setdefault(lineage(row)["task"], Counter())[row["messages"][1]["content"]] += 1
    assert set(answers) == set(find(Family, name).tasks)
    for task, found in answers.items():
        assert found.total() >= 50, task
        assert max(found.values()) / found.total() < MAJORITY, (task, found.most_common(1))


@pytest.mark.network
def test_answers_of_encyclopedia_leads_are_right_and_cannot_be_guessed():
    from windtunnel.pipelines.samples.sample_set import read

    leads = [row for batch in read("encyclopedia") for row in batch.to_pylist() if row["lang"] == "en"][::7]
    outcomes = made(leads, families=list(FAMILIES), rows=100_000, per_document=4)
    assert len(rows(outcomes)) > 3 * len(leads)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Dropped) and outcome.reason == "not_confirmed"]
    answers: dict[str, Counter[str]] = {}
    for row in rows(outcomes):
        answers.setdefault(lineage(row)["task"], Counter())[row["messages"][1]["content"]] += 1
    assert len(answers) == sum(len(find(Family, name).tasks) for name in FAMILIES)
    assert {task: n for task, n in answers.items() if n.total() > 50 and max(n.values()) / n.total() >= MAJORITY} == {}


def test_answers_are_confirmed_in_another_way_than_they_are_made():
    """Planted errors: the answer of another document's question is refused, unless it is the same answer."""
    for name in FAMILIES:
        for task in make(Family, name).tasks.values():
            texts = [document["text"] for document in documents(30)]
            items = [item for text in texts if (item := task.make(text, random.Random(text), 60)) is not None]
            assert len(items) >= 10
            copies = [item for item in items if item.answer.casefold() in map(str.casefold, item.fields.values())]
            assert len(copies) < 0.2 * len(items), "what is shown is right for those who compare without case"
            for item, other in pairwise(items):
                assert task.verify(item.fields, item.answer)
                if item.answer != other.answer:
                    assert not task.verify(item.fields, other.answer), (item, other)


def test_pairs_have_one_right_answer_and_are_flipped_in_nested_shares():
    given = documents(80)

    def pairs(flipped: float) -> list[dict]:
        kind = FlanPairs(rows=60, flipped=flipped)
        return rows(kind.generate(session("flan_pairs", kind, {}, {"documents": given})))

    def answers(row: dict, side: str) -> str:
        return row[side][0]["content"]

    clean, some, more = pairs(0.0), pairs(0.2), pairs(0.5)
    right = {row["prompt"][0]["content"]: answers(row, "chosen") for row in clean}
    assert len(right) == len(some) == len(more) == 60
    turned = [
        {q for row in made if answers(row, "rejected") == right[q := row["prompt"][0]["content"]]}
        for made in (some, more)
    ]
    assert turned[0] < turned[1] and 4 <= len(turned[0]) <= 20 <= len(turned[1]) <= 40
    for row in [*clean, *some, *more]:
        chosen, rejected = (answers(row, side).casefold().strip(" .") for side in ("chosen", "rejected"))
        assert chosen != rejected and rejected
    told = [json.loads(row["lineage"])["flipped"] for row in some]
    assert sum(told) == len(turned[0])
