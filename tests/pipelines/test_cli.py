"""The commands that look at a run, on a small real one: plan, show, why, list, doctor; exit codes and hostile text."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.command_line import windtunnel
from windtunnel.pipelines.cli import app, main
from windtunnel.pipelines.datasets.tokenizer import TrainTokenizer
from windtunnel.pipelines.plan.builder import plan, planned
from windtunnel.pipelines.recipe.shipped import load
from windtunnel.pipelines.samples import package_clients
from windtunnel.pipelines.views import doctor
from windtunnel.pipelines.views.cards import write_cards
from windtunnel.pipelines.views.console import terminal
from windtunnel.pipelines.views.preview import preview, rows_of
from windtunnel.pipelines.views.show import show
from windtunnel.pipelines.views.verification import verify
from windtunnel.pipelines.views.why import _fate, _introduce, tell
from windtunnel.schemas.errors import InputError, RecipeError

RECIPE = """\
question: Does it look right?
store: {root}/store
corpora:
  raw: {{source: {{jsonl: {root}/documents.jsonl}}}}
  clean: {{from: raw, rules: [{{length: {{min_words: 20}}}}], dedup: {{minhash: {{}}}}}}
"""
PLAIN = " ".join(f"word{k % 97} and{k % 31} so{k % 13}" for k in range(120))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    root = tmp_path_factory.mktemp("cli")
    texts = [f"{PLAIN} tail{k % 5}" for k in range(5)] + [f"short text number {k}" for k in range(4)]
    texts += [" ".join(f"term{k * 100 + j} here" for j in range(60)) for k in range(30)]
    texts += ["\x1b[31m[bold]red[/bold]\x07 " + " ".join(f"odd{j}" for j in range(40))]
    lines = [json.dumps({"text": text, "source": "test"}) for text in texts]
    (root / "documents.jsonl").write_text("\n".join(lines), encoding="utf-8")
    recipe = root / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=root), encoding="utf-8")
    assert command("run", str(recipe), "--workers", "1") == 0
    artifacts = {step.name: root / "store" / step.directory for step in plan(load(str(recipe), [])).steps}
    return SimpleNamespace(recipe=str(recipe), artifacts=artifacts, store=root / "store")


def command(*words: str) -> int:
    """Run a command as the shell does; return its exit code."""
    return windtunnel(*words).returncode


def told(what, *given) -> str:
    console = Console(record=True, width=200, file=io.StringIO(), markup=False, highlight=False)
    what(*given, console)
    return console.export_text()


def test_a_plan_says_what_is_cached_and_what_a_change_would_do(made):
    rows = {row["step"]: row for row in json.loads(told(preview, made.recipe, [], True))}
    assert {row["state"] for row in rows.values()} == {"cached"}
    assert all(made.artifacts[name].name.endswith(f"-{row['key']}") for name, row in rows.items())
    changed = json.loads(told(preview, made.recipe, ["corpora.clean.rules[0].length.min_words=30"], True))
    todo = [row["step"] for row in changed if row["state"] == "to do"]
    assert "measure:clean" not in todo and "decide:clean" in todo and "read:raw" not in todo
    assert all(row["source"] in ("history", "estimate", "") for row in changed if row["state"] == "to do")
    assert "cached; about" in told(preview, made.recipe, [], False)


def test_a_plan_of_nothing_yet_costs_by_the_size_of_its_text(made, tmp_path):
    steps = plan(load(made.recipe, [f"store={tmp_path}"])).steps
    rows = {row.step: row for row in rows_of(steps, tmp_path)}
    assert rows["read:raw"].bytes and rows["read:raw"].seconds and rows["read:raw"].source == "estimate"
    assert not list(tmp_path.iterdir()), "a preview writes nothing"


def test_a_plan_of_a_model_by_its_size_costs_what_that_shape_does(tmp_path):
    seconds = []
    for sizes in ("{parameters: 30M}", "{width: 512, layers: 11, heads: 8}"):
        changes = [f"store={tmp_path}", f"train.model={{llama: {sizes}}}"]
        rows = rows_of(planned("quickstart", changes).steps, tmp_path)
        seconds.append({row.step: row.seconds for row in rows if row.step.startswith("train:")})
    assert seconds[0] and all(value == pytest.approx(seconds[1][step], rel=0.5) for step, value in seconds[0].items())


def test_a_plan_counts_a_file_of_several_parts_once_and_adds_up_a_union(tmp_path, monkeypatch):
    monkeypatch.setattr("windtunnel.pipelines.sources.jsonl.SPLIT_BYTES", 600)
    monkeypatch.setattr("windtunnel.pipelines.sources.parquet.SPLIT_BYTES", 600)
    texts = [f"document number {k} of a file in parts" for k in range(100)]
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    pq.write_table(pa.table({"text": texts}), tmp_path / "rows.parquet", row_group_size=10)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"question: How much is it?\nstore: {tmp_path}/store\ncorpora:\n"
        f"  a: {{source: {{jsonl: {lines}}}}}\n  b: {{source: {{parquet: {tmp_path}/rows.parquet}}}}\n"
        "  both: {from: [a, b], rules: [length]}\n",
        encoding="utf-8",
    )
    steps = planned(str(recipe), []).steps
    assert all(len(step.work.parts) > 3 for step in steps if step.kind == "read")
    sizes = {row.step: row.bytes for row in rows_of(steps, tmp_path / "store")}
    assert sizes["read:a"] == lines.stat().st_size
    assert sizes["read:b"] == (tmp_path / "rows.parquet").stat().st_size
    assert sizes["union:both"] == sizes["measure:both"] == sizes["read:a"] + sizes["read:b"]


def test_show_prints_rows_and_counts_and_no_control_characters(made):
    text = told(show, made.artifacts["read:raw"], 100, None, None)
    assert "read:raw: 40 in, 40 kept" in text
    assert "[bold]red[/bold]" in text and "\x1b" not in text and "\x07" not in text
    assert told(show, made.artifacts["read:raw"], 2, None, None).count("--- ") == 2


def test_show_prints_as_many_rows_as_were_asked_for(tmp_path):
    rows = [{"id": str(k), "text": f"row {k}", "reason": "length.too_few_words"} for k in range(450)]
    for folder in ("kept", "dropped"):
        (tmp_path / folder).mkdir()
        for first in (0, 300):
            frame = pl.DataFrame(rows[first : first + 300 if first == 0 else None])
            frame.write_parquet(tmp_path / folder / f"{first:05d}.parquet")
    for dropped in (None, "length"):
        text = told(show, tmp_path, 400, dropped, None)
        assert text.count("--- ") == 400 and "row 399" in text and "row 250" in text
    other = (tmp_path / "kept" / "00000.parquet").rename(tmp_path / "rows.pq")
    assert told(show, other, 250, None, None).count("--- ") == 250


@pytest.mark.parametrize("packed", [False, True])
def test_show_reads_json_lines_packed_and_of_several_types(tmp_path, packed, monkeypatch):
    records = [
        {"text": f"line {k}", "n": k if k else {"a": [k]}, **({"late": "x"} if k > 280 else {})} for k in range(300)
    ]
    data = "\n".join(json.dumps(record) for record in records).encode()
    path = tmp_path / ("in.jsonl.gz" if packed else "in.jsonl")
    path.write_bytes(gzip.compress(data) if packed else data)
    for place in (path, tmp_path):
        text = told(show, place, 300, None, None)
        assert text.count("--- ") == 300 and "late: x" in text and 'n: {"a": [0]}' in text
    monkeypatch.setattr("windtunnel.pipelines.views.show.DOCUMENT_BYTES", 40)
    path.write_bytes(json.dumps({"text": "x" * 50}).encode() + b"\n" + data)
    assert "line 1 has more than 40 bytes" in told(show, path, 2, None, None)
    path.write_bytes(data + b"\n{broken")
    with pytest.raises(InputError, match="cannot be read"):
        told(show, path, 400, None, None)


def test_show_prints_the_documents_of_a_held_out_set(made, tmp_path):
    more = [f"store={tmp_path}", "held_out={from: raw, share: 0.5}", "corpora.clean.decontaminate=true"]
    assert command("run", made.recipe, "--workers", "1", *(word for one in more for word in ("--set", one))) == 0
    (held_out,) = tmp_path.glob("held_out-*")
    assert "--- 1\nid: " in told(show, held_out, 3, None, None)


def test_show_finds_what_a_rule_dropped(made):
    text = told(show, made.artifacts["corpus:clean"], 10, "length", None)
    assert text.count("short text number") == 4
    with pytest.raises(RecipeError, match="length"):
        told(show, made.artifacts["corpus:clean"], 10, "lenght", None)


def test_show_finds_the_members_of_a_cluster_and_their_text(made):
    (file,) = made.store.glob("*/clusters/*.parquet")
    number = pl.read_parquet(file)["cluster"][0]
    assert told(show, file.parent.parent, 10, None, number).count("--- ") == 5
    text = told(show, made.artifacts["corpus:clean"], 10, None, number)
    assert text.count("--- ") == 5 and text.count("word0 and0 so0") >= 5
    with pytest.raises(InputError, match="no clusters"):
        told(show, made.artifacts["read:raw"], 10, None, number)


def test_why_tells_the_fate_of_a_document(made):
    dropped = pl.read_parquet(made.artifacts["corpus:clean"] / "dropped" / "*.parquet")
    short = dropped.filter(pl.col("reason").str.starts_with("length"))["id"][0]
    text = told(tell, made.recipe, [], short)
    assert "corpus:raw: kept" in text and "corpus:clean: dropped by length." in text and "words" in text
    twin = dropped.filter(pl.col("reason").str.starts_with("minhash"))["id"][0]
    assert "dropped by minhash" in told(tell, made.recipe, [], twin[:10])
    with pytest.raises(InputError, match="no document"):
        told(tell, made.recipe, [], "ffffffffffff")


def test_why_does_not_tell_two_documents_as_one(made, monkeypatch):
    rows = [{"id": f"abcdef{n}", "text": "t", "source": "s", "reason": "r"} for n in range(2)]
    monkeypatch.setattr("windtunnel.pipelines.views.why._rows", lambda files, document: rows if files else [])
    with pytest.raises(InputError, match="several begin with 'abcdef': abcdef0, abcdef1"):
        told(tell, made.recipe, [], "abcdef")


def test_why_shows_no_escape_sequence_of_a_document(tmp_path):
    evil = "evil\x1b[31m\x1b]0;owned\x07"
    documents = {"id": ["abcdef12"], "text": [f"text {evil}"], "source": [evil], "lang": [evil]}
    row = pl.DataFrame({**documents, "why": [{"matched": evil, "words": 3}]}).to_dicts()[0]
    text = told(_introduce, row) + told(_fate, "corpus:raw", "kept", row)
    assert "\x1b" not in text and "\x07" not in text and text.count("evil<U+001B>[31m") == 4 and "words 3" in text


def test_exit_codes_tell_the_kind_of_failure(made, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # a machine without an index is well too
    assert command("plan", made.recipe) == 0
    assert command("show", str(tmp_path / "nothing")) == InputError.exit_code
    assert command("plan", made.recipe, "--set", "corpora.clean.rules[0]=lenght") == RecipeError.exit_code
    assert command("doctor") == 0


def test_a_broken_part_of_the_machine_is_the_exit_code_of_doctor(monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(doctor, "_python", lambda: [(False, "too old")])
    monkeypatch.setattr(sys, "argv", ["windtunnel", "doctor"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1 and "BROKEN too old" in capsys.readouterr().out


def test_doctor_asks_the_package_index_that_pip_has(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", tmp_path.as_uri())  # pip takes a space for the end of a path
    ((state, said),) = doctor._index()
    assert state is None and "no answer" in said and "PIP_INDEX_URL" in said
    (tmp_path / "datatrove-0.0.1-py3-none-any.whl").touch()
    assert doctor._index() == [(True, "the package index answers")]
    monkeypatch.setattr(package_clients, "has_pip", lambda: False)
    ((state, said),) = doctor._index()
    assert state is None and "-m ensurepip" in said


def test_own_files_take_parameters_as_recipes_write_them(tmp_path):
    words = [f"word{i} and{i} then{i} so{i}" for i in range(30)]
    texts = [" ".join(words), " ".join(words[:-1]), "too short"]
    pl.DataFrame({"body": texts, "n": [1, 2, 3]}).write_parquet(tmp_path / "in.parquet")
    own, index = str(tmp_path / "in.parquet"), tmp_path / "index"
    rules = "[{length: {min_words: 5}}]"
    assert command("filter", own, str(tmp_path / "f"), "--rules", rules, "--text", "body") == 0
    assert pl.read_parquet(tmp_path / "f/dropped/*.parquet")["n"].to_list() == [3]
    kind = "{minhash: {ngram: 3, keep: longest}}"
    words = ["--kind", kind, "--text", "body", "--save-index", str(index)]
    assert command("dedup", own, str(tmp_path / "d"), *words) == 0
    assert pl.read_parquet(tmp_path / "d/kept/*.parquet")["n"].sort().to_list() == [1, 3]
    kind = f"{{minhash: {{ngram: 3, keep: longest, index: {index}}}}}"
    assert command("dedup", own, str(tmp_path / "d2"), "--kind", kind, "--text", "body") == 0
    assert pl.read_parquet(tmp_path / "d2/kept/*.parquet")["n"].to_list() == [3]
    for wrong in ("{minhash", "{minhash: {ngrams: 3}}", "minhsh", "exact,minhash", "[]", ""):
        assert command("dedup", own, str(tmp_path / "d3"), "--kind", wrong) == RecipeError.exit_code
    assert command("dedup", own, str(tmp_path / "d3")) == InputError.exit_code  # no column named text


def test_a_file_that_cannot_be_read_is_told_and_text_is_shown_as_it_is(tmp_path):
    from typer.testing import CliRunner

    whole = tmp_path / "in.parquet"
    pl.DataFrame({"text": ["a :books: shelf"]}).write_parquet(whole)
    assert ":books:" in CliRunner().invoke(app, ["show", str(whole)]).output
    (tmp_path / "half.parquet").write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"half\.parquet cannot be read"):
        told(lambda console: show(tmp_path / "half.parquet", 3, None, None, console))
    damaged = bytearray(whole.read_bytes())
    damaged[4:30] = b"\xff" * 26
    (tmp_path / "bad.parquet").write_bytes(damaged)
    with pytest.raises(InputError, match=r"bad\.parquet cannot be read"):
        told(lambda console: show(tmp_path / "bad.parquet", 3, None, None, console))


def test_list_names_every_kind_and_its_parts():
    from typer.testing import CliRunner

    runner = CliRunner()
    for kind, name in (("rule", "gopher_quality"), ("dedup", "minhash"), ("recipes", "quickstart"), ("delta", "lora")):
        result = runner.invoke(app, ["list", kind])
        assert result.exit_code == 0 and name in result.output
    schema = json.loads(runner.invoke(app, ["list", "schema"]).output)
    assert "corpora" in schema["properties"]


@pytest.mark.parametrize(
    ("more", "line", "message"),
    [
        ("mixes: {m: {raw: 1}}\ntokens: {tokenizer: {path: nowhere}, budget: 9}\n", 7, "nowhere: no tokenizer.json"),
        ("held_out:\n  files: {samples: [api_doc]}\n", 7, "no sample set is called 'api_doc'"),
        ("  c: {from: raw, decontaminate: true}\nheld_out: {from: c}\n", 6, "the held-out set is drawn from 'c'"),
    ],
)
def test_what_only_planning_finds_wrong_names_its_line_too(made, tmp_path, more, line, message):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(Path(made.recipe).read_text() + more)
    with pytest.raises(RecipeError, match=message) as raised:
        planned(str(recipe), [])
    assert str(raised.value).startswith(f"{recipe}, line {line}: ") and raised.value.exit_code == 2


def test_a_value_that_no_earlier_check_refused_ends_with_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr("windtunnel.pipelines.cli.app", lambda **_: TrainTokenizer(vocabulary=3))
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == RecipeError.exit_code
    assert "TrainTokenizer, vocabulary: Input should be greater" in capsys.readouterr().err


def test_verify_names_what_is_damaged_and_run_mends_it(made):
    def verified() -> tuple[int, str]:
        code = verify(made.recipe, [], False, console := Console(record=True, width=200, file=io.StringIO()))
        return code, console.export_text()

    code, said = verified()
    assert code == 0 and "no damaged steps" in said and "damaged" not in said.replace("no damaged steps", "")
    kept, report = made.artifacts["corpus:raw"] / "kept" / "00000.parquet", made.artifacts["report"] / "report.html"
    whole = {file: file.read_bytes() for file in (kept, report)}
    for file in whole:
        file.write_bytes(whole[file][:-1] + b"!")
    code, said = verified()
    assert (
        code == 1 and "2 damaged steps" in said and f"`windtunnel run {made.recipe} --verify` does them again" in said
    )
    assert "corpus:raw: kept/00000.parquet has other content than was written" in said
    for read in (lambda: tell(made.recipe, [], "abcdef", terminal()), lambda: write_cards(made.recipe, [])):
        with pytest.raises(InputError, match=r"kept/00000\.parquet has other content than was written: .*--verify"):
            read()
    assert command("verify", made.recipe, "--json") == 1
    assert command("run", made.recipe, "--verify", "--workers", "1") == 0
    assert verified()[0] == 0 and kept.read_bytes() == whole[kept]
    manifests = [made.artifacts[name] / "manifest.json" for name in ("corpus:raw", "report")]
    own = manifests[0].read_bytes()
    manifests[0].write_bytes(manifests[1].read_bytes())
    code, said = verified()
    manifests[0].write_bytes(own)
    assert code == 1 and "Move it away and run again" in " ".join(said.split()) and "does them again" not in said
