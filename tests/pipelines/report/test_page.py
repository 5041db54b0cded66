"""The report's page: everything is on it, nothing is loaded, and text from data stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from tests.pipelines.report.conftest import folder_of, seal
from windtunnel.pipelines.report.collect import collect, section_classes
from windtunnel.pipelines.report.page import render, write_report
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest, write_text
from windtunnel.schemas.results import Comparison
from windtunnel.schemas.work import Counts

HOSTILE = (
    "<script>document.title = 'planted'</script>",
    '"><img src=x onerror=alert(1)>',
    "</blockquote><svg onload=alert(1)>",
    "{{ 7 * 7 }}",
    "\u202e turned \x00",
)
VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags close in order, and gathers tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes what is not open"

    def handle_data(self, data):
        self.text.append(data)

    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture(scope="module")
def html(store) -> str:
    return render(collect(store.recipe, store.artifacts))


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_every_section_is_there_in_order_with_its_anchor(page) -> None:
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section" and attrs.get("id")]
    assert sections == [
        "effects", "domains", "curves", "mixes", "corpora", "held_out", "cost", "provenance", "reproduce",
    ]  # fmt: skip
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs["href"] != "#main"]
    assert links == [f"#{name}" for name in sections]
    assert {cls.__module__.rpartition(".")[2] for cls in section_classes()} == {
        *sections, "classifiers", "statistics", "overlap", "generated", "measures", "margins", "wins", "judge", "parts",
        "rewards", "rows", "trainings", "validation", "text_samples",
    }  # fmt: skip


def test_the_answer_stands_at_the_top_with_its_target(page, store) -> None:
    comparison = Comparison.model_validate_json((store.artifacts["compare"].path / "comparison.json").read_bytes())
    verdicts = {e.mix: e.verdict for e in comparison.effects}
    assert verdicts == {"filtered": "better", "deduped": "equivalent"}
    words = page.words()
    assert "filtered is better than raw" in words
    assert "deduped and raw are equivalent" in words
    assert "10% of the documents of raw where lang = en" in words
    assert "30 documents" in words


def test_one_mix_alone_has_its_verdict_said_once(store) -> None:
    def answer(data) -> str:
        return render(data).partition('<section id="effects"')[0]

    data = collect(store.recipe, store.artifacts)
    first, second = data.verdicts
    assert answer(data).count(first.sentence) == 2 and answer(data).count(second.sentence) == 1  # headline and list
    alone = data.model_copy(update={"verdicts": [first], "headline": first.sentence})
    assert answer(alone).count(first.sentence) == 1


def test_the_funnel_accounts_for_every_document(page, store) -> None:
    words = page.words()
    kept = store.artifacts["corpus:filtered"].manifest.counts["kept"]
    assert f"{kept} of 120 documents kept" in words
    dropped = store.artifacts["decide:filtered"].manifest.counts["dropped"]
    assert sum(dropped.values()) + kept == 120
    for reason, count in dropped.items():
        assert f"{reason.partition('.')[2]} {count} " in words.replace("_ ", "_")
    assert "invalid_json 3" in words
    assert "as in filtered" in words


def test_three_examples_a_reason_with_the_value_that_decided(html) -> None:
    docs = html.count('<figure class="doc">')
    assert docs == 9  # too few words, too many words, near-duplicates
    assert len(re.findall(r"measured \d+, below the limit of 60<", html)) == 3
    assert len(re.findall(r"measured \d+, above the limit of 100<", html)) == 3
    assert len(re.findall(r"one of 2 that are alike; [0-9a-f]{8} stays", html)) == 3


def test_nothing_is_loaded_and_nothing_runs(html, page) -> None:
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe", "object", "base", "form")]
    for tag, attrs in page.tags:
        assert not {name for name in attrs if name.startswith("on")}, tag
        assert "src" not in attrs and "style" not in attrs, tag
        assert attrs.get("href", "#").startswith("#"), tag
    assert "@import" not in html and "url(" not in html and "@font-face" not in html
    (policy,) = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    style = html[html.index("<style>") + 7 : html.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_hostile_text_is_text(html, page) -> None:
    assert "&lt;script&gt;document.title = &#39;planted&#39;&lt;/script&gt;" in html
    assert "<script" not in html and 'onerror="' not in html and "<svg onload" not in html and "<b>bold" not in html
    words = page.words()
    assert "{{ 'x' ~ 7 * 191 }}" in words and "x1337" not in html
    assert "<U+202E>" in words and "<U+0000>" in words and "<U+001B>" in words
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
    assert "<b>bold</b> & \"quoted\" 'source'" in words
    assert "Does <i>cleaning</i> help & by how much?" in words


def test_every_chart_has_a_name_and_every_table_a_caption(page) -> None:
    pictures = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(pictures) >= 9
    assert all(attrs.get("aria-label") for attrs in pictures)
    tables = [tag for tag, _ in page.tags if tag == "table"]
    assert len(tables) == len([tag for tag, _ in page.tags if tag == "caption"])
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")


def test_positions_are_on_the_chart(page) -> None:
    places = [
        attrs[name]
        for tag, attrs in page.tags
        if tag in ("rect", "line", "svg")
        for name in ("x", "x1", "x2", "width")
        if name in attrs
    ]
    shares = [float(value[:-1]) for value in places if value and value.endswith("%")]
    assert len(shares) > 50
    assert all(-0.01 <= value <= 100.01 for value in shares)


def test_text_repeated_often_is_marked(html) -> None:
    assert len(re.findall(r'class="n warn">6\.50<', html)) == 3


def test_the_same_store_gives_the_same_bytes(store, tmp_path) -> None:
    for name in ("a.html", "b.html"):
        write_report(collect(store.recipe, store.artifacts), tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("read", "corpus"), ["corpora", "cost", "provenance", "reproduce"]),
        (("read", "measure", "decide", "corpus", "minhash"), ["corpora", "cost", "provenance", "reproduce"]),
        (("train",), ["curves", "cost", "reproduce"]),
        (("compare",), ["effects", "domains", "cost", "reproduce"]),
        ((), ["reproduce"]),
    ],
)
def test_what_is_missing_is_left_out(store, kinds, expected) -> None:
    part = {name: artifact for name, artifact in store.artifacts.items() if name.partition(":")[0] in kinds}
    data = collect({key: store.recipe[key] for key in ("question", "corpora")}, part)
    assert [section.name for section in data.sections] == expected
    words = Page(render(data)).words()
    if "compare" not in kinds:
        assert "Nothing was compared" in words


def test_artifacts_that_were_deleted_do_not_break_it(store, tmp_path) -> None:
    gone = {name: type(a)(tmp_path / name.replace(":", ".")) for name, a in store.artifacts.items()}
    mixed = {**gone, "compare": store.artifacts["compare"]}
    assert [s.name for s in collect(store.recipe, mixed).sections] == ["effects", "domains", "cost", "reproduce"]


def generated(root: Path) -> dict[str, Artifact]:
    """A generated set with hostile rows and raw answers, and a mix that draws from it."""
    folder = root / "generate.talk-00000000"
    rows = []
    for k in range(8):
        messages = [{"role": "user", "content": f"{HOSTILE[k % 5]} {k % 4}"}, {"role": "assistant", "content": "yes"}]
        rows.append({"id": f"{k:032x}", "messages": messages, "source": "ultrachat", "lineage": "{}"})
    refused = [("not_new", False, HOSTILE[0]), ("not_new", False, "b"), ("timeout", True, "")]
    for name in ("rows", "dropped"):
        (folder / name).mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(folder / "rows" / "00000.parquet")
    columns = ["reason", "failed", "raw"]
    pl.DataFrame(refused, schema=columns, orient="row").write_parquet(folder / "dropped" / "00000.parquet")
    counts = {"seen": 11, "kept": 8, "dropped": {"not_new": 2}, "unreadable": {"timeout": 1}, "tokens": 5}
    config = {"kind": {"ultrachat": {}}, "models": {"smol": {}}}
    mix = root / "mix.talk-00000000"
    part = {"name": "talk", "weight": 1.0, "rows": 6, "of": 8, "copies": 12, "amount": 4321}
    write_text(mix / "mix.json", json.dumps({"by": "bytes", "domains": [part]}))
    found = {"generate:talk": folder, "mix:talk": mix}
    for step, where in found.items():
        manifest = Manifest(step=step, version=1, key="k" * 32, config=config, counts=counts)
        manifest.write(where / MANIFEST)
    return {step: Artifact(where) for step, where in found.items()}


def test_generated_rows_account_for_every_attempt_and_stay_text(tmp_path) -> None:
    data = collect({"question": "Which rows?", "mixes": {"talk": {"talk": 1.0}}}, generated(tmp_path))
    assert [section.name for section in data.sections] == ["mixes", "generated", "cost", "reproduce"]
    html = render(data)
    page = Page(html)
    words = page.words()
    assert "8 of 11 attempts kept (72.7%)" in words
    assert "ultrachat , by smol" in words or "ultrachat, by smol" in words
    assert "timeout failed 1" in words and "not_ new 2" in words
    assert "different questions 100%" in words and "median answer 3 B" in words
    assert "4,321 bytes of answers" in words and "1.50" in words
    assert html.count('<figure class="doc">') == 3 + 5
    assert "<script" not in html and "<svg onload" not in html


def test_the_documents_of_a_mix_are_those_that_its_runs_read(store, tmp_path) -> None:
    mixes = {name: artifact for name, artifact in store.artifacts.items() if name.startswith("mix:")}
    planned = Page(render(collect(store.recipe, mixes))).words()
    assert "documents, if read whole" in planned and "documents read" not in planned
    runs = {}
    for name, mix in mixes.items():
        table = pl.read_parquet(mix.path / "realised.parquet")
        for seed, read in enumerate((13, 17)):
            step = f"train:{name.partition(':')[2]}:{seed}"
            table.with_columns(documents=pl.lit(read)).write_parquet(folder_of(tmp_path, step) / "realised.parquet")
            runs[step] = seal(tmp_path, step, Counts(), {}, {"mix": mix})
    (section,) = [s for s in collect(store.recipe, mixes | runs).sections if s.name == "mixes"]
    found = {(mix.name, part.source): part.documents for mix in section.mixes for part in mix.parts}  # type: ignore[attr-defined]
    assert found["raw", "docs"] == "15" and found["filtered", "docs"] == "10"  # there are 20, and 10
    assert "documents read" in Page(render(collect(store.recipe, mixes | runs))).words()
