"""Tokenizers and models small enough to build in every test: nothing is downloaded."""

from __future__ import annotations

import pytest

WORDS = [
    "What is the capital of France? Paris. And of Spain? Madrid.",
    "system user assistant Be short. The quick brown fox jumps over the lazy dog.",
    "Sort the numbers from small to large: 3 1 2. The answer is 1 2 3.",
]


def _tokenizer(special: list[str], **names: str):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(WORDS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


@pytest.fixture
def chat_tokenizer():
    """A byte-level BPE of 320 tokens with ChatML's special tokens and template."""
    from trainer.chat import CHATML

    tokenizer = _tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.fixture
def eos_tokenizer():
    """A byte-level BPE whose only special token ends a text, as our own pretraining makes it."""
    return _tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>", pad_token="<|endoftext|>")


@pytest.fixture
def bare_tokenizer():
    """A tokenizer without any special token."""
    return _tokenizer([])


@pytest.fixture
def metaspace_tokenizer():
    """A tokenizer that marks the beginning of every word, so that pieces encoded apart are not the whole."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>"], show_progress=False)
    backend.train_from_iterator(WORDS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


@pytest.fixture
def tiny_llama():
    """A randomly initialised Llama with about 40,000 weights, in evaluation mode."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


@pytest.fixture
def as_artifact():
    """A function that makes a finished artifact of whatever files a directory holds."""
    return _artifact


def _artifact(path, step: str = "test"):
    from schemas.artifact import MANIFEST, Artifact, Manifest, write_text

    manifest = Manifest(step=step, version=1, key=path.name.ljust(32, "0"), config={})
    write_text(path / MANIFEST, manifest.model_dump_json())
    return Artifact(path)


@pytest.fixture
def chat_inputs(chat_tokenizer, tmp_path):
    """Artifacts by role: conversations that count up, preferences for the right number, a held-out half of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from schemas.records import CONVERSATION, PREFERENCE

    def question(k: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"After {NUMBERS[k % 8]}{' please' * (k % 3)}?"}]

    def answer(k: int, before: str = "") -> list[dict[str, str]]:
        return [{"role": "assistant", "content": f"{before}{NUMBERS[k % 8]}."}]

    def write(role, records, schema):
        (tmp_path / role / "rows").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(records, schema), tmp_path / role / "rows" / "00000.parquet")
        return _artifact(tmp_path / role)

    def source(k: int) -> str:
        return ("even", "odd")[k % 2]

    talks = [
        {"id": f"c{k}", "messages": question(k) + answer(k + 1) + question(k + 3) + answer(k + 4), "source": source(k)}
        for k in range(48)
    ]
    pairs = [
        {"id": f"p{k}", "prompt": question(k), "chosen": answer(k + 1), "rejected": answer(k + 2, "not "),
         "rating_chosen": 5.0, "rating_rejected": float(k % 4 + 1), "source": source(k)}
        for k in range(48)
    ]  # fmt: skip
    (tmp_path / "tokenizer").mkdir()
    chat_tokenizer.save_pretrained(str(tmp_path / "tokenizer" / "tokenizer"))
    return {
        "conversations": write("conversations", talks[:32], CONVERSATION),
        "held_out_conversations": write("held_out_conversations", talks[32:], CONVERSATION),
        "preferences": write("preferences", pairs[:32], PREFERENCE),
        "held_out_preferences": write("held_out_preferences", pairs[32:], PREFERENCE),
        "tokenizer": _artifact(tmp_path / "tokenizer"),
    }
