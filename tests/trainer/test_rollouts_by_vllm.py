"""Replies of a server: it has the policy's weights, an interruption costs no bits, and what is wrong is told."""

from __future__ import annotations

import json
import math
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from windtunnel.generators.serving import vllm_command
from windtunnel.generators.serving.server import Serve, Server
from windtunnel.schemas.errors import InputError, RecipeError, WindtunnelError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models._model import load
from windtunnel.trainer.objectives._objective import Objective
from windtunnel.trainer.rollouts.sampling import sample, uniforms
from windtunnel.trainer.rollouts.vllm import FOLDER, Vllm, VllmSampler

SIZE = {"width": 64, "layers": 2, "heads": 2, "context": 128, "init_std": 0.2}  # vLLM has kernels for heads of 32
MODEL = {"llama": SIZE}
SPEC = {"prompts": 4, "samples": 2, "rounds": 3, "max_tokens": 6, "lr": 3e-3, "reward": {"length": 3}}
FILES = ("model/model.safetensors", "log.parquet", "scores.parquet", "realised.parquet")


class StandIn:
    """What we use of vLLM: it loads weights with transformers, and dies after some replies."""

    def __init__(self, dies_after: float = math.inf, port: int = 0, deaf: bool = False, paths: bool = True) -> None:
        self.replies, self.loads = 0, 0
        lock, outer = threading.Lock(), self
        self.model: Any = None

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send(
                    {"object": "list", "data": [{"id": "policy", "object": "model", "created": 0, "owned_by": ""}]}
                )

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"] or 0))
                if self.path == "/reset_prefix_cache":
                    self.send({})
                elif self.path == "/collective_rpc" and paths:
                    if outer.model is None or not deaf:
                        outer.model = load(Path(json.loads(content)["kwargs"]["weights_path"]))
                        outer.loads += 1
                    self.send({"results": [None]})
                elif self.path == "/v1/completions":
                    with lock:
                        self.complete(json.loads(content))
                else:
                    self.send({"detail": "Not Found"}, 404)

            def complete(self, asked) -> None:
                if outer.replies >= dies_after:
                    self.connection.close()
                    return
                outer.replies += 1
                numbers = uniforms(np.array([asked["seed"]], np.uint64), asked["max_tokens"])
                prompt, ends = asked["prompt"], asked["stop_token_ids"]
                (found,) = sample(outer.model, [prompt], numbers, ends, asked["temperature"], 1000)
                with torch.no_grad():
                    logits = outer.model(input_ids=torch.tensor([[*prompt, *found.ids]])).logits[
                        0, len(prompt) - 1 : -1
                    ]
                logps = logits.log_softmax(-1)[range(len(found.ids)), found.ids].tolist()
                choice = {"index": 0, "finish_reason": "stop", "text": "", "token_ids": found.ids}
                choice["logprobs"] = {"token_logprobs": logps, "tokens": [], "top_logprobs": [], "text_offset": []}
                self.send({"id": "", "object": "text_completion", "created": 0, "model": "policy", "choices": [choice]})

            def send(self, value, status: int = 200) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.http.shutdown()
        self.http.server_close()


def run(inputs, out, url, directory, start=None, **more):
    served = {"vllm": {"url": url, "directory": str(directory)}}
    spec = {"grpo": {**SPEC, "rollouts": served, **more}}
    stage = Stage.from_specs("mix", 0, MODEL if start is None else None, {"constant": {}}, spec)
    return train(stage, inputs, out, start=start, checkpoint_steps=1)


def address(server: StandIn) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_a_server_that_dies_within_a_round_costs_no_bits(chat_inputs, tmp_path):
    with StandIn() as server:
        run(chat_inputs, tmp_path / "whole", address(server), tmp_path / "seen")
        port = server.port
        assert (server.replies, server.loads) == (24, 3)
    with StandIn(13, port) as dying, pytest.raises(InputError, match=r"does not answer .*so far are kept"):
        run(chat_inputs, tmp_path / "cut", address(dying), tmp_path / "seen")
    with StandIn(port=port) as again:
        run(chat_inputs, tmp_path / "cut", address(again), tmp_path / "seen")
        assert again.replies == 24 - 13
    for file in FILES:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "cut" / file).read_bytes(), file
    log: Any = pl.read_parquet(tmp_path / "whole" / "log.parquet")
    assert log["server_gap"].max() < 1e-4 and log["entropy"].min() > 0 and log["reward"].std() > 0


@pytest.mark.parametrize("more", [{"temperature": 0.7}, {"delta": {"lora": {"rank": 2, "alpha": 64}}, "lr": 1e-2}])
def test_the_server_has_what_trains(chat_inputs, tmp_path, more):
    """At a temperature, and with a delta, which is merged into what the server gets and goes on training."""
    with StandIn() as server:
        run(chat_inputs, tmp_path / "run", address(server), tmp_path / "seen", **more)
    log: Any = pl.read_parquet(tmp_path / "run" / "log.parquet")
    assert log["server_gap"].max() < 1e-4
    if "delta" in more:
        assert log["kl"].abs().max() > 1e-4  # the merged weights moved


@pytest.mark.parametrize(
    ("server", "more", "error"),
    [
        ({"deaf": True}, {"lr": 0.3}, r"round [23]: the log-probabilities .* nats off the policy's"),
        ({"paths": False}, {}, "has no /collective_rpc: start it with VLLM_SERVER_DEV_MODE=1"),
        ({}, {"delta": {"adapter": {}}}, "not merged into one: take `lora`"),
    ],
)
def test_what_is_wrong_with_a_server_is_told(chat_inputs, tmp_path, server, more, error):
    with StandIn(**server) as one, pytest.raises(InputError, match=error):
        run(chat_inputs, tmp_path / "run", address(one), tmp_path / "seen", **more)


@pytest.mark.parametrize("url", ["localhost:8000", "http://me:secret@host", "http://host/other"])
def test_bad_addresses(url):
    with pytest.raises(RecipeError, match="no address of a vLLM server"):
        make(Objective, {"grpo": {"rollouts": {"vllm": {"url": url, "directory": "x"}}}})  # type: ignore[type-abstract]


def lacking() -> str:
    try:
        vllm_command.find_python()
    except WindtunnelError as error:
        return str(error)
    return ""


@pytest.mark.vllm
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(lacking()), reason=lacking() or "-")
def test_grpo_with_replies_of_vllm(chat_inputs, tmp_path, monkeypatch):
    """Three rounds; after the last, what the server says greedily is what transformers says with the same weights."""
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    run_out, start = tmp_path / "run", tmp_path / "start"
    stage = Stage.from_specs("mix", 0, MODEL, {"constant": {}}, {"sft": {"lr": 1e-3, "batch_tokens": 64, "epochs": 1}})
    train(stage, chat_inputs, start)
    with pytest.raises(InputError, match=r"does not answer .* The weights are in .*, on which it can start"):
        run(chat_inputs, tmp_path / "without", "http://127.0.0.1:9", tmp_path / "seen", start / "model")
    shutil.copytree(tmp_path / "seen" / FOLDER, tmp_path / "served")
    serve = Serve(tmp_path / "served", "policy", 128, 1, arguments=("--dtype", "float32", "--enforce-eager"))
    with Server(serve) as endpoint:
        url = endpoint.url.removesuffix("/v1")
        run(chat_inputs, run_out, url, tmp_path / "seen", start / "model", lr=3e-2)
        log: Any = pl.read_parquet(run_out / "log.parquet")
        print(log.select("reward", "kl", "server_gap", "entropy"))
        assert log["server_gap"].max() < 1e-3 and log["kl"][-1] > 0.01
        prompts = [[5, 6, 7], [9, 10, 11, 12, 13]]
        numbers = np.zeros((2, 12))
        said = []
        for weights in (tmp_path / "seen" / FOLDER, tmp_path / "served"):
            sampler = VllmSampler(Vllm(url=url, directory=str(tmp_path / "seen")), tmp_path / "cache")
            sampler._load(weights)
            told = [
                json.loads(
                    sampler._ask({"prompt": p, "seed": 1, "temperature": 0.0, "max_tokens": 12, "stop_token_ids": []})
                )["ids"]
                for p in prompts
            ]
            assert told == [one.ids for one in sample(load(weights), prompts, numbers, [], 0.0, 1000)], weights
            said.append(told)
        assert said[0] != said[1]
