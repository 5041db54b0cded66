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
