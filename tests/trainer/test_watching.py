"""What looks on while a model trains: it changes nothing, survives kills, and says what the end will say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from windtunnel.pipelines.engine.integrity import damaged_files, drop_damaged_shards
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.journal import journal
from windtunnel.schemas.progress import RunProgress, read_progress, thinned
from windtunnel.schemas.results import RunResult
from windtunnel.schemas.watch import Keep, Watch, points
from windtunnel.trainer.loop.loop import Loop
from windtunnel.trainer.loop.run import TrainRun
from windtunnel.trainer.loop.validation import chosen
from windtunnel.trainer.models._model import load

MODEL = {"llama": {"width": 32, "layers": 2, "heads": 2, "context": 32}}
LM = {"causal_lm": {"lr": 1e-2, "batch_tokens": 256}}
WATCH = {"validate": 0.25, "documents": 50, "samples": 16, "tokens": 6}
SEEN = ("validation.parquet", "samples.parquet")


def work(stages=(LM,), model=MODEL, **more) -> TrainRun:
    return TrainRun(mix="both", seed=0, model=model, schedule="constant", stages=stages, **more)


def everything(out: Path, watched: bool = False) -> dict[str, bytes]:
    """The bytes of all results, without those of looking on, and the result without times."""
    files = {str(f.relative_to(out)): f.read_bytes() for f in sorted(out.rglob("*")) if f.is_file()}
    results = {name: json.loads(files.pop(name)) for name in list(files) if name.endswith("result.json")}
    for name, result in results.items():
        own = {*RunResult.measured, *(() if watched else ("checkpoints", "gradient_noise"))}
        files[name] = json.dumps({key: value for key, value in result.items() if key not in own}).encode()
    seen = () if watched else (*SEEN, "checkpoints/")
    return {name: content for name, content in files.items() if not any(part in name for part in seen)}


@pytest.fixture(scope="module")
def watched(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("watched")
    counts = work(watch=WATCH, keep={"every": 12}).run(world.inputs(), out, 0)
    return out, counts


def test_points_are_steps_or_shares_and_hold_the_end():
    assert points(32, 10) == {10, 20, 30, 32}
    assert points(32, 0.25) == {8, 16, 24, 32}
    assert points(10, 0.3) == {3, 6, 9, 10}
    assert points(3, 0.1) == {1, 2, 3}
    assert points(32, None) == frozenset()
    for wrong in (0, 1.5, True, -0.1):
        with pytest.raises(ValueError, match="validate"):
            Watch.model_validate({"validate": wrong})


def test_the_last_validation_is_the_evaluation(watched):
    out, counts = watched
    rows = pl.read_parquet(out / "validation.parquet")
    assert rows["step"].unique(maintain_order=True).to_list() == [8, 12, 16, 24, 32]
    assert rows["tokens"].unique(maintain_order=True).to_list() == [256 * n for n in (8, 12, 16, 24, 32)]
    result = RunResult.model_validate_json((out / "result.json").read_bytes())
    for row in rows.filter(pl.col("step") == 32).iter_rows(named=True):
        assert (row["nats"], row["bytes"]) == (result.domains[row["source"]].nats, result.domains[row["source"]].bytes)
    sums = rows.group_by("step", maintain_order=True).agg(pl.col("nats", "bytes").sum())
    assert sums["nats"][0] > sums["nats"][-1]
    assert "of the time of training" in counts.notes["looking"]


def test_it_changes_nothing(world, watched, tmp_path):
    work().run(world.inputs(), tmp_path, 0)
    assert everything(tmp_path) == everything(watched[0])


OTHERS = {
    "gpt2": {"gpt2": {"width": 32, "layers": 2, "heads": 2, "context": 32}},
    "mixtral": {"mixtral": {"width": 32, "layers": 1, "heads": 2, "context": 32, "experts": 2}},
    "bert": {"bert": {"width": 32, "layers": 1, "heads": 2, "context": 32}},
    "t5": {"t5": {"width": 32, "layers": 1, "heads": 2, "context": 32}},
    "elmo": {"elmo": {"context": 32}},
}
STAGES = {"bert": "masked_lm", "t5": "span_corruption", "elmo": "bidirectional_lm"}


@pytest.mark.parametrize(
    "name", ["gpt2", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS if name != "gpt2")]
)
def test_it_changes_nothing_in_any_model(world, tmp_path, name):
    stage = {STAGES.get(name, "causal_lm"): {"batch_tokens": 1024}}
    for more in ({}, {"watch": WATCH | {"documents": 2, "validate": 3}, "keep": {"every": 5}}):
        work((stage,), OTHERS[name], **more).run(world.inputs(), tmp_path / str(bool(more)), 0)
    assert everything(tmp_path / "True") == everything(tmp_path / "False")
    assert pl.read_parquet(tmp_path / "True" / "validation.parquet").height


@pytest.mark.parametrize(
    "delta", ["lora", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sora", "prefix"))]
)
def test_a_kept_checkpoint_has_the_delta(world, tmp_path, delta):
    first = {"causal_lm": {"batch_tokens": 1024}}
    second = {"causal_lm": {"batch_tokens": 1024, "lr": 0.05, "delta": delta}}
    watch = {"validate": 4, "documents": 50, "samples": 4, "tokens": 4}
    for more in ({}, {"watch": watch, "keep": {"every": 4}}):
        work((first, second), **more).run(world.inputs(), tmp_path / str(bool(more)), 0)
    assert everything(tmp_path / "True") == everything(tmp_path / "False")
    out = tmp_path / "True"
    from windtunnel.trainer.data.encoder import open_encoder
    from windtunnel.trainer.eval.evaluate import document_nats, read_held_out

    held_out = read_held_out(world.artifact("held_out"), open_encoder(world.artifact("tokenizer").path / "tokenizer"))
    nats = document_nats(load(out / "checkpoints" / "step-4").eval(), held_out.tokens, 0, 32)
    rows = pl.read_parquet(out / "validation.parquet").filter(pl.col("step") == 4)
    assert nats.sum() == pytest.approx(rows["nats"].sum(), rel=0.02)


def test_kept_checkpoints_load_in_transformers_and_score_what_was_validated(world, watched):
    from transformers import AutoModelForCausalLM

    out, _ = watched
    result = RunResult.model_validate_json((out / "result.json").read_bytes())
    assert result.checkpoints == [12, 24]
    from windtunnel.trainer.data.encoder import open_encoder
    from windtunnel.trainer.eval.evaluate import document_nats, read_held_out

    encoder = open_encoder(out / "checkpoints" / "step-12")
    held_out = read_held_out(world.artifact("held_out"), encoder)
    model = AutoModelForCausalLM.from_pretrained(out / "checkpoints" / "step-12").eval()
    nats = document_nats(model, held_out.tokens, encoder.end_of_text, 32)
    rows = pl.read_parquet(out / "validation.parquet").filter(pl.col("step") == 12)
    assert nats.sum() == pytest.approx(rows["nats"].sum(), rel=1e-6)


def test_samples_are_what_transformers_writes(world, watched):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, _ = watched
    rows = pl.read_parquet(out / "samples.parquet")
    assert rows["step"].unique(maintain_order=True).to_list() == [16, 32]
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    model = AutoModelForCausalLM.from_pretrained(out / "model")
    for row in rows.filter(pl.col("step") == 32).iter_rows(named=True):
        ids = [tokenizer.eos_token_id, *tokenizer.encode(row["prompt"], add_special_tokens=False)][-31:]
        if len(ids) + 6 <= 32:
            import torch

            new = model.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False, pad_token_id=0)
            assert tokenizer.decode(new[0, len(ids) :], skip_special_tokens=True) == row["text"]
    assert rows["prompt"].n_unique() == 3


def test_a_temperature_draws_the_same_in_every_run(world, tmp_path):
    texts = {}
    for name, temperature in (("a", 1.0), ("b", 1.0), ("greedy", 0.0)):
        watch = {"samples": 1.0 - 1e-9, "prompts": ["the"], "temperature": temperature, "tokens": 12}
        work(({"causal_lm": {"batch_tokens": 2048}},), watch=watch).run(world.inputs(), tmp_path / name, 0)
        texts[name] = pl.read_parquet(tmp_path / name / "samples.parquet")["text"].to_list()
    assert texts["a"] == texts["b"] != texts["greedy"]


def test_chat_stages_score_conversations_and_answer_questions(chat_inputs, chat_tokenizer, tmp_path):
    sft = {"sft": {"lr": 1e-3, "batch_tokens": 64}}
    dpo = {"dpo": {"batch_tokens": 256}}
    for more in ({}, {"watch": {"validate": 0.5, "documents": 4, "samples": 0.5, "tokens": 5}}):
        model = {"llama": {**MODEL["llama"], "context": 128}}
        done = work((sft, dpo), model, **more).run(chat_inputs, tmp_path / f"run{len(more)}", 0)
        assert done.tokens
    assert everything(tmp_path / "run1") == everything(tmp_path / "run0")
    for folder in (tmp_path / "run1" / "stage0", tmp_path / "run1"):
        rows = pl.read_parquet(folder / "validation.parquet")
        assert set(rows["source"]) == {"even", "odd"} and set(rows["documents"]) == {4}
        assert pl.read_parquet(folder / "samples.parquet")["prompt"][0].startswith("After ")


KILLED = """
import sys, time
from pathlib import Path
from windtunnel.schemas.artifact import Artifact
from windtunnel.trainer.loop import loop, run, train as module
import json
job = json.loads(sys.argv[1])
take, plain = loop.Loop.take, module.train
def slow(self, step, batches):
    time.sleep(0.01)
    take(self, step, batches)
loop.Loop.take = slow
module.train = lambda *a, **k: plain(*a, checkpoint_steps=5, **k)
work = run.TrainRun.model_validate(job["work"])
work.run({role: Artifact(Path(path)) for role, path in job["inputs"].items()}, Path(job["out"]), 0)
"""


@pytest.mark.slow
def test_killed_runs_end_with_the_same_rows(world, watched, tmp_path):
    out = tmp_path / "run"
    inputs = {role: str(artifact.path) for role, artifact in world.inputs().items()}
    config = work(watch=WATCH, keep={"every": 12}).model_dump(mode="json", by_alias=True)
    job = json.dumps({"work": config, "inputs": inputs, "out": str(out)})
    for until in (9, 19):
        process = subprocess.Popen([sys.executable, "-c", KILLED, job], env=os.environ)
        while process.poll() is None and not ((now := read_progress(out)) and now.step >= until):
            time.sleep(0.005)
            if (out / "validation.parquet").exists() and until < 12:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (out / "result.json").exists():
            pytest.skip("too fast to be killed")
    work(watch=WATCH, keep={"every": 12}).run(world.inputs(), out, 0)
    assert everything(out, watched=True) == everything(watched[0], watched=True)


def test_progress_is_told_while_it_goes_on_and_gone_at_the_end(world, tmp_path, monkeypatch):
    from windtunnel.trainer.loop import following

    seen: list[RunProgress] = []
    take = Loop.take

    def look(self, step, batches):
        seen.append(read_progress(tmp_path))
        take(self, step, batches)

    monkeypatch.setattr(Loop, "take", look)
    monkeypatch.setattr(following, "WRITE_SECONDS", 0.0)
    work((LM, LM), watch={"validate": 8}).run(world.inputs(), tmp_path, 0)
    assert [(now.stage, now.stages, now.step, now.steps) for now in seen[:2]] == [(1, 2, 0, 32), (1, 2, 1, 32)]
    assert (seen[-1].stage, seen[-1].step, seen[-1].validated_at) == (2, 31, 24)
    assert seen[-1].loss and seen[-1].seconds_left and seen[-1].bits_per_byte and 0.98 < seen[-1].done < 1
    assert not list(tmp_path.glob(".*"))
    assert [round(v, 2) for v in thinned([1.0, 2.0, 3.0, 4.0, 5.0], 2)] == [1.5, 4.0]
    (tmp_path / ".progress.json").write_text('{"step": "x')
    assert read_progress(tmp_path) is None


def test_what_is_looked_at_is_part_of_the_key_and_a_logger_is_not():
    plain = work().identity()
    assert plain == work(log="tensorboard").identity()
    assert not {"watch", "keep", "gradient_noise", "log"} & plain.keys()
    assert work(watch=WATCH).identity()["watch"]["documents"] == 50
    assert work(keep=Keep(every=3)).identity() != work(keep=Keep(every=4)).identity() != plain
    assert work(gradient_noise=True).identity() != plain


@pytest.mark.parametrize("batches", [1, 2])
def test_gradient_noise_needs_two_micro_batches(world, tmp_path, batches):
    stage = {"causal_lm": {"lr": 1e-2, "batch_tokens": 256, "micro_tokens": 256 // batches}}
    for noise in (False, True):
        notes = work((stage,), gradient_noise=noise).run(world.inputs(), tmp_path / str(noise), 0).notes
        assert (noise and batches == 1) == ("not measured" in str(notes.get("gradient_noise")))
    a, b = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("False", "True"))
    assert a == b
    result = RunResult.model_validate_json((tmp_path / "True" / "result.json").read_bytes())
    assert (result.gradient_noise is None) == (batches == 1)
    if batches == 2:
        assert result.gradient_noise and result.gradient_noise.trace > 0
        assert "micro_grad_norm" in pl.read_parquet(tmp_path / "True" / "log.parquet").columns


@pytest.mark.parametrize(("every", "count"), [(1e-9, 7), (1e-300, 7), (0.2, 5), (0.5, 2), (3, 3)])
def test_the_points_of_a_stage_are_at_most_its_steps(every, count):
    found = points(7, every)
    assert len(found) == count and max(found) == 7 and min(found) >= 1


def test_gradient_noise_finds_a_known_noise():
    import numpy as np

    from windtunnel.trainer.loop.noise import gradient_noise

    rng, width, steps, total, small = np.random.default_rng(0), 50, 4000, 64, 16
    true, sd = np.full(width, 0.1), 0.7  # of each token's gradient: squared norm 0.5, trace 24.5
    g = true + sd * rng.standard_normal((steps, width)) / np.sqrt(small)
    rest = true + sd * rng.standard_normal((steps, width)) / np.sqrt(total - small)
    whole = (small * g + (total - small) * rest) / total
    log = {
        "tokens": total * np.arange(1, steps + 1),
        "grad_norm": np.linalg.norm(whole, axis=1),
        "micro_grad_norm": np.linalg.norm(g, axis=1),
        "micro_share": np.full(steps, small / total),
    }
    log["grad_norm"][-1] = np.nan  # of a step that was left out
    found = gradient_noise(log)
    assert found and found.steps == steps // 2 - 1
    assert found.squared_norm == pytest.approx(0.5, rel=0.05)
    assert found.trace == pytest.approx(24.5, rel=0.05)
    assert found.critical_batch_tokens == pytest.approx(49, rel=0.1)


def test_sharded_weights_cannot_be_looked_at(world, tmp_path, monkeypatch):
    from windtunnel.trainer.loop.ranks import Ranks
    from windtunnel.trainer.loop.train import Stage
    from windtunnel.trainer.loop.watching import Watching

    stage = Stage.from_specs("both", 0, MODEL, "constant", LM)
    loop = Loop(stage, world.inputs(), tmp_path, "x", None)
    loop.ranks = Ranks(0, 2, "fsdp")
    with pytest.raises(InputError, match="shard: ddp"), Watching(tmp_path, keep=Keep(every=2)).on(loop):
        pass


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


@pytest.fixture(scope="module")
def two_stages(world, tmp_path_factory):
    """A run of two stages: its work, its end, and what was there when it was interrupted in the second one."""
    run = work((LM, LM), watch={"validate": 0.25, "documents": 50}, keep={"every": 12})
    whole, begun = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("begun")
    run.run(world.inputs(), whole, 0)
    take, go = Loop.take, Loop.go

    def stop(self, step, batches):
        if self.out == begun and step == 20:
            raise KeyboardInterrupt
        take(self, step, batches)

    with pytest.MonkeyPatch.context() as patch, journal(begun, "00000"), pytest.raises(KeyboardInterrupt):
        patch.setattr(Loop, "take", stop)
        patch.setattr(Loop, "go", lambda self, report, *_: go(self, report, 60.0, 7))
        run.run(world.inputs(), begun, 0)
    assert damaged_files(begun) == []
    return run, whole, begun


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("stage0/model/model.safetensors", flip),
        ("stage0/validation.parquet", Path.unlink),
        ("stage0/checkpoints/step-12/model.safetensors", flip),
        ("stage0/result.json", cut),
        ("checkpoints/step-12/config.json", Path.unlink),
        ("checkpoint.safetensors", cut),
    ],
)
def test_a_stage_with_a_damaged_file_is_trained_again(world, two_stages, tmp_path, file, harm):
    run, whole, begun = two_stages
    out = tmp_path / "run"
    shutil.copytree(begun, out)
    harm(out / file)
    assert [item.file for item in drop_damaged_shards(out, run)] == [file]
    assert damaged_files(out) == [] and (out / "stage0" / "result.json").exists() is not file.startswith("stage0")
    run.run(world.inputs(), out, 0)
    shutil.rmtree(out / ".files")
    assert everything(out, watched=True) == everything(whole, watched=True)


def test_held_out_files_need_not_have_the_same_columns(chat_inputs, tmp_path):
    held_out = chat_inputs["held_out_conversations"]
    (file,) = held_out.files("rows")
    more = pl.read_parquet(file).with_columns(pl.concat_str("id", pl.lit("b")).alias("id"), source=pl.lit("other"))
    more.with_columns(group=pl.lit("g")).write_parquet(file.with_name("99999.parquet"))
    few = chosen(held_out, "rows", 2, tmp_path / "few")
    table = pl.read_parquet(few.files("rows"))
    assert table.filter(pl.col("source") == "other")["group"].to_list() == ["g", "g"]
    assert table["group"].null_count() == len(table) - 2 > 0
