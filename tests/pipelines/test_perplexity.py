"""Perplexity: numbers of a plain loss, windows that score each token once, bounds that need no new measurement."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.filters._rule import Rule
from windtunnel.pipelines.filters._stages import stages
from windtunnel.pipelines.filters.perplexity import Perplexity
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.recipe.recipe import Recipe
from windtunnel.pipelines.scorers import causal_lm as causal_scorer
from windtunnel.pipelines.scorers import kenlm_model as kenlm_scorer
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, RecipeError, WindtunnelError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.work import Counts
from windtunnel.trainer.models._model import Model

CONTEXT, END = 32, 256
TEXTS = [
    "A short line.",
    "Ünïcödé – is more bytes than letters.",
    "x",
    "Exactly thirty-two bytes of text.!"[:CONTEXT],
    "One byte more than what the model can read at once"[: CONTEXT + 1],
    "A longer text, which the model cannot read at once and which it is therefore given in windows. " * 3,
]


@pytest.fixture(scope="module")
def model(bigrams: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with two layers, written as the trainer writes its own."""
    from windtunnel.trainer.modules.export import export, open_tokenizer

    torch.manual_seed(3)
    spec = {"llama": {"width": 32, "layers": 2, "heads": 2, "context": CONTEXT, "init_std": 0.3}}
    built: Any = make(Model, spec)
    out = tmp_path_factory.mktemp("run") / "model"
    export(built.build(END + 1, END), open_tokenizer(bigrams), out)
    return out


def plain_nats(path: Path, text: str, context: int, stride: int) -> float:
    """The sliding window of transformers' own documentation: labels are -100 for what was scored before."""
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(str(path), dtype="float32")
    ids = torch.tensor([[END, *text.encode()]])
    total, scored = 0.0, 1
    for begin in range(0, ids.shape[1] - 1, stride):
        stop = min(begin + context + 1, ids.shape[1])
        if stop <= scored:
            break
        window, labels = ids[:, begin:stop], ids[:, begin:stop].clone()
        labels[:, : scored - begin] = -100
        with torch.no_grad():
            total += plain(input_ids=window, labels=labels).loss.item() * (stop - scored)
        scored = stop
    return total


def measured(texts: list[str | None], **params: Any) -> pl.DataFrame:
    return Perplexity(**{"min": 0, **params}).measure(pa.record_batch({"text": pa.array(texts, pa.large_string())}))


@pytest.mark.parametrize(("context", "stride"), [(None, None), (CONTEXT, 8), (20, 7), (16, 16)])
def test_the_numbers_are_those_of_the_plain_loss(model: Path, context: int | None, stride: int | None) -> None:
    frame = measured([*TEXTS], model=str(model), context=context, stride=stride)
    window = context or CONTEXT
    nats = np.array([plain_nats(model, text, window, stride or window) for text in TEXTS])
    sizes = np.array([len(text.encode()) for text in TEXTS])
    assert frame["perplexity"].to_numpy() == pytest.approx(np.exp(nats / sizes), rel=1e-4)
    assert frame["bits_per_byte"].to_numpy() == pytest.approx(nats / math.log(2) / sizes, rel=1e-5)


def test_a_model_without_layers_gives_its_table(bigrams: Path) -> None:
    """Not torch's word for it: the probabilities of a bigram table, multiplied by hand."""
    text = b"The river."
    table = np.full((264, 264), 0.01)
    seen = b"The people of the town walk along the river. The river runs along the town, and the town sees the river."
    np.add.at(table, ([END, *seen], [*seen, END]), 1)
    chances = (table / table.sum(axis=1, keepdims=True))[[END, *text[:-1]], [*text]]
    frame = measured([text.decode()], model=str(bigrams))
    assert frame["perplexity"][0] == pytest.approx(float(np.prod(chances)) ** (-1 / len(text)), rel=1e-4)


def test_neighbours_in_a_batch_change_nothing(model: Path) -> None:
    alone = pl.concat([measured([text], model=str(model)) for text in TEXTS])
    together = measured([*reversed(TEXTS)], model=str(model)).reverse()
    assert together["perplexity"].to_numpy() == pytest.approx(alone["perplexity"].to_numpy(), rel=1e-5)


def test_a_context_beyond_the_models_is_refused(model: Path) -> None:
    with pytest.raises(InputError, match="32 positions"):
        measured(["x"], model=str(model), context=CONTEXT + 1)


def write(folder: Path, *shards: list[str]) -> Artifact:
    (folder / "documents").mkdir(parents=True)
    for rank, shard in enumerate(shards):
        rows = [
            {"id": document_id("s", f"{n}{t}"), "text": t, "source": "s", "url": None, "lang": None, "meta": None}
            for n, t in enumerate(shard)
        ]
        table = pl.DataFrame(rows, schema=dict.fromkeys(DOCUMENT.names, pl.String)).to_arrow().cast(DOCUMENT)
        pq.write_table(table, folder / "documents" / f"{rank:05d}.parquet")
    return Artifact(folder)


def decided(spec: dict[str, Any], documents: Artifact, out: Path) -> tuple[list[str | None], Counts]:
    measure, decide = (stage.work for stage in stages([{"perplexity": spec}]))
    for rank in range(measure.shards({"documents": documents})):
        measure.run({"documents": documents}, out / "measures", rank)
    measure.finish({"documents": documents}, out / "measures")
    inputs, reasons, parts = {"measures": Artifact(out / "measures")}, [], []
    for rank in range(decide.shards(inputs)):
        parts.append(decide.run(inputs, out / "decisions", rank))
        reasons += pl.read_parquet(out / "decisions" / "decisions" / f"{rank:05d}.parquet")["reason"].to_list()
    return reasons, Counts.total(parts)


def test_empty_text_is_counted_and_bounds_are_told_apart(bigrams: Path, tmp_path: Path) -> None:
    texts = ["", "the river runs along the town", "xK9#qZ v7Jw", "   "]
    documents = write(tmp_path / "d", texts)
    reasons, counts = decided({"model": str(bigrams), "max": 20}, documents, tmp_path / "high")
    assert reasons == ["perplexity.unscored", None, "perplexity.high", "perplexity.high"]  # spaces are tokens
    assert counts.seen == 4 and counts.kept == 1
    reasons, _ = decided({"model": str(bigrams), "min": 20}, documents, tmp_path / "low")
    assert reasons == ["perplexity.unscored", "perplexity.low", None, None]


@pytest.mark.parametrize("by", ["perplexity", "bits_per_byte"])
def test_head_middle_and_tail_part_all_shards_together(bigrams: Path, tmp_path: Path, by: str) -> None:
    draw = random.Random(7)
    plain = ["the river runs along the town " + "".join(draw.choices("the rivr", k=20)) for _ in range(30)]
    noise = ["".join(draw.choices("xqzKJ#%7", k=10 + n)) + " the river" for n in range(70)]  # ever less of it is known
    documents = write(tmp_path / "d", plain, noise, [])  # shards differ: each alone would be cut elsewhere
    kept = {}
    for name, stretch in {"head": [0, 0.3], "middle": [0.3, 0.6], "tail": [0.6, 1]}.items():
        reasons, _ = decided({"model": str(bigrams), "quantiles": stretch, "by": by}, documents, tmp_path / name)
        kept[name] = {row for row, reason in enumerate(reasons) if reason is None}
    assert kept == {"head": set(range(30)), "middle": set(range(30, 60)), "tail": set(range(60, 100))}


def recipe(tmp_path: Path, model: Path, **bounds: Any) -> Recipe:
    rules = [{"perplexity": {"model": str(model), **bounds}}]
    corpora = {"raw": {"source": {"jsonl": str(tmp_path / "in.jsonl")}}, "clear": {"from": "raw", "rules": rules}}
    return Recipe.model_validate({"question": "?", "store": str(tmp_path / "store"), "corpora": corpora})


def test_another_bound_decides_again_and_measures_nothing(bigrams: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "the river runs along the town"}\n{"text": "xK9#qZ v7Jw"}\n')
    first = plan(recipe(tmp_path, bigrams, max=20))
    assert "measure:clear" in run(first.targets, tmp_path / "store", Where(workers=1)).executed
    for bounds in ({"max": 1000}, {"quantiles": [0, 0.5]}, {"by": "bits_per_byte", "max": 2}):
        again = plan(recipe(tmp_path, bigrams, **bounds))
        executed = run(again.targets, tmp_path / "store", Where(workers=1)).executed
        assert executed == ["decide:clear", "corpus:clear", "stats:clear", "report"]
    why = pl.read_parquet(list((tmp_path / "store").glob("corpus.clear-*/kept/*.parquet")))["why"].struct.unnest()
    assert {"perplexity", "bits_per_byte"} <= set(why.columns)


def test_other_weights_are_another_key(bigrams: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(bigrams, folder)
    before: Any = stages([{"perplexity": {"model": str(folder), "max": 9}}])[0].work
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    after: Any = stages([{"perplexity": {"model": str(folder), "max": 9}}])[0].work
    assert before.model_copy(update={"files": {}}) == after.model_copy(update={"files": {}})
    assert {name for name in before.files if before.files[name] != after.files[name]} == {str(weights)}


def test_a_recipe_with_no_model_there_is_refused_before_any_work(bigrams: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(InputError, match=r"no model directory at .*gone"):
        plan(recipe(tmp_path, tmp_path / "gone", max=9))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (pickled / name).write_bytes((bigrams / name).read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="can run code"):
        plan(recipe(tmp_path, pickled, max=9))
    with pytest.raises(InputError, match="can run code"):
        causal_scorer.opened(pickled)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"max": 9}, "either `model:`"),
        ({"model": "m", "kenlm": "k", "max": 9}, "either `model:`"),
        ({"model": "m"}, "name one"),
        ({"model": "m", "min": 9, "max": 8}, "nothing would be kept"),
        ({"model": "m", "quantiles": [0.6, 0.3]}, "two shares in order"),
        ({"model": "m", "max": 9, "context": 8, "stride": 9}, "unread"),
        ({"model": "m", "max": 9, "sentencepiece": "s"}, "go with `kenlm:`"),
        ({"kenlm": "k", "max": 9, "stride": 9}, "go with `model:`"),
    ],
)
def test_half_a_rule_is_refused(words: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        make(Rule, {"perplexity": words})


def test_without_kenlm_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kenlm_scorer.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(WindtunnelError, match=r"windtunnel\[kenlm\]"):
        stages([{"perplexity": {"kenlm": str(tmp_path / "en.arpa"), "max": 9}}])
