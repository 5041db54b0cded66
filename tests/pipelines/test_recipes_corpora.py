"""The shipped corpus recipes: they plan, in the order that their originals have, and run on real pages."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.recipe.shipped import load, names
from windtunnel.schemas.plugin import split


@pytest.mark.parametrize(
    ("name", "rules", "dedup"),
    [
        ("fineweb", ["url", "language", "gopher_repetition", "gopher_quality", "c4", "fineweb"], "minhash"),
        (
            "dclm",
            ["url", "web_addresses", "language", "gopher_repetition", "gopher_quality", "refinedweb_lines"],
            "paragraph",
        ),
    ],
)
def test_the_recipe_plans_in_its_order(name: str, rules: list[str], dedup: str) -> None:
    recipe = load(name)
    assert [split("rule", spec)[0] for spec in recipe.corpora["filtered"].rules] == rules
    steps = [step.name for step in plan(recipe).steps]
    assert steps.index("decide:filtered") < steps.index("edit:filtered") < steps.index("corpus:filtered")
    assert sum(step.startswith("edit:filtered") for step in steps) == {"fineweb": 1, "dclm": 2}[name]
    assert any(step.startswith(f"{dedup}:deduped") for step in steps)


def test_the_classifier_of_quality_sees_nothing_that_the_answer_is_measured_on() -> None:
    made = plan(load("quality"))
    steps = {step.name: step for step in made.steps}
    trained = steps["quality:liked"]
    assert {role: step.name for role, step in trained.inputs.items()} == {
        "positive": "corpus:examples",
        "negative": "corpus:pool",
    }
    assert steps["measure:liked"].inputs["quality"] is trained
    assert steps["evaluation_ngrams:examples"].inputs["held_out"] is steps["held_out"]
    assert steps["corpus:examples"].inputs["decisions"] is steps["decontaminate:examples"]
    assert {step.name.split(":")[1] for step in made.steps if step.name.startswith("train:")} == {"pool", "liked"}


@pytest.mark.parametrize("name", names())
def test_every_shipped_recipe_plans_and_ends_in_a_report(name: str) -> None:
    assert [step.name for step in plan(load(name)).targets][-1] == "report"


@pytest.mark.network
@pytest.mark.parametrize(("name", "last"), [("fineweb", "safe"), ("dclm", "deduped")])
def test_the_recipe_runs_on_a_crawl_of_real_pages(tmp_path: Path, name: str, last: str) -> None:
    from windtunnel.pipelines.samples.pages import page_set, record

    pages = page_set("sqlite_docs")
    with open(tmp_path / "crawl.warc.gz", "wb") as crawl:
        for member, _ in pages.members()[::8]:
            crawl.write(gzip.compress(record(pages.url(member), pages.package.read(member))))
    made = plan(load(name, [f"corpora.pages.source.warc.path={tmp_path}/*.warc.gz"]))
    run(made.targets, tmp_path / "store", Where(workers=1))
    steps = {step.name: step for step in made.steps}
    counts = {corpus: steps[f"corpus:{corpus}"].artifact(tmp_path / "store").manifest.counts for corpus in
              ("pages", "filtered", last)}  # fmt: skip
    assert counts["pages"]["seen"] > 90
    assert counts["pages"]["kept"] > counts["filtered"]["kept"] >= counts[last]["kept"] > 20
    assert (made.targets[-1].artifact(tmp_path / "store").path / "report.html").stat().st_size > 10_000
