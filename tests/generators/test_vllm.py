"""Client, judge and server on a real vLLM: a tiny model with random weights, made here, so that nothing is fetched."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil
import pytest

from windtunnel.generators.client.client import Client, Endpoint, Request
from windtunnel.generators.judges._judge import Pair, make_judge
from windtunnel.generators.serving import vllm_command
from windtunnel.generators.serving.server import Serve, Server
from windtunnel.schemas.errors import WindtunnelError

CONTEXT = 2048
LABEL = {
    "type": "object",
    "properties": {"better": {"enum": ["A", "B"]}},
    "required": ["better"],
    "additionalProperties": False,
}


def there() -> str:
    try:
        vllm_command.find_python()
    except WindtunnelError as error:
        return str(error)
    return ""


pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900), pytest.mark.skipif(bool(there()), reason=there() or "-")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("model") / "tiny"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    raw = Tokenizer(models.BPE({token: k for k, token in enumerate([*specials, *letters])}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": specials[1:2]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=CONTEXT, eos_token_id=tokenizer.eos_token_id, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    held = Server(
        Serve(model, kv_cache_gib=1, arguments=("--enforce-eager",)),
        say=print,
        runtime=tmp_path_factory.mktemp("runtime"),
    )
    with held:
        yield held


def ask(text: str, **params) -> Request:
    return Request(messages=({"role": "user", "content": text},), **{"max_tokens": 8, **params})


def test_many_seeded_prompts_at_once_are_answered_and_replayed(server, tmp_path):
    # together far more than one batch of the engine: prompts must not be cut while requests carry seeds
    requests = [ask(f"{i} " + "a long prompt " * 25, draw=i % 2) for i in range(64)]
    with Client(server.endpoint, store=tmp_path / "s.db") as client:
        first = client.complete(requests)
        assert {c.error for c in first} == {None}
        assert all(c.completion_tokens >= 1 and c.prompt_tokens > 300 for c in first)
        assert len({c.text for c in first}) > 32
        sent = client.usage.sent
        again = client.complete(requests)
        assert [c.text for c in again] == [c.text for c in first]
        assert all(c.cached for c in again)
        assert client.usage.sent == sent
    assert server._started == 1


def test_errors_have_their_codes(server):
    with Client(server.endpoint) as client:
        long, prompt, good = client.complete([ask("x" * CONTEXT), Request(prompt="x" * 2 * CONTEXT), ask("x")])
    assert (long.error, prompt.error, good.error) == ("context_too_long", "context_too_long", None)
    with Client(Endpoint(server.url, "another")) as client:
        (found,) = client.complete([ask("x")])
    assert found.error == "model_not_found"
    assert "another" in found.detail


def test_schemas_hold_on_both_interfaces(server):
    with Client(server.endpoint) as client:
        found = client.complete(
            [ask("q", schema=LABEL, max_tokens=100), Request(prompt="q", schema=LABEL, max_tokens=100)]
        )
    assert [c.json()["better"] in ("A", "B") for c in found] == [True, True]


def test_logprobs_of_both_interfaces(server):
    with Client(server.endpoint) as client:
        found = client.complete([ask("q", logprobs=5, max_tokens=3), Request(prompt="q", logprobs=5, max_tokens=3)])
    for completion in found:
        assert completion.logprobs
        for token in completion.logprobs:
            assert token.logprob < 0
            assert token.token in dict(token.top)
            assert len(token.top) >= 2  # tokens of the same text are one alternative


def test_the_judge_reads_probabilities_and_swapping_mirrors_them(server):
    judge = make_judge({"openai": {"at": f"{server.name}@{server.url}", "dialect": "vllm"}})
    one, two = judge.verdicts([Pair("q", "an answer", "other"), Pair("q", "other", "an answer")])
    assert (one.error, two.error) == (None, None)
    assert 0 < one.ab < 1
    assert one.ab == pytest.approx(1 - two.ba, abs=1e-3)
    (score,) = make_judge({"rubric": {"at": f"{server.name}@{server.url}", "dialect": "vllm"}}).scores([("q", "a")])  # type: ignore[attr-defined]
    assert 1 < score < 5


def test_a_killed_vllm_is_started_again_and_nothing_is_lost(server, tmp_path):
    """Last in the file: it costs a second start."""
    requests = [ask(f"question {i}", max_tokens=64, extra={"ignore_eos": True}) for i in range(200)]
    record = server.record.read()
    (process, *_) = psutil.Process(record["supervisor"]["pid"]).children()

    def kill() -> None:
        while client.usage.completion_tokens == 0:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)

    with Client(server.endpoint, store=tmp_path / "s.db", concurrency=16) as client:
        threading.Thread(target=kill).start()
        found = client.complete(requests)
        assert {c.error for c in found} == {None}
        assert client.usage.retries["connection"] >= 1
        sent = client.usage.sent
        assert [c.text for c in client.complete(requests)] == [c.text for c in found]
        assert client.usage.sent == sent
    assert server._started == 2
