"""The sections of aligned models: further measures, margins, wins, the judge; known figures come out again."""

from __future__ import annotations

import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from windtunnel.generators.judging.win_rate import WINS
from windtunnel.pipelines.report.collect import collect
from windtunnel.pipelines.report.page import render
from windtunnel.pipelines.report.wording import judged_by, width_note
from windtunnel.pipelines.run_recipe import _answer
from windtunnel.pipelines.views.compare_tables import further_line
from windtunnel.pipelines.views.tables import print_further
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest, write_text
from windtunnel.schemas.records import PREFERENCE
from windtunnel.schemas.results import Comparison
from windtunnel.trainer.eval.answers import ANSWERS
from windtunnel.trainer.eval.chat_evaluate import PREFERENCES
from windtunnel.trainer.eval.task_scores import ITEMS, summary
from windtunnel.trainer.stats.compare import Compare

HOSTILE = "<script>document.title='planted'</script>\u202e\x00 {{ 7*7 }}"
RECIPE: dict[str, Any] = {
    "question": "Which rows align better?",
    "mixes": {"talk": {"dialogues": 1.0}, "plain": {"instructions": 1.0}},
    "compare": {"baseline": "plain"},
}
MIXES, SEEDS = ("plain", "talk"), (0, 1, 2)
FIGURES = {
    "agreement": 0.61, "low": 0.52, "high": 0.69, "kappa": 0.3, "human_ceiling": None, "swap_consistency": 0.7,
    "baselines": {"longest": 0.58, "first": 0.4, "<i>x</i>": 0.33}, "length_preference": 0.66, "brier": 0.2,
    "ece": 0.05, "n": 140, "findings": ["agreement 0.610 is not clearly above the baseline longest (0.580)"],
}  # fmt: skip


class Tags(HTMLParser):
    """Checks that tags close in order; counts tables and captions, and pictures without a name."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables = self.captions = self.unnamed = 0
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.unnamed += ("role", "img") in attrs and not dict(attrs).get("aria-label")
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class Shelf:
    """Artifacts by step name, sealed as the runner does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: dict[str, Artifact] = {}

    def table(self, step: str, file: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        path = self.root / f"{step.replace(':', '.')}-00000000" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), path)

    def seal(self, step: str, config: Any = None, inputs: dict[str, str] | None = None, **counts: Any) -> None:
        folder = self.root / f"{step.replace(':', '.')}-00000000"
        roles = {role: self.made[name].path.name for role, name in (inputs or {}).items()}
        books = {"seen": 0, "kept": 0, "dropped": {}, "unreadable": {}, "notes": {}, **counts}
        manifest = Manifest(step=step, version=1, key="k" * 32, config=config or {}, inputs=roles, counts=books)
        manifest.write(folder / MANIFEST)
        self.made[step] = Artifact(folder)

    def compare(self, what: str, kind: str, scores: str, metric: str) -> None:
        fields = {
            "baseline": "plain",
            "metric": metric,
            "direction": "higher",
            "scores": scores,
        }
        work = Compare(**fields, on=f"what {what} holds")
        inputs = {f"run:{mix}:{seed}": self.made[f"{kind}:{mix}:{seed}"] for mix in MIXES for seed in SEEDS}
        out = self.root / f"compare.{what}-00000000"
        out.mkdir()
        work.run(inputs, out, 0)
        self.seal(f"compare:{what}")


def pairs(shelf: Shelf) -> None:
    """Twelve held-out pairs, chosen longer in the first eight; a run is right where its mix's rule says so."""
    said = [
        [{"role": "assistant", "content": "y" * (9 if (k < 8) == side else 4)}] for k in range(12) for side in (1, 0)
    ]
    rows = [
        {"id": f"p{k:02d}", "prompt": [{"role": "user", "content": HOSTILE}], "chosen": said[2 * k],
         "rejected": said[2 * k + 1], "source": "ultrafeedback"}
        for k in range(12)
    ]  # fmt: skip
    shelf.table("held_out:prefs", "rows/00000.parquet", rows, PREFERENCE)
    shelf.seal("held_out:prefs")
    for mix in MIXES:
        for seed in SEEDS:
            margins = [(1.0 + seed if k < (6 if mix == "plain" else 8) else -2.0) for k in range(12)]
            margins[11] = 0.0
            lines = [
                {"document": f"p{k:02d}", "source": "ultrafeedback", "group": f"p{k:02d}", "chosen": m,
                 "rejected": 0.0, "margin": m, "correct": 0.5 if m == 0 else float(m > 0), "measure": "implicit_reward"}
                for k, m in enumerate(margins)
            ]  # fmt: skip
            shelf.table(f"train:{mix}:{seed}", "preferences.parquet", lines, PREFERENCES)
            shelf.seal(f"train:{mix}:{seed}", inputs={"held_out_preferences": "held_out:prefs"})


def tasks(shelf: Shelf) -> None:
    for mix in MIXES:
        for seed in SEEDS:
            lines = [
                {"task": task, "document": f"{task}:{k}", "source": task, "group": f"{k}", "prompt": HOSTILE,
                 "answer": "a", "reply": "b", "metrics": [],
                 "correct": float(mix == "talk" and task == "copying" and k + seed > 3), "bytes": 10, "nats": 7.0}
                for task in ("copying", "sorting")
                for k in range(10)
            ]  # fmt: skip
            step = f"tasks:{mix}:{seed}"
            shelf.table(step, "items.parquet", lines, ITEMS)
            write_text(shelf.root / f"tasks.{mix}.{seed}-00000000" / "tasks.json", json.dumps(summary(lines)))
            shelf.seal(step)


def wins(shelf: Shelf) -> None:
    """Ten questions: 0 to 3 won (longer but for one), 4 and 5 lost (shorter), 6 contradictory, 7 failed, 8, 9 equal."""
    for mix in ("plain", "talk"):
        for seed in SEEDS:
            answers = [
                {"document": f"q{k}", "source": "s", "group": f"q{k}", "prompt": f"Question {k} {HOSTILE}",
                 "answer": "same" if k > 7 else f"{mix} says {HOSTILE}"}
                for k in range(10)
            ]  # fmt: skip
            shelf.table(f"answers:{mix}:{seed}", "answers.parquet", answers, ANSWERS)
            shelf.seal(f"answers:{mix}:{seed}")
            even = mix == "plain"
            lines = [
                {"document": f"q{k}", "source": "s", "group": f"q{k}", "bytes": 5,
                 "win": 0.5 if even or k > 5 else float(k < 4), "probability": 0.5 if even or k > 6 else 0.7,
                 "first": None if even or k > 6 else 0.9, "second": None if even or k > 6 else 0.6 if k < 6 else 0.3,
                 "consistent": even or k != 6, "longer": None if even or k > 7 else k in (0, 1, 2)}
                for k in range(10)
            ]  # fmt: skip
            shelf.table(f"wins:{mix}:{seed}", "scores.parquet", lines, WINS)
            roles = {"answers": f"answers:{mix}:{seed}", "baseline": f"answers:plain:{seed}"}
            failed = {} if even else {"no_label": 1}
            shelf.seal(f"wins:{mix}:{seed}", {"judge": {"<b>smol</b>": ["smol"]}}, roles, seen=10, unreadable=failed)


def ratings(shelf: Shelf) -> None:
    """Four answers: the two orders agree on two, are one apart on one, and one has no number."""
    given = [[4.0, 4.0], [2.0, 2.0], [5.0, 4.0], ["not_applicable", "unreadable"]]
    rows = [{"ratings": json.dumps({"honesty": values, "bad']": [1]}), "score_status": "ok"} for values in given]
    rows.insert(0, {"ratings": "{}", "score_status": "not_applicable"})  # an answer that failed has no say
    schema = pa.schema([pa.field("ratings", pa.string()), pa.field("score_status", pa.string())])
    shelf.table("generate:prefs", "responses/00000.parquet", rows, schema)
    config = {"kind": {"ultrafeedback": {"judges": ["smol"]}}, "models": {"smol": {}}}
    lost = {"order_inconsistent": 3, "tie": 1}
    shelf.seal("generate:prefs", config, seen=10, kept=6, dropped=lost, notes={"self_judged": 10})


@pytest.fixture(scope="module")
def aligned(tmp_path_factory) -> Shelf:
    shelf = Shelf(tmp_path_factory.mktemp("aligned"))
    for fill in (pairs, tasks, wins, ratings):
        fill(shelf)
    shelf.compare("preferences", "train", "preferences.parquet", "correct")
    shelf.compare("tasks", "tasks", "items.parquet", "correct")
    shelf.compare("win_rate", "wins", "scores.parquet", "win")
    return shelf


def page(made: dict[str, Artifact]) -> str:
    return render(collect(RECIPE, made))


def part(html: str, section: str) -> str:
    """Return the words of one section, cells apart."""
    found = html.split(f'<section id="{section}"')[1].split("</section>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", found.replace("<wbr>", "")))


def test_sections_stand_in_order_and_hostile_text_is_text(aligned) -> None:
    data = collect(RECIPE, aligned.made)
    names = [section.name for section in data.sections]
    assert names == ["measures", "margins", "wins", "judge", "generated", "cost", "reproduce"]
    html = render(data)
    assert "<script" not in html and "{{" in html and ">49<" not in html and "<b>smol" not in html
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", html)
    assert "&lt;b&gt;smol&lt;/b&gt;" in html and "&lt;U+202E&gt;" in html
    assert page(aligned.made) == html
    tags = Tags(html)
    assert tags.tables == tags.captions >= 7 and not tags.unnamed
    places = [float(v) for v in re.findall(r' (?:x|y|width|height|x1|x2)="(-?[\d.]+)%"', html)]
    assert len(places) > 60 and all(-0.01 <= v <= 100.01 for v in places)


def test_measures_say_what_they_found_and_on_what(aligned) -> None:
    words = part(page(aligned.made), "measures")
    assert "Measured on what preferences holds: 12 pairs" in words and "what tasks holds: 20 items" in words
    for what in ("preferences", "tasks", "win_rate"):
        found = comparison(aligned, what)
        (effect,) = found.effects
        assert f"{effect.value:.2f}" in words and f"{found.values['plain']:.2f}" in words
    assert "plain against itself is one half by definition" in words
    assert "talk: the interval is wide" in words
    copying = words[words.index("copying 10") :]
    assert "1.01 bits/byte" in copying  # 7 nats on 10 bytes
    assert "sorting 10" in copying


def test_runs_that_judge_pairs_by_different_measures_are_told(aligned, tmp_path) -> None:
    found = comparison(aligned, "preferences")
    assert found.judged_by == {"plain": "implicit_reward", "talk": "implicit_reward"} and judged_by(found) == ""
    assert "judge pairs by" not in part(page(aligned.made), "measures")
    other = found.model_copy(update={"judged_by": {"plain": "implicit_reward", "talk": "nats_per_byte"}})
    words = "Not all judge pairs by the same measure: plain by implicit reward; talk by nats per byte."
    assert judged_by(other).startswith(words)
    shutil.copytree(aligned.made["compare:preferences"].path, tmp_path / "compare")
    write_text(tmp_path / "compare" / "comparison.json", other.model_dump_json())
    made = {**aligned.made, "compare:preferences": Artifact(tmp_path / "compare")}
    assert words in part(page(made), "measures")
    console = Console(file=io.StringIO(), width=400)
    print_further("preferences", tmp_path / "compare", console)
    assert words in console.file.getvalue()  # type: ignore[attr-defined]


def test_margins_by_mix_with_length(aligned) -> None:
    words = part(page(aligned.made), "margins")
    assert "12 held-out pairs" in words and "over the start model" in words
    # 6 of 12 right and a tie that counts half; of 8 pairs with the longer answer chosen 6 are right, and 0.5 of 4
    assert "plain 54.2% 3 −2.00 −2.00 +0.50 +2.00 +3.00 75.0% of 24 12.5% of 12" in words
    assert "talk 70.8% 3" in words and "100% of 24 12.5% of 12" in words
    html = page(aligned.made)
    bars = re.findall(r'class="(right|wrong)" x="[\d.]+%" y="[\d.]+%" width="[\d.]+%" height="([\d.]+)%"', html)
    assert {side for side, _ in bars} == {"right", "wrong"}
    assert max(float(height) for _, height in bars) == 100


def test_margins_that_are_no_numbers_are_counted_and_not_drawn(aligned, tmp_path) -> None:
    shelf = Shelf(tmp_path)
    line = {
        "document": "p",
        "source": "s",
        "group": "p",
        "chosen": 0.0,
        "rejected": 0.0,
        "correct": 0.5,
        "measure": "<u>",
    }
    rows = [{**line, "margin": value} for value in (float("nan"), float("inf"), 0.0)]
    shelf.table("train:talk:0", "preferences.parquet", rows, PREFERENCES)
    shelf.table("train:plain:0", "preferences.parquet", rows[:1], PREFERENCES)
    for mix in MIXES:
        shelf.seal(f"train:{mix}:0", inputs={})
    words = part(page(shelf.made), "margins")
    assert "talk : 2 margins are no finite numbers" in words and "plain : 1 margins" in words
    assert "&lt;u&gt;" in words and "chosen longer" not in words


def test_wins_add_up_and_show_three_pairs(aligned) -> None:
    html = page(aligned.made)
    words = part(html, "wins")
    # three seeds of: 4 wins, 2 losses, 4 ties; of 7 verdicts on different answers one is contradictory
    assert "talk 60.0% 12 12 6 3 6 3 85.7% 57.1% 83.3% of 18 37.5%" in words
    block = html.split('<section id="wins"')[1].split("</section>")[0]
    assert block.count('<figure class="doc">') == 3
    assert all(
        said in words for said in ("talk: wins in both orders", "talk: loses in both", "the two orders disagree")
    )
    assert "plain 50.0%" not in words  # the baseline is not judged against itself


def test_wins_without_their_answers_still_count(aligned) -> None:
    made = {name: artifact for name, artifact in aligned.made.items() if not name.startswith("answers")}
    words = part(page(made), "wins")
    assert "talk 60.0% 12 12 6 3 6 3 85.7% 57.1% 83.3% of 18 37.5%" in words
    assert "both answers" not in words


def test_the_judge_is_said_not_to_be_calibrated(aligned) -> None:
    words = part(page(aligned.made), "judge")
    assert "The judge was not calibrated against people." in words
    assert "24 3 85.7% 83.3% of 18" in words
    assert "the longer answer won 83.3%: it may be judging length" in words
    # of 8 ratings one does not apply and one is unreadable; 3 answers have both numbers, two of them the same
    assert "honesty 8 12.5% 12.5% 0.0% 66.7% 100% 0.33" in words
    assert "3 (30.0%)" in words and "judged answers of its own model on 100%" in words


def test_a_calibration_is_shown_with_its_limits(aligned, tmp_path) -> None:
    for name, text in {
        "good": json.dumps(FIGURES),
        "bad": "{",
        "odd": '{"agreement": true, "low": 0, "high": 1}',
    }.items():
        folder = tmp_path / name
        write_text(folder / "calibration.json", text)
        manifest = Manifest(step="calibration", version=1, key="k" * 32, config={}, counts={"seen": 0})
        manifest.write(folder / MANIFEST)
    made = {f"calibration:{name}": Artifact(tmp_path / name) for name in ("good", "bad", "odd")}
    words = part(page({**aligned.made, **made}), "judge")
    assert "not calibrated" not in words
    assert "agreement with people 0.610 [0.520, 0.690] pairs 140 agreement without ties – human ceiling –" in words
    assert "Agreement 0.610 is not clearly above the baseline longest (0.580)." in words
    assert "calibration:bad could not be read" in words and "calibration:odd could not be read" in words


def test_planted_pairs_do_not_pass_for_people(aligned, tmp_path) -> None:
    planted = FIGURES | {"planted": True, "pairs": "<b>seeds</b>", "findings": ["it goes <i>by position</i>"]}
    write_text(tmp_path / "calibration.json", json.dumps(planted))
    manifest = Manifest(step="calibrate:j", version=1, key="k" * 32, config={}, counts={"seen": 0})
    manifest.write(tmp_path / MANIFEST)
    html = page({**aligned.made, "calibrate:j": Artifact(tmp_path)})
    words = part(html, "judge")
    assert "The judge was not calibrated against people." in words
    assert "Against planted pairs: calibrate:j" in words and "agreement with the labels 0.610" in words
    assert "&lt;b&gt;seeds" in html and "It goes &lt;i&gt;by position" in html


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("compare",), ["measures"]),
        (("train",), ["margins"]),
        (("wins",), ["wins", "judge"]),
        (("generate",), ["judge", "generated"]),
        (("tasks", "answers"), []),
    ],
)
def test_each_section_stands_alone(aligned, kinds, expected) -> None:
    made = {name: artifact for name, artifact in aligned.made.items() if name.partition(":")[0] in kinds}
    sections = [section.name for section in collect(RECIPE, made).sections]
    assert [name for name in sections if name not in ("cost", "reproduce")] == expected
    tags = Tags(page(made))
    assert tags.tables == tags.captions and not tags.unnamed


def comparison(shelf: Shelf, what: str) -> Comparison:
    return Comparison.model_validate_json((shelf.made[f"compare:{what}"].path / "comparison.json").read_bytes())


def test_the_command_line_prints_a_line_a_comparison(aligned) -> None:
    steps = [
        SimpleNamespace(name=name, kind="compare", artifact=lambda _, found=artifact: found)
        for name, artifact in aligned.made.items()
        if name.startswith("compare:")
    ]
    console = Console(file=io.StringIO(), width=60, record=True)
    gone = SimpleNamespace(name="compare", kind="compare", artifact=lambda _: Artifact(aligned.root / "gone"))
    _answer(SimpleNamespace(steps=[*steps, gone]), aligned.root, console)  # type: ignore[arg-type]
    told = console.export_text().splitlines()
    lines = [line for line in told if "): plain" in line]
    assert len(lines) == 3 and [line.split()[0] for line in told if re.match(r"task |copying|sorting", line)] == [
        "task", "copying", "sorting",
    ]  # fmt: skip
    assert re.match(r"held-out preferences \(\d+ pairs, share right\): plain 0\.54; talk 0\.71, \+0\.17 \[", lines[0])
    assert all(re.search(r"\] (better|not distinguishable)$", line) for line in lines)
    assert re.match(
        r"win rate by a judge \(\d+ questions, wins, .* half\): plain 0\.50; talk 0\.60, \+0\.10 \[", lines[2]
    )


def test_a_hostile_name_stays_on_its_line(aligned) -> None:
    found = comparison(aligned, "tasks")
    effect = found.effects[0].model_copy(update={"mix": "x\x1b[31m\ny"})
    line = further_line("odd\nname", found.model_copy(update={"effects": [effect]})).plain
    assert "\x1b" not in line and "\n" not in line and line.startswith("odd name (")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"low": -0.2, "high": 0.3, "verdict": "undecided"}, "rules out neither a large gain nor a large loss"),
        ({"low": 0.1, "high": 0.3, "verdict": "better"}, "the direction is sure, the size is not"),
        ({"low": -0.01, "high": 0.3, "verdict": "undecided"}, "a difference of 30 points is not ruled out"),
        ({"low": None, "high": None}, "one seed shows no spread"),
        ({"low": -0.01, "high": 0.02}, ""),
    ],
)
def test_a_wide_interval_is_called_wide(aligned, change, words) -> None:
    note = width_note(comparison(aligned, "tasks").effects[0].model_copy(update=change), "items")
    assert (words in note) if words else note == ""
