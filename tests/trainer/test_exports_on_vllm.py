"""Causal models of our loop on a real vLLM: greedy text and token ids are those of transformers, ends included."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from windtunnel.generators.client.client import Client, Request
from windtunnel.generators.serving import vllm_command
from windtunnel.generators.serving.server import Serve, Server
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.trainer.loop.train import Stage, train


def lacking() -> str:
    try:
        vllm_command.find_python()
    except WindtunnelError as error:
        return str(error)
    return ""


pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900), pytest.mark.skipif(bool(lacking()), reason=lacking() or "-")]

SIZE = {"width": 128, "layers": 2, "heads": 2, "context": 64}  # vLLM has kernels for heads of 32, 64, 128, ...
MODELS = {
    "llama": {"llama": {**SIZE, "kv_heads": 1}},
    "gpt2": {"gpt2": SIZE},
    "mixtral": {"mixtral": {**SIZE, "experts": 4}},
}
NEW = 24


@pytest.fixture(params=list(MODELS))
def exported(request, world, tmp_path) -> Path:
    stage = Stage.from_specs(
        "both", 0, MODELS[request.param], {"wsd": {}}, {"causal_lm": {"lr": 3e-3, "batch_tokens": 512}}
    )
    train(stage, world.inputs(), tmp_path / "run")
    return tmp_path / "run" / "model"


def greedy(path: Path, prompts: list[str]) -> list[list[int]]:
    """Return what transformers generates, its end token included."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(str(path))
    tokenizer = AutoTokenizer.from_pretrained(str(path))
    found = []
    with torch.no_grad():
        for prompt in prompts:
            ids = tokenizer(prompt, return_tensors="pt")
            whole = model.generate(**ids, max_new_tokens=NEW, do_sample=False)[0]
            found.append(whole[ids.input_ids.shape[1] :].tolist())
    return found


def test_greedy_output_equals_that_of_transformers(exported, world, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(exported))
    prompts = [" ".join(text.split()[:6]) for _, text in world.documents[:12]]
    free = greedy(exported, prompts)
    stop = max({token for ids in free for token in ids[2:]}, key=lambda token: sum(token in ids[2:] for ids in free))
    ended = tmp_path / "ended"  # the same model with an end token that it does generate
    shutil.copytree(exported, ended)
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((ended / name).read_text())
        (ended / name).write_text(json.dumps({**settings, "eos_token_id": stop}))
    wanted = greedy(ended, prompts)
    assert any(len(ids) < NEW for ids in wanted) and any(len(set(ids)) > 2 for ids in wanted)
    serve = Serve(ended, kv_cache_gib=1, arguments=("--enforce-eager", "--dtype", "float32"))
    with Server(serve, say=print, runtime=tmp_path / "runtime") as endpoint, Client(endpoint) as client:
        asked = [Request(prompt=prompt, max_tokens=NEW, temperature=0.0, logprobs=1) for prompt in prompts]
        answers = client.complete(asked)
    assert {answer.error for answer in answers} == {None}
    for answer, ids in zip(answers, wanted, strict=True):
        assert answer.completion_tokens == len(ids)
        assert answer.text == tokenizer.decode(ids[:-1] if ids[-1] == stop else ids)


@pytest.mark.parametrize("delta", [{"lora": {"rank": 4}}, {"sora": {"rank": 4, "threshold": 0.01}}])
def test_an_unmerged_adapter_answers_as_the_merged_model(delta, world, tmp_path):
    from transformers import AutoTokenizer

    def stage(more: dict[str, Any], lr: float) -> Stage:
        return Stage.from_specs(
            "both", 0, MODELS["llama"], {"wsd": {}}, {"causal_lm": {"lr": lr, "batch_tokens": 512, **more}}
        )

    train(stage({}, 3e-3), world.inputs(), tmp_path / "base")
    base = tmp_path / "base" / "model"
    train(stage({"delta": delta}, 3e-2), world.inputs("narrow"), tmp_path / "run", start=base)
    adapter = tmp_path / "run" / "delta" / ("lora" if "sora" in delta else "")
    prompts = [" ".join(text.split()[:6]) for _, text in world.documents[:12]]
    wanted, before = greedy(tmp_path / "run" / "model", prompts), greedy(base, prompts)
    assert wanted != before  # what was trained shows in the answers
    arguments = ("--enforce-eager", "--dtype", "float32", "--enable-lora", "--max-lora-rank", "8")
    serve = Serve(base, kv_cache_gib=1, arguments=(*arguments, "--lora-modules", f"tuned={adapter}"))
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    with Server(serve, say=print, runtime=tmp_path / "runtime") as endpoint:
        for model, expected in ((endpoint.model, before), ("tuned", wanted)):
            with Client(dataclasses.replace(endpoint, model=model)) as client:
                answers = client.complete([Request(prompt=p, max_tokens=NEW, temperature=0.0) for p in prompts])
            assert {answer.error for answer in answers} == {None}
            texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in expected]
            assert [answer.text for answer in answers] == texts
