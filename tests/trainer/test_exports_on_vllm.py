"""Causal models of our loop on a real vLLM: greedy text and token ids are those of transformers, ends included."""

from __future__ import annotations

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
