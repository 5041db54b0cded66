"""Weights from outside that are cut, missing or not numbers are refused wherever they are loaded."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from windtunnel.generators.judges._judge import Pair, make_judge
from windtunnel.generators.serving.server import Serve, Server
from windtunnel.pipelines.samples.model_files import ModelDirectory
from windtunnel.schemas.artifact import MANIFEST, Manifest
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.journal import digest_of
from windtunnel.schemas.weight_files import SAMPLED, check_file, check_weights
from windtunnel.trainer.deltas.bitfit import Bitfit
from windtunnel.trainer.models._model import load
from windtunnel.trainer.rewards._reward_model import RewardScorer

NAN = float("nan")


def write(path, tensors, shards=()):
    (path / "config.json").write_text('{"model_type": "llama"}')
    (path / "tokenizer.json").write_text("{}")
    save_file(tensors, path / "model.safetensors")
    if shards:
        names = dict(enumerate(shards))
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def cut(path):
    write(path, {"a": torch.ones(300, 7)})
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[:-100])


BROKEN = {
    "cut": (cut, r"model\.safetensors is cut off or is no safetensors file .*again"),
    "pointer": (
        lambda path: (write(path, {}), (path / "model.safetensors").write_text("version https://git-lfs\n")),
        r"model\.safetensors is cut off or is no",
    ),
    "nan": (lambda path: write(path, {"a": torch.full((9,), NAN)}), r"tensor a of .*model\.safetensors holds NaN"),
    "shard": (
        lambda path: write(path, {"a": torch.ones(9)}, ["model.safetensors", "model-2.safetensors"]),
        r"model-2\.safetensors is missing",
    ),
    "outside": (
        lambda path: write(path, {"a": torch.ones(9)}, ["model.safetensors", "../model-2.safetensors"]),
        r"outside the directory",
    ),
    "index": (
        lambda path: (write(path, {}), (path / "model.safetensors.index.json").write_text("[]")),
        r"model\.safetensors\.index\.json is no index",
    ),
}
LOADERS = {
    "start": lambda path: ModelDirectory.of(str(path)),
    "evaluate": load,
    "serve": lambda path: Server(Serve(path), runtime=path / "runtime").start(),
    "judge": lambda path: make_judge(f"reward:{path}").verdicts([Pair("q", "a", "b")]),
    "reward": RewardScorer,
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("loader", LOADERS)
def test_broken_weights_are_refused_with_the_name_of_the_file(loader, broken, tmp_path):
    spoil, message = BROKEN[broken]
    spoil(tmp_path)
    with pytest.raises(InputError, match=message):
        LOADERS[loader](tmp_path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("place", [0, 50_000, 99_999])
def test_nan_is_found_in_every_type_and_infinity_is_a_number(dtype, place, tmp_path):
    values = torch.randn(100_000).to(dtype)
    values[5], values[6], values[7] = float("inf"), -float("inf"), torch.finfo(dtype).max
    good = {"a": values, "b": torch.zeros(0, dtype=dtype), "c": torch.arange(SAMPLED), "d": -torch.ones(1, dtype=dtype)}
    save_file(good, tmp_path / "good.safetensors")
    check_weights(tmp_path)
    for nan in (NAN, -NAN):
        values[place] = nan
        save_file({"a": values}, tmp_path / "bad.safetensors")
        with pytest.raises(InputError, match=r"a of .*bad\.safetensors holds NaN"):
            check_file(tmp_path / "bad.safetensors")


def test_an_adapter_is_checked_too(tmp_path):
    (tmp_path / "delta.safetensors").write_bytes(np.zeros(3).tobytes())
    with pytest.raises(InputError, match=r"delta\.safetensors is cut off"):
        Bitfit().attach(torch.nn.Linear(2, 2), tmp_path)


def test_a_model_of_a_store_is_held_against_its_digests(tmp_path):
    (tmp_path / "model").mkdir()
    write(tmp_path / "model", {"a": torch.ones(300, 700)})
    files = {f"model/{file.name}": digest_of(file) for file in (tmp_path / "model").iterdir()}
    Manifest(step="train:x", version=1, key="0" * 32, config={}, files=files).write(tmp_path / MANIFEST)
    check_weights(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"\x80\x3f", b"\x81\x3f", 1))
    with pytest.raises(InputError, match=r"model\.safetensors has other content than was written"):
        check_weights(tmp_path / "model")
