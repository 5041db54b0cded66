"""Sets of rows from files to runs: cleaned, decided on, held out, mixed, trained on; what is lost is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from windtunnel.pipelines.cli import app
from windtunnel.pipelines.datasets.chat_split import ChatSplit
from windtunnel.pipelines.datasets.mix_rows import MixRows
from windtunnel.pipelines.datasets.union import Union
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.rows.clean import CleanRows
from windtunnel.pipelines.rows.read_rows import read_rows_work
from windtunnel.schemas.artifact import Artifact, Manifest
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.records import OWN_CONVERSATION
from windtunnel.schemas.results import Comparison

WORDS = [
    "river",
    "mountain",
    "engine",
    "music",
    "planet",
    "garden",
    "market",
    "castle",
    "forest",
    "language",
    "energy",
    "colour",
]


class Made(Artifact):
    """Files of a step that was run by hand."""


def made(folder: Path) -> Any:
    return Made(folder)


def chat(*contents: str, system: str = "") -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    return {"messages": ([{"role": "system", "content": system}] if system else []) + turns}


def write(path: Path, *records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def read(path: str, out: Path) -> Any:
    read_rows_work({"jsonl": path}).run({}, out, 0)
    return made(out)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_cleaning_keeps_system_turns_tools_and_the_ids_of_rows_that_are_clean(tmp_path):
    call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f"}}]}
    tool_use = {"messages": [{"role": "user", "content": "Look up the rain in Spain."}, call]}
    tool_use["messages"] += [{"role": "tool", "content": "much"}, {"role": "assistant", "content": "It rains a lot."}]
    records = [
        chat("What is a long river?", "The Nile is one.", system="Be brief."),
        chat("What is a <div>high</div> hill?", "1 / 2\nThe Zugspitze is one."),
        tool_use,
        chat("Only a question that has no answer"),
        chat("Why?", "Network error"),
    ]
    source = read(write(tmp_path / "a.jsonl", *records), tmp_path / "read")
    counts = CleanRows(kind={"sharegpt": {"near_duplicate": None}}).run({"conversations": source}, tmp_path / "out", 0)
    assert counts.dropped == {"too_few_turns": 1, "service_message": 1} and (counts.seen, counts.kept) == (5, 3)
    before, after = rows_of(tmp_path / "read" / "rows"), rows_of(tmp_path / "out" / "rows")
    assert after[0] == before[0] and after[2] == before[2] and after[0]["messages"][0]["role"] == "system"
    assert [turn["content"] for turn in after[1]["messages"]] == ["What is a high hill?", "The Zugspitze is one."]
    assert json.loads(after[1]["lineage"])["cleaned"] == before[1]["id"]
    assert {row["reason"] for row in rows_of(tmp_path / "out" / "dropped")} == set(counts.dropped)


def test_no_turn_of_a_training_row_asks_what_is_held_out(tmp_path):
    question, later = "How do I sort a list of numbers by size?", "And how many rivers flow into the Baltic Sea?"
    held_out = [
        chat(question, "Call sorted."),
        chat("Tell me about seas.", "They are salty.", later, "250.", "Thanks", "!"),
    ]
    leaks = [
        chat("Hello there.", "Hello!", f"Fine. {question}", "Call sorted."),
        chat("Go ahead.", "Call sorted.", system=f"A user asks you: {question}"),
        chat(later, "Over 250."),
    ]
    others = [chat("Tell me of lists.", "No.", "Thanks", "!"), chat("Thanks", "!"), chat("Hi", "Ho", later, "What?")]
    rows = {"rows": read(write(tmp_path / "a.jsonl", *leaks, *others), tmp_path / "read")}
    rows["held_out"] = read(write(tmp_path / "h.jsonl", *held_out), tmp_path / "held_out")
    counts = ChatSplit(side="train", share=0.0).run(rows, tmp_path / "out", 0)
    assert counts.dropped == {"near_held_out": 3}
    ids = [row["id"] for row in rows_of(tmp_path / "held_out" / "rows")]
    assert [row["held_out_id"] for row in rows_of(tmp_path / "out" / "dropped")] == [ids[0], ids[0], ids[1]]


def test_parts_of_a_split_conversation_share_a_group(tmp_path):
    record = chat("First question here?", "First answer here.", "Second question?", "Second answer here.")
    source = read(write(tmp_path / "a.jsonl", record), tmp_path / "read")
    kind = {"sharegpt": {"near_duplicate": None, "characters_at_most": 40}}
    CleanRows(kind=kind).run({"conversations": source}, tmp_path / "out", 0)
    parts = rows_of(tmp_path / "out" / "rows")
    assert len(parts) == 2 and len({json.loads(part["lineage"])["group"] for part in parts}) == 1


@pytest.mark.parametrize(
    ("options", "few", "many", "copies"),
    [
        ({"by": "rows"}, 10, 30, 10),
        ({"by": "rows", "max_epochs": 3, "total": 120}, 10, 90, 30),
        ({"by": "rows", "total": 20}, 5, 15, 5),
        ({"by": "bytes"}, 10, 300, 10),
    ],
)
def test_rows_are_mixed_by_what_the_recipe_says_and_repeated_up_to_a_limit(options, few, many, copies, tmp_path):
    sets = {
        "few": [chat(f"q{n}", "x" * 100) for n in range(10)],
        "many": [chat(f"r{n}", "y" * 10) for n in range(500)],
    }
    inputs = {
        f"rows:{name}": read(write(tmp_path / name, *rows), tmp_path / f"read-{name}") for name, rows in sets.items()
    }
    work = MixRows(weights={"few": 1.0, "many": 3.0}, **options)
    counts = work.run(inputs, tmp_path / "mix", 0)
    rows = rows_of(tmp_path / "mix" / "rows")
    assert counts.kept == len({row["id"].partition("~")[0] for row in rows}) == few + many
    assert sum(row["set"] == "few" for row in rows) == copies and len({row["id"] for row in rows}) == len(rows)
    told = {part["name"]: part for part in json.loads((tmp_path / "mix" / "mix.json").read_text())["domains"]}
    assert (told["few"]["rows"], told["few"]["copies"], told["few"]["weight"]) == (few, copies, 0.25)
    with pytest.raises(InputError, match=r"lower `row_mixes\.total` to"):
        work.model_copy(update={"total": 10**6}).run(inputs, tmp_path / "more", 0)


def test_a_set_without_rows_is_told_where_it_is_used_with_the_reason(tmp_path):
    empty, some = made(tmp_path / "rows.none"), read(write(tmp_path / "a.jsonl", chat("Why?", "So.")), tmp_path / "a")
    (tmp_path / "rows.none" / "rows").mkdir(parents=True)
    pq.write_table(OWN_CONVERSATION.empty_table(), tmp_path / "rows.none" / "rows" / "00000.parquet")
    with pytest.raises(InputError, match=r"none has no row to give.*rows\.none"):
        Union(folder="rows").finish({"a": some, "none": empty}, tmp_path / "union")
    mix = MixRows(weights={"none": 1.0})
    for counts, reason in ({}, "its own steps have left none"), ({"near_held_out": 3}, r"near to it.*near_held_out 3"):
        Manifest(step="s", version=1, key="k", config={}, counts={"dropped": counts}).write(
            empty.path / "manifest.json"
        )
        with pytest.raises(InputError, match=reason):
            mix.run({"rows:none": Artifact(empty.path)}, tmp_path / "mix", 0)
    blank = read(write(tmp_path / "b.jsonl", chat("Why?", "")), tmp_path / "b")
    with pytest.raises(InputError, match="none of its 1 rows has an answer"):
        mix.run({"rows:none": blank}, tmp_path / "mix", 0)


def test_how_a_task_is_scored_is_no_part_of_what_is_kept_out_of_training(own):
    def key(tasks: str) -> str:
        (own / "own.yaml").write_text(RECIPE.replace("{{exact: own.jsonl}}", tasks).format(store="runs/own"))
        return planned("own.yaml", []).find("train:one:0").key

    before = key("{{exact: own.jsonl}}")
    assert key("{{exact: {{file: own.jsonl, max_tokens: 9}}}}") == before
    write(own / "own.jsonl", {"question": "Which one?", "answer": "This"})
    assert key("{{exact: own.jsonl}}") != before


RECIPE = """
question: Which of my sets is better?
store: {store}
rows:
  one: {{source: {{jsonl: one.jsonl}}, dedup: [exact, {{minhash: 0.8}}], rules: [{{length: {{min_words: 2}}}}]}}
  two: {{source: {{jsonl: two.jsonl}}, clean: sharegpt}}
  pairs: {{source: {{jsonl: pairs.jsonl}}}}
held_out: {{files: {{jsonl: held.jsonl}}, share: 0.3}}
mixes:
  one: {{one: 1, pairs: 1}}
  both: {{one: 0.5, two: 0.5, pairs: 1}}
tokens: {{tokenizer: {{bpe: 300, trained_on: one}}}}
train:
  model: {{llama: {{width: 16, layers: 1, heads: 2, context: 128}}}}
  template: mine.jinja
  seeds: [0, 1]
  stages: [{{sft: {{budget: 300, batch_tokens: 150}}}}, {{dpo: {{budget: 100, batch_tokens: 50}}}}]
evaluate: {{tasks: [{{exact: own.jsonl}}]}}
compare: {{baseline: one, margin: 0.01}}
"""
TEMPLATE = (
    "{% for m in messages %}{% if loop.index > 2 %}{{ raise_exception('one round only') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A recipe on files: of set `two` all rows have two rounds, which its template refuses; questions leak in."""
    monkeypatch.chdir(tmp_path)

    def asked(n: int) -> str:
        return f"What is the {WORDS[n % 12]} number {n} of the {WORDS[n // 12]}?"

    held = [chat(asked(n), f"It is {WORDS[n]}.") for n in range(12)]
    tasks = [{"question": f"Which {WORDS[n]} has the number {n}?", "answer": WORDS[n]} for n in range(5)]
    leaks = [chat(f"Please {turns['messages'][0]['content']}", "Known.") for turns in held]
    leaks += [chat(f"Tell me. {task['question']}", "Known.") for task in tasks]
    ones = [chat(asked(n), f"The {WORDS[n % 12]} it is, and {n}.") for n in range(20, 60)]
    write(tmp_path / "one.jsonl", *ones, ones[0], chat("Is it short?", "Yes"), *leaks)
    twos = [chat(asked(n), f"So {WORDS[n % 12]}.", "And why is that?", "Because it is.") for n in range(60, 90)]
    write(tmp_path / "two.jsonl", *twos)
    pairs = [{"prompt": asked(n), "chosen": f"It is {n}.", "rejected": "No idea."} for n in range(90, 110)]
    write(tmp_path / "pairs.jsonl", *pairs, {"prompt": asked(1), "chosen": "Yes.", "rejected": "No."})
    write(tmp_path / "held.jsonl", *held, chat("And with two rounds?", "No.", "Why?", "So."))
    write(tmp_path / "own.jsonl", *tasks)
    (tmp_path / "mine.jinja").write_text(TEMPLATE)
    (tmp_path / "own.yaml").write_text(RECIPE.format(store="runs/own"))
    return tmp_path


def cli(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_a_recipe_on_files_counts_what_is_refused_and_withholds_verdicts(own):
    found = cli("plan", "own.yaml")
    assert found.exit_code == 0, found.output
    assert "read:pairs has preferences in the layout preference" in found.output
    found = cli("run", "own.yaml", "--workers", "1")
    assert found.exit_code == 0, found.output
    store = own / "runs" / "own"
    (train,) = store.glob("train_rows.one-*")
    dropped = json.loads((train / "manifest.json").read_text())["counts"]["dropped"]
    assert dropped == {"near_held_out": 17}  # "Please ..." and "Tell me. ...": of held-out questions and of tasks
    (pairs,) = store.glob("train_rows.pairs-*")
    assert json.loads((pairs / "manifest.json").read_text())["counts"]["dropped"]["asked_in_held_out"] == 1
    (rows,) = store.glob("rows.one-*")
    assert json.loads((rows / "manifest.json").read_text())["counts"]["dropped"] == {
        "exact": 1,
        "length.too_few_words": 1,
    }
    (compare,) = store.glob("compare-*")
    comparison = Comparison.read(compare)
    (effect,) = comparison.effects
    assert (
        effect.verdict == "undecided"
        and "two has 0.0% of its conversations, the recipe gives it 50.0%" in effect.withheld
    )
    assert "No verdict on both against one" in found.output and "template_refused" in found.output
    assert comparison.on.documents == 12 and "not measured: 1 of 13 held-out conversations" in comparison.on.description
    lost = {part.set: part for part in comparison.encoded["both"] if part.role == "conversations"}
    assert lost["two"].refused == {"template_refused": lost["two"].rows} and lost["two"].kept == 0
    for what in ("preferences", "tasks"):
        (further,) = store.glob(f"compare.{what}-*")
        other = Comparison.read(further)
        assert other.effects[0].withheld and "held-out conversations" not in other.on.description
    (report,) = store.glob("report-*/report.html")
    text = report.read_text()
    assert "No verdict." in text and "one round only" not in text and "template_refused" in text
    found = cli("card", "own.yaml", "--out", "cards")
    assert found.exit_code == 0, found.output
    card = (own / "cards" / "two.md").read_text().replace("\\", "")
    assert "Models of both did not learn from 30 of 30 conversations of two (template" in card
    assert "sharegpt" in card and (own / "cards" / "one.md").exists()
    again = cli("run", "own.yaml", "--workers", "1")
    assert "0 steps executed" in again.output
    leak = next(row["id"] for row in rows_of(rows / "rows") if row["messages"][0]["content"].startswith("Please "))
    told = cli("why", "own.yaml", leak).output
    assert "one.jsonl:43" in told and "train_rows:one: dropped by near_held_out, by the held-out row " in told
    assert "mix:one: kept" in cli("why", "own.yaml", rows_of(rows / "rows")[0]["id"]).output


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("one: {{one: 1, pairs: 1}}", "one: {{one: 1}}", "learns from preferences, and the mix 'one' holds none"),
        ("clean: sharegpt", "clean: lima", "all"),
        ("clean: sharegpt", "clean: {{alpaca: {{model: m}}}}", "no model is called 'm'|asks no model"),
        ("dedup: [exact,", "dedup: [substring,", "rows stay or go whole"),
        ("source: {{jsonl: two.jsonl}}, clean", "from: nothing, clean", "no set of rows is called 'nothing'"),
        ("source: {{jsonl: two.jsonl}}, clean", "from: two, clean", "made from itself"),
        ("source: {{jsonl: two.jsonl}}, clean", "from: pairs, clean", "`clean:` is for conversations"),
        ("files: {{jsonl: held.jsonl}}", "files: {{jsonl: pairs.jsonl}}", "name them under `held_out.preferences:`"),
        ("template: mine.jinja", "template: other.jinja", "no template of ours .* and no readable file"),
        ("source: {{jsonl: two.jsonl}}, clean", "from: [one, one], clean", "'one' is named twice"),
        ("trained_on: one", "trained_on: none", "no corpus or set of rows is called 'none'"),
        ("{{exact: own.jsonl}}", "{{exact: gone.jsonl}}", "gone.jsonl cannot be read"),
        ("length: {{min_words: 2}}", "c4: {{}}", "rewrites text"),
        (
            "rows:\n  one",
            "corpora: {{one: {{source: {{jsonl: one.jsonl}}}}}}\nrows:\n  one",
            "names other data already",
        ),
    ],
)
def test_what_could_only_fail_later_is_refused_when_it_is_planned(old, new, said, own):
    (own / "own.yaml").write_text(RECIPE.replace(old, new).format(store="runs/own"))
    if said == "all":  # a generator as a word of `rows:` leaves rows whole
        assert planned("own.yaml", []).find("clean:two").work.kind["lima"]["rounds"] == "all"
        return
    with pytest.raises((RecipeError, InputError), match=said):
        planned("own.yaml", [])


def test_the_students_template_is_checked_before_anything_is_made(own, chat_student):
    text = RECIPE.replace(
        "  model: {{llama: {{width: 16, layers: 1, heads: 2, context: 128}}}}\n", "  start: student\n"
    )
    text = text.replace(
        "tokens: {{tokenizer: {{bpe: 300, trained_on: one}}}}", f"models: {{{{student: {{{{path: {chat_student}}}}}}}}}"
    )
    (own / "own.yaml").write_text(text.format(store="runs/own"))
    found = cli("run", "own.yaml")
    assert isinstance(found.exception, RecipeError) and str(found.exception).startswith("own.yaml, line 6: ")
    assert "no row can be learnt by the model student: of the first 30 rows of two" in str(found.exception)
    assert not list((own / "runs").glob("own/read*"))
    (own / "two.jsonl").write_text((own / "one.jsonl").read_text())
    found = cli("plan", "own.yaml")
    assert found.exit_code == 0 and "cannot be trained on" in " ".join(found.output.split()), found.output


def test_own_questions_are_asked_for_win_rates_and_kept_out_of_training(own):
    write(own / "ask.jsonl", {"question": "Which river is long?"})
    judge = "judge: {{url: 'http://localhost:9/v1', model: j}}"
    text = RECIPE.replace("evaluate:", f"models: {{{{{judge}}}}}\nevaluate:")
    text = text.replace("own.jsonl}}]", "own.jsonl}}], win_rate: {{judge: judge, files: {{jsonl: ask.jsonl}}}}")
    (own / "own.yaml").write_text(text.format(store="runs/own"))
    plan = planned("own.yaml", [])
    assert plan.find("answers:one:0").inputs["questions"].name == "questions:win_rate"
    assert plan.find("train_rows:one").inputs["held_out:questions"].name == "questions:win_rate"
    assert plan.find("read:questions").work.layout == {"question": {"prompt": None, "system": None}}


def test_rows_that_teach_nothing_are_refused():
    from windtunnel.trainer.data.chat_check import conversation_problem
    from windtunnel.trainer.data.row_encoders import Limits, encode_conversation

    echo = chat("Say it again, Sam.", " Say it again, Sam. ")["messages"]
    assert conversation_problem(echo) == "answer_equals_question"
    with pytest.raises(Exception, match="undesirable_answer"):
        encode_conversation(None, Limits(9, False), {"messages": echo, "label": False})  # type: ignore[arg-type]


@pytest.fixture
def chat_student(tmp_path):
    """A model directory with a tokenizer, whose weights nobody needs here."""
    import numpy as np
    from safetensors.numpy import save_file

    from tests.pipelines.conftest import write_byte_tokenizer

    folder = tmp_path / "student"
    write_byte_tokenizer(folder)
    (folder / "config.json").write_text("{}")
    save_file({"a": np.ones(1, np.float32)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("command", "kept", "reason"),
    [
        (("filter", "--rules", "[{length: {min_words: 4}}]"), 2, "length.too_few_words"),
        (("dedup", "--kind", "exact"), 2, "exact"),
        (("dedup", "--kind", "{exact: {normalise: true}}", "--text", "question"), 1, "exact"),
        (("decontaminate", "--against", "bench.jsonl"), 2, "contaminated"),
    ],
)
def test_commands_take_files_of_rows_and_keep_their_columns(command, kept, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = "Rivers carry water from the hills to the sea, and some of them are very long."
    rows = [
        chat("What are rivers?", long),
        chat("what are Rivers", "Yes, indeed they are."),
        chat("What are rivers?", long),
    ]
    rows[1] = rows[1] if command[0] != "filter" else chat("What are rivers?", "Yes")
    if command[0] == "decontaminate":
        rows[2] = chat("And what are seas?", "They are large.")
    write(tmp_path / "mine.jsonl", *[{**row, "mine": n} for n, row in enumerate(rows)], {"messages": []})
    write(tmp_path / "bench.jsonl", {"text": f"What are rivers? {long}"})
    found = cli(command[0], "mine.jsonl", "out", *command[1:])
    assert found.exit_code == 0, found.output
    left, gone = rows_of(tmp_path / "out" / "kept"), rows_of(tmp_path / "out" / "dropped")
    assert (len(left), len(gone)) == (kept, 3 - kept) and {row["reason"] for row in gone} == {reason}
    assert all(row["messages"] == rows[row["mine"]]["messages"] for row in [*left, *gone])
    assert set(left[0]) <= {"messages", "mine", "why"}
    assert [row["error"] for row in rows_of(tmp_path / "out" / "unreadable")] == ["no_messages"]
    with pytest.raises(RecipeError, match="stay or go whole"):
        raise cli("dedup", "mine.jsonl", "cut", "--kind", "line").exception


def test_scores_of_copies_are_no_rows_of_their_own(tmp_path):
    """Copies have ids of their own, for the order of training, and the group of their row."""
    source = read(write(tmp_path / "a.jsonl", chat("a question", "b")), tmp_path / "read")
    MixRows(weights={"a": 1.0}, by="rows", max_epochs=2).run({"rows:a": source}, tmp_path / "mix", 0)
    first, second = rows_of(tmp_path / "mix" / "rows")
    assert second["id"] == f"{first['id']}~2" and first["messages"] == second["messages"]
    assert pl.DataFrame(pa.table(pq.read_table(tmp_path / "mix" / "rows" / "00000.parquet"))).height == 2
