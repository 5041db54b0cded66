"""Cards of a finished recipe: beside the data, true to the manifests, and the directory loads as a data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.recipe.shipped import load
from windtunnel.pipelines.views.card_parts import without_places
from windtunnel.pipelines.views.cards import _row_limits, corpus_card, write_cards
from windtunnel.schemas.artifact import MANIFEST, Manifest, write_text
from windtunnel.schemas.errors import InputError


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
    out = tmp_path / "cards" / "of"
    assert write_cards(str(recipe), [], out) == [path] and path.read_text(encoding="utf-8") == text
    assert (out / "raw.md").read_text(encoding="utf-8") == text
    from datasets import load_dataset

    loaded = load_dataset(str(path.parent), split="train", cache_dir=str(tmp_path))
    assert len(loaded) == 7 and loaded.column_names[:2] == ["id", "text"]


REMARKS = "Of 9 rows read, 2 are <b>sensible</b>."
UNREAD = "read some rows before you rely on them"


def test_a_card_of_a_corpus_says_what_was_done_with_which_thresholds(tmp_path) -> None:
    lines = [{"text": "alpha " * 9 + str(k), "lang": "de" if k < 2 else None} for k in range(5)]
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (tmp_path / "held.jsonl").write_text(json.dumps({"text": "nothing of it"}))
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"question: What was done?\nstore: {tmp_path}/store\nheld_out: {{files: {{jsonl: {tmp_path}/held.jsonl}}}}\n"
        f"corpora:\n  a:\n    source: {{jsonl: {tmp_path}/texts.jsonl}}\n    rules: [gopher_quality]\n"
        "    dedup: exact\n    decontaminate: true\n"
    )
    made = plan(load(str(file)))
    step = made.find("corpus:a")
    folder = step.artifact(tmp_path / "store").path
    kept = folder / "kept" / "00000.parquet"
    kept.parent.mkdir(parents=True)
    why = [{"lang": "fr", "words": 1}, {"lang": "en", "words": 2}, {"lang": "en", "words": 3}]
    pl.DataFrame({"lang": ["de", None, None], "source": ["s"] * 3, "why": why}).write_parquet(kept)
    counts = {"seen": 5, "kept": 3, "dropped": {"gopher_quality.gopher_short_doc": 2}, "unreadable": {}, "bytes": 10}
    manifest = Manifest(step=step.name, version=1, key=step.key, config={}, counts=counts)
    manifest.write(folder / MANIFEST)
    text = corpus_card(made, step, tmp_path / "store")
    assert text.languages == {"en": 2, "de": 1}  # the source's word, else the measured one
    (gopher, exact, decontaminate) = text.settings
    assert gopher["gopher_quality"]["min_words"] == 50 and exact["exact"]["by"] == "text"
    assert decontaminate["decontaminate"]["against"] == ["held_out"] and decontaminate["decontaminate"]["ngram"] == 13
    assert any("compared with the held-out set of its recipe, not with public" in limit for limit in text.limits)
    assert without_places({"a": ["/x/y.txt", "b/c", 1]}) == {"a": ["y.txt", "b/c", 1]}


def test_rows_that_code_made_are_not_called_a_model_s() -> None:
    assert [limit for limit in _row_limits(False, False) if limit.startswith("No model wrote these rows")]
    assert not [limit for limit in _row_limits(False, False) if "written by a model" in limit]


@pytest.mark.parametrize(
    ("planted", "said"), [(True, "60 planted labels"), (False, "60 people's labels"), (None, "was not calibrated")]
)
def test_a_card_of_rows_says_who_judged_and_what_a_reader_saw(tmp_path, planted, said) -> None:
    text = card_of_preferences(tmp_path, planted, lambda key: key[:8])
    assert said in text and ("the best plain rule, random, with 50%" in text) == (planted is not None)
    assert "Of 9 rows read, 2 are &lt;b>sensible&lt;/b>." in text.replace("\\", "") and UNREAD not in text
    assert "308f82e25724" in text and "| dropped: tie | 2 |" in text
    assert "| Apache-2.0 |" in text and "Not stated" not in text  # of the model that wrote the rows


def test_remarks_on_other_rows_are_not_on_the_card_and_it_says_that_nobody_read_these(tmp_path) -> None:
    text = card_of_preferences(tmp_path, None, lambda key: f"{(int(key[:8], 16) + 1) % 2**32:08x}")
    assert "Of 9 rows read" not in text and UNREAD in text


def card_of_preferences(tmp_path: Path, planted: bool | None, about: Callable[[str], str]) -> str:
    """Return the card of preferences that lie there as if they had been made; `about` gives what remarks name."""
    key = plan(load("align", [f"store={tmp_path}"])).find("generate:preferences").key
    remarks = {"rows": about(key), "text": REMARKS}
    sets = [f"store={tmp_path}", f"generate.preferences.remarks={json.dumps(remarks)}"]
    made = plan(load("align", sets))
    row = {"id": "1", "source": "ultrafeedback"}
    prompts = {"prompts": {"ultrafeedback/honesty": "308f82e25724"}}
    for name, files in (("generate:preferences", {"rows": [row]}), ("calibrate:writer", {})):
        step = made.find(name)
        folder = step.artifact(tmp_path).path
        counts = {"seen": 3, "kept": 1, "dropped": {"tie": 2}, "unreadable": {}, "bytes": 10}
        config = {**step.work.identity(), "fingerprint": prompts} if files else {}
        for kind, rows in files.items():
            (folder / kind).mkdir(parents=True)
            pl.DataFrame(rows).write_parquet(folder / kind / "00000.parquet")
        if files or planted is not None:
            manifest = Manifest(step=name, version=1, key=step.key, config=config, counts=counts)
            manifest.write(folder / MANIFEST)
        if not files and planted is not None:
            found = {
                "kappa": 0.1,
                "agreement": 0.5,
                "low": 0.4,
                "high": 0.6,
                "n": 60,
                "baselines": {"longest": 0.45, "random": 0.5},
            }
            write_text(folder / "calibration.json", json.dumps({**found, "pairs": "pairs of X", "planted": planted}))
    (path,) = write_cards("align", sets)
    return path.read_text(encoding="utf-8")
