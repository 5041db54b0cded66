"""Several corpora as one: in the order in which the recipe names them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.plan.builder import planned

RECIPE = """\
question: Whose copy stays?
store: {root}/store
corpora:
  crawl: {{source: {{jsonl: {{path: {root}/crawl.jsonl, name: crawl}}}}}}
  wiki: {{source: {{jsonl: {{path: {root}/wiki.jsonl, name: wiki}}}}}}
  both: {{from: [{order}], dedup: exact}}
"""


@pytest.mark.parametrize("order", [["wiki", "crawl"], ["crawl", "wiki"]])
def test_the_first_of_duplicates_is_of_the_corpus_that_the_recipe_names_first(tmp_path: Path, order: list[str]) -> None:
    for name in ("wiki", "crawl"):
        lines = [json.dumps({"text": text}) for text in ("one of both", f"one of {name}")]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=tmp_path, order=", ".join(order)))
    made = planned(str(recipe), [])
    run(made.steps, tmp_path / "store", Where(workers=1))
    both = next(step for step in made.steps if step.name == "corpus:both").artifact(tmp_path / "store")
    rows = [row for file in both.files("kept") for row in pq.read_table(file).to_pylist()]
    assert [(row["text"], row["source"]) for row in rows] == [
        ("one of both", order[0]),
        (f"one of {order[0]}", order[0]),
        (f"one of {order[1]}", order[1]),
    ]
