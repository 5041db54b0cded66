"""Cards of a finished recipe: beside the data, true to the manifests, and the directory loads as a data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.cards import write_cards
from pipelines.plan import plan
from pipelines.recipes_shipped import load
from pipelines.run import run
from schemas.errors import InputError


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("cards")
    lines = [json.dumps({"text": f"document number {k}", "lang": "en"}) for k in range(7)]
    (root / "texts.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")
    file = root / "recipe.yaml"
    file.write_text(
        f"question: Is this a card?\nstore: {root / 'store'}\n"
        f"corpora:\n  raw: {{source: {{jsonl: {root / 'texts.jsonl'}}}}}\n"
    )
    return file


def test_nothing_finished_is_said(recipe) -> None:
    with pytest.raises(InputError, match="nothing is finished"):
        write_cards(str(recipe), [])


def test_cards_lie_beside_their_data_and_load(recipe, tmp_path) -> None:
    wanted = load(str(recipe))
    made = plan(wanted)
    store = Path(wanted.store)
    run([made.find("corpus:raw")], store)
    (path,) = write_cards(str(recipe), [])
    assert path.parent == made.find("corpus:raw").artifact(store).path
    text = path.read_text(encoding="utf-8")
    assert "| came in | 8 |" in text and "| kept | 7 |" in text and "invalid" in text
    assert "Personal data" in text and "Duplicates were not looked for" in text
    assert str(recipe.parent) not in text  # where it lay on this machine is nobody's business
    assert write_cards(str(recipe), []) == [path] and path.read_text(encoding="utf-8") == text
    from datasets import load_dataset

    loaded = load_dataset(str(path.parent), split="train", cache_dir=str(tmp_path))
    assert len(loaded) == 7 and loaded.column_names[:2] == ["id", "text"]
