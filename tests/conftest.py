"""A little world of pretraining (corpora, held-out set, tokens, mixes); tokenizers and a model made on the spot."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import DOCUMENT, document_id

settings.register_profile("windtunnel", deadline=None, derandomize=True)  # a slow machine is no failure
settings.load_profile("windtunnel")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # arrays are small here: threads would wait for one another


def invented_text(seed: int, words: int) -> str:
    """Return words with a grammar of sorts: a word narrows what comes next, so that a model has something to learn."""
    rng = random.Random(seed)
    draws = [random.Random(number) for number in range(90)]
    vocabulary = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 7))) for draw in draws]
    word, out = 0, []
    for _ in range(words):
        word = (word * 7 + rng.randint(0, 3)) % len(vocabulary)
        out.append(vocabulary[word] + (".\n" if rng.random() < 0.1 else ""))
    return " ".join(out)


def write_corpus(path: Path, documents: list[tuple[str, str]], folder: str = "kept", shards: int = 2) -> Artifact:
    """Write (source, text) pairs as a corpus artifact, dealt over shards."""
    (path / folder).mkdir(parents=True, exist_ok=True)
    for rank in range(shards):
        rows = [
            {"id": document_id(source, text), "text": text, "source": source, "url": None, "lang": "en", "meta": None}
            for source, text in documents[rank::shards]
        ]
        table = pa.Table.from_pylist(rows, schema=DOCUMENT)
        pq.write_table(table, path / folder / f"{rank:05d}.parquet")
    return Artifact(path)


@dataclass(frozen=True)
class World:
    """Where the pieces of the little world lie."""

    root: Path
    documents: list[tuple[str, str]]

    def artifact(self, name: str) -> Artifact:
        return Artifact(self.root / name)

    def inputs(self, mix: str = "both") -> dict[str, Artifact]:
        """Return a training run's inputs by role."""
        found = {role: self.artifact(role) for role in ("tokenizer", "held_out")}
        tokens = {f"tokens:{name}": self.artifact(f"tokens_{name}") for name in ("wide", "narrow")}
        return {**found, **tokens, "mix": self.artifact(f"mix_{mix}")}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Build the little world once: `wide` holds 120 documents of two sources, `narrow` every third of them."""
    from windtunnel.pipelines.datasets.mix import Mix
    from windtunnel.pipelines.datasets.tokenizer import TrainTokenizer
    from windtunnel.pipelines.datasets.tokens import Tokens

    root = tmp_path_factory.mktemp("world")
    documents = [("tales" if i % 4 else "notes", invented_text(i, 20 + (i * 37) % 400)) for i in range(120)]
    write_corpus(root / "wide", documents)
    write_corpus(root / "narrow", documents[::3])
    write_corpus(
        root / "held_out",
        [("tales", invented_text(1000 + i, 6 + i * 13)) for i in range(8)] + [("notes", invented_text(2000, 900))],
        folder="documents",
        shards=1,
    )
    made = World(root, documents)
    TrainTokenizer(vocabulary=400).run({"corpus": made.artifact("wide")}, root / "tokenizer", 0)
    for name in ("wide", "narrow"):
        inputs = {"corpus": made.artifact(name), "tokenizer": made.artifact("tokenizer")}
        for rank in range(Tokens().shards(inputs)):
            Tokens().run(inputs, root / f"tokens_{name}", rank)
    mixes = {"both": {"wide": 1.0, "narrow": 3.0}, "wide": {"wide": 1.0}, "narrow": {"narrow": 1.0}}
    for name, weights in mixes.items():
        tokens = {f"tokens:{corpus}": made.artifact(f"tokens_{corpus}") for corpus in weights}
        Mix(weights=weights, token_budget=8192, context=32, max_epochs=40).run(tokens, root / f"mix_{name}", 0)
    return made


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


def new_chat_tokenizer():
    """Return a byte-level BPE of 320 tokens with ChatML's special tokens and template."""
    from windtunnel.trainer.data.chat import CHATML

    tokenizer = _tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.fixture
def chat_tokenizer():
    return new_chat_tokenizer()


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


def new_tiny_llama():
    """Return a randomly initialised Llama with about 40,000 weights, in evaluation mode."""
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


@pytest.fixture
def tiny_llama():
    return new_tiny_llama()


def write_chat_model(folder: Path) -> Path:
    """Write a directory with the tiny Llama and the ChatML tokenizer."""
    new_tiny_llama().save_pretrained(folder)
    new_chat_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def chat_model(tmp_path) -> Path:
    return write_chat_model(tmp_path / "chat_model")
