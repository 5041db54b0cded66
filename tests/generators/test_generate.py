"""Generate as a step, over a real connection to a scripted model: books, bytes, replays, kills, formats."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from pydantic import ValidationError

from windtunnel.generators.core.generate import Generate
from windtunnel.generators.core.rows import DROPPED
from windtunnel.generators.serving.served import Served
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import RecipeError, WindtunnelError
from windtunnel.schemas.records import CONVERSATION, DOCUMENT, PREFERENCE

REPO = Path(__file__).parents[2]
SELF_INSTRUCT = {
    "self_instruct": {"model": "m", "interface": "completion", "rows": 12, "lag": 4, "requests_at_most": 40}
}
ULTRACHAT = {
    "ultrachat": {"model": "m", "rows": 8, "rounds": {"world": [1, 3], "creation": [1, 2], "material": [1, 2]}}
}
ULTRAFEEDBACK = {
    "ultrafeedback": {
        "pool": [{"model": "m"}, {"model": "m", "name": "m2", "principle": "honesty"}, {"model": "m", "name": "m3"}],
        "judges": ["m"],
        "margin": 0.1,
    }
}


@pytest.fixture
def served(scripted, play):
    def script(body, before):
        time.sleep(0.001 * (blake3(json.dumps(body).encode()).digest()[0] % 8))  # answers overtake each other
        return play.fits

    scripted.script = script
    return scripted


def step(kind, url, tmp_path, **params):
    models = {"m": {"url": url, "model": "m", "revision": "r1"}}
    return Generate(kind=kind, models=models, **({"completions": str(tmp_path / "store.sqlite")} | params))


def documents(tmp_path, count=12):
    rows = [
        {
            "id": f"d{i}",
            "text": f"Text {i} is about hill {i}. " * 12,
            "source": "wiki",
            "url": None,
            "lang": "en",
            "meta": '{"licence": "MIT"}',
        }
        for i in range(count)
    ]
    return artifact(tmp_path, "corpus", "kept", rows, DOCUMENT)


def prompts(tmp_path, count=6):
    rows = [
        {
            "id": f"c{i}",
            "messages": [{"role": "user", "content": f"Say something on hill {i}."}],
            "source": "x",
            "lineage": None,
        }
        for i in range(count)
    ]
    return artifact(tmp_path, "prompts", "rows", rows, CONVERSATION)


def artifact(tmp_path, name, folder, rows, schema):
    (tmp_path / name / folder).mkdir(parents=True)
    half = len(rows) // 2
    for rank, part in enumerate((rows[:half], rows[half:])):
        pq.write_table(
            pa.Table.from_pylist(part, schema), tmp_path / name / folder / f"{rank:05d}.parquet", row_group_size=2
        )
    return Artifact(tmp_path / name)


def inputs_of(kind, tmp_path):
    name = next(iter(kind))
    if name == "ultrachat":
        return {"documents": documents(tmp_path)}
    return {"prompts": prompts(tmp_path)} if name == "ultrafeedback" else {}


def all_bytes(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("kind", [SELF_INSTRUCT, ULTRACHAT, ULTRAFEEDBACK], ids=lambda k: next(iter(k)))
def test_bytes_do_not_depend_on_concurrency_and_a_second_run_sends_nothing(served, tmp_path, kind):
    inputs = inputs_of(kind, tmp_path)
    results = {}
    for concurrency in (1, 16):
        work = step(
            kind, served.url, tmp_path, completions=str(tmp_path / f"{concurrency}.sqlite"), concurrency=concurrency
        )
        counts = [work.run(inputs, tmp_path / f"out{concurrency}", rank) for rank in range(work.shards(inputs))]
        results[concurrency] = all_bytes(tmp_path / f"out{concurrency}")
        assert all(c.seen == c.kept + sum(c.dropped.values()) + sum(c.unreadable.values()) for c in counts)
        assert sum(c.kept for c in counts) > 0
    assert results[1] == results[16]
    sent = len(served.bodies)
    work.run(inputs, tmp_path / "again", 0)
    assert len(served.bodies) == sent and all_bytes(tmp_path / "again") == results[16]


@pytest.mark.parametrize("kind", [SELF_INSTRUCT, ULTRACHAT, ULTRAFEEDBACK], ids=lambda k: next(iter(k)))
def test_counts_are_what_the_files_hold_and_datasets_reads_them(served, tmp_path, kind):
    from datasets import load_dataset

    inputs = inputs_of(kind, tmp_path)
    counts = step(kind, served.url, tmp_path).run(inputs, tmp_path / "out", 0)
    rows = pq.read_table(tmp_path / "out/rows/00000.parquet")
    dropped = pq.read_table(tmp_path / "out/dropped/00000.parquet")
    assert rows.schema.equals(PREFERENCE if "ultrafeedback" in kind else CONVERSATION)
    assert dropped.schema.equals(DROPPED)
    assert rows.num_rows == counts.kept and dropped.num_rows == counts.seen - counts.kept
    refused = dropped.filter(pa.compute.invert(dropped["failed"]))["reason"].to_pylist()
    assert {r: refused.count(r) for r in set(refused)} == counts.dropped
    assert len(set(rows["id"].to_pylist())) == rows.num_rows
    for lineage in rows["lineage"].to_pylist():
        about = json.loads(lineage)
        assert about["prompts"] and all(model == ["m", "r1"] for model in about["models"].values())
    found = load_dataset(
        "parquet", data_files=str(tmp_path / "out/rows/*.parquet"), cache_dir=str(tmp_path / "hf"), split="train"
    )
    assert found.num_rows == counts.kept
    field = "chosen" if "ultrafeedback" in kind else "messages"
    assert {frozenset(m) for m in found[0][field]} == {frozenset({"role", "content"})}
    assert json.loads((tmp_path / "out/journal/00000.json").read_text())["kept"] == counts.kept


@pytest.mark.parametrize("kind", [ULTRACHAT, ULTRAFEEDBACK], ids=lambda k: next(iter(k)))
def test_trl_trains_on_the_rows_as_they_are(served, tmp_path, kind, chat_model):
    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    step(kind, served.url, tmp_path).run(inputs_of(kind, tmp_path), tmp_path / "out", 0)
    rows = load_dataset(
        "parquet", data_files=str(tmp_path / "out/rows/*.parquet"), cache_dir=str(tmp_path / "hf"), split="train"
    )
    pairs = "ultrafeedback" in kind
    config = (DPOConfig if pairs else SFTConfig)(
        output_dir=str(tmp_path / "trl"), max_steps=2, per_device_train_batch_size=2, learning_rate=1e-2,
        logging_steps=1, use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no",
        report_to=[], disable_tqdm=True, **({} if pairs else {"assistant_only_loss": True}),
    )  # fmt: skip
    trainer = (DPOTrainer if pairs else SFTTrainer)(str(chat_model), args=config, train_dataset=rows)
    before = {name: weights.clone() for name, weights in trainer.model.named_parameters()}
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(losses) == 2 and all(map(math.isfinite, losses)) and losses[0] != losses[1]
    assert any(not weights.equal(before[name]) for name, weights in trainer.model.named_parameters())
    if pairs:
        assert losses[0] == pytest.approx(math.log(2), abs=1e-3)  # before the first step, model and reference agree


def test_shards_share_the_rows(served, tmp_path):
    inputs = {"prompts": prompts(tmp_path)}
    work = step(ULTRAFEEDBACK, served.url, tmp_path, rows_per_shard=4)
    assert work.shards(inputs) == 2  # by the prompts there are, not by the rows that would be welcome
    assert sum(work.run(inputs, tmp_path / "pairs", rank).seen for rank in range(2)) == 6
    assert step(SELF_INSTRUCT, served.url, tmp_path, rows_per_shard=1).shards({}) == 1


def test_no_opening_comes_twice_however_many_rows_there_are(scripted, play, tmp_path):
    """The model has nine openings and begins its lists with any of them; rows beyond a shard's may not repeat one."""

    def script(body, before):
        text = body["messages"][-1]["content"]
        start = blake3(json.dumps(body, sort_keys=True).encode()).digest()[0]
        openings = [f"What do {name} {name}s {name}ly eat in {name}land?" for name in "abcdefghi"]
        listed = "\n".join(f"{i}. {openings[(start + i) % 9]}" for i in range(1, 6))
        return play.says(listed if "numbered list" in text else "Seeds and leaves.")

    scripted.script = script
    kind = {"ultrachat": {"model": "m", "rows": 9, "sectors": {"world": 1}, "rounds": {"world": [1, 1]}}}
    work = step(kind, scripted.url, tmp_path, rows_per_shard=3)
    for rank in range(work.shards({})):
        work.run({}, tmp_path / "talk", rank)
    rows = [row for file in sorted((tmp_path / "talk/rows").iterdir()) for row in pq.read_table(file).to_pylist()]
    assert len({row["messages"][0]["content"] for row in rows}) == len(rows) == 9


RUN = """
import sys
from pathlib import Path
from windtunnel.generators.core.generate import Generate
Generate.model_validate_json(sys.argv[1]).run({}, Path(sys.argv[2]), 0)
"""


def test_kill_minus_nine_then_the_same_bytes_with_nothing_asked_twice(served, play, tmp_path):
    work = step(SELF_INSTRUCT, served.url, tmp_path, concurrency=2)
    plain = step(SELF_INSTRUCT, served.url, tmp_path, completions=str(tmp_path / "other.sqlite"))
    plain.run({}, tmp_path / "whole", 0)
    whole = len(served.bodies)
    served.bodies.clear()
    healthy, limit = served.script, 0.0
    served.script = lambda body, before: (
        healthy(body, before) if len(served.bodies) <= limit else play.held(lambda: limit == math.inf)
    )
    command = [sys.executable, "-c", RUN, work.model_dump_json(), str(tmp_path / "out")]
    for part in (0.3, 0.7):
        limit = part * whole
        process = subprocess.Popen(command, cwd=REPO, env=os.environ | {"PYTHONPATH": str(REPO / ".src")})
        until = time.monotonic() + 60
        while len(served.bodies) <= limit and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL
        assert not list((tmp_path / "out").rglob("*.parquet"))  # a half-written file never has its final name
    limit = math.inf
    work.run({}, tmp_path / "out", 0)
    written = {n: b for n, b in all_bytes(tmp_path / "out").items() if not Path(n).name.startswith(".")}
    assert written == all_bytes(tmp_path / "whole")
    assert whole <= len(served.bodies) <= whole + 2 * 2  # only what was under way at a kill is asked again


def test_a_server_that_is_gone_costs_no_rows(served, tmp_path, play):
    work = step(SELF_INSTRUCT, served.url, tmp_path, concurrency=4)
    healthy = served.script
    served.script = lambda body, before: (
        play.status(401, "key expired") if len(served.bodies) > 15 else healthy(body, before)
    )
    with pytest.raises(WindtunnelError, match="run again"):
        work.run({}, tmp_path / "out", 0)
    assert not list((tmp_path / "out").rglob("*.parquet"))
    served.script = healthy
    counts = work.run({}, tmp_path / "out", 0)
    assert counts.kept == 12 and not counts.unreadable


def test_a_step_in_which_everything_fails_alike_ends_with_the_reason(served, tmp_path, play):
    served.script = lambda body, before: play.status(400, "this parameter is not supported")
    with pytest.raises(WindtunnelError, match="not supported"):
        step(SELF_INSTRUCT | {}, served.url, tmp_path).run({}, tmp_path / "out", 0)


def test_self_instruct_works_where_only_chats_are_answered(served, tmp_path, play):
    chat = "Here are more tasks:\n" + "\n".join(f"{9 + i}. Name a town in country {i} by the sea." for i in range(4))

    def script(body, before):
        if "prompt" in body:
            return play.status(404, "no such path")
        text = body["messages"][-1]["content"]
        if "Classification:" in text:
            return play.says("No")
        return play.says("Output: It has a harbour." if "Example 1" in text else chat)

    served.script = script
    kind = {"self_instruct": {"model": "m", "rows": 3, "lag": 1, "similarity": 1.0}}
    assert step(kind, served.url, tmp_path).run({}, tmp_path / "out", 0).kept == 3
    kind["self_instruct"]["interface"] = "completion"
    with pytest.raises(WindtunnelError, match="no such path"):
        step(kind, served.url, tmp_path).run({}, tmp_path / "other", 0)


def step_on(**model) -> dict:
    return Generate(kind=ULTRACHAT, models={"m": Served(**model)}).identity()


def test_identity_knows_what_decides_the_rows_and_nothing_else(tmp_path):
    base = step(ULTRACHAT, "http://127.0.0.1:1/v1", tmp_path)
    same = step(ULTRACHAT, "http://127.0.0.1:2/v1", tmp_path, concurrency=3, completions="/elsewhere.sqlite")
    assert base.identity() == same.identity()
    other = Generate(kind=ULTRACHAT, models={"m": {"url": "http://127.0.0.1:1/v1", "model": "m", "revision": "r2"}})
    assert base.identity() != other.identity()
    assert step_on(url="http://x/v1", model="m") != step_on(url="http://x/v1", model="m", dialect="vllm")
    ours = step_on(role="model:m", model="m")
    assert ours == step_on(role="model:m", model="m", arguments=("--enforce-eager",), withheld=("MY_KEY",))
    assert ours != step_on(role="model:m", model="m", arguments=("--dtype", "float16"))
    changed = json.loads(json.dumps(ULTRACHAT))
    changed["ultrachat"]["temperature"] = 0.9
    assert step(changed, "http://127.0.0.1:1/v1", tmp_path).identity() != base.identity()
    assert Generate.model_validate_json(base.model_dump_json()) == base


def test_a_changed_prompt_file_is_another_step(tmp_path, monkeypatch):
    from windtunnel.generators.core import prompt

    work = step(ULTRACHAT, "http://127.0.0.1:1/v1", tmp_path)
    before = work.identity()
    real = prompt.load
    monkeypatch.setattr(
        "windtunnel.generators.core.generator.load", lambda name: prompt.Prompt(name, "x", real(name).version + "x")
    )
    assert work.identity() != before


@pytest.mark.parametrize(
    ("kind", "models", "message"),
    [
        ({"self_instruct": {"model": "absent"}}, {}, "no address is given for model 'absent'"),
        ({"self_instruct": {"model": "m"}}, {"m": {"model": "m"}}, "has one of `url`"),
        ({"self_instruct": {"model": "m"}}, {"m": {"url": "http://x/v1"}}, "needs `model`"),
        ({"self_instruct": {"model": "m"}}, {"m": {"url": "http://x/v1", "serve": "d"}}, "has one of `url`"),
        ({"self_instruct": {"model": "m"}}, {"m": {"role": "smol"}}, "begins with"),
    ],
)
def test_bad_steps_are_refused_when_they_are_planned(kind, models, message):
    with pytest.raises(ValidationError, match=message):
        Generate(kind=kind, models=models)


def test_a_misspelt_kind_or_parameter_names_the_right_one():
    with pytest.raises(RecipeError, match="did you mean 'self_instruct'"):
        Generate(kind={"self_instuct": {"model": "m"}}, models={})
    with pytest.raises(RecipeError, match="did you mean 'rows'"):
        Generate(kind={"self_instruct": {"model": "m", "row": 3}}, models={})


def test_inputs_that_lack_or_do_not_belong(served, tmp_path):
    with pytest.raises(RecipeError, match="needs prompts"):
        step(ULTRAFEEDBACK, served.url, tmp_path).run({}, tmp_path / "out", 0)
    with pytest.raises(RecipeError, match="takes no input called documents"):
        step(SELF_INSTRUCT, served.url, tmp_path).run({"documents": documents(tmp_path)}, tmp_path / "out", 0)
