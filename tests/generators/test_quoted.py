"""Text from outside in a prompt: no tokenizer reads a special token in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from windtunnel.generators.core.session import Session
from windtunnel.generators.judges.openai import Openai
from windtunnel.generators.serving.server import Serve, Server
from windtunnel.generators.text.quoted import defused
from windtunnel.schemas.special_tokens import special_tokens

FAMILIES = {
    "chatml": ["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
    "llama 3": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "llama 2": ["<s>", "</s>", "<unk>"],
    "mistral": ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[SYSTEM_PROMPT]"],
    "gemma": ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<unused12>"],
    "deepseek": ["<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"],
    "tools": ["<think>", "</think>", "<tool_call>", "</tool_response>"],
    "its own": ["⟦user⟧", "⟦bot⟧", "@@", "@", "Human:", "a|b", "b|c", "■"],
}


def saved(tokens, path):
    """A tokenizer with these special tokens, as save_pretrained writes it."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend = Tokenizer(models.BPE({sign: k for k, sign in enumerate(sorted(alphabet))}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    half = len(tokens) // 2
    backend.add_special_tokens(tokens[:half])
    # not all families mark theirs as special; spaces and words are added tokens, too
    backend.add_tokens([AddedToken(token, normalized=False) for token in [*tokens[half:], "    ", "covid"]])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=tokens[0])
    tokenizer.save_pretrained(path)
    return tokenizer


def read(tokenizer, text, tokens):
    added = set(tokenizer.convert_tokens_to_ids(tokens))
    return [number for number in tokenizer(text).input_ids if number in added]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_reply_opens_a_turn_of_the_tokenizer_that_reads_it(family, tmp_path):
    tokens = FAMILIES[family]
    tokenizer = saved(tokens, tmp_path)
    reply = "fine. " + " ".join(tokens) + "".join(tokens) + "a|b|c <<s>s> <|im_<|im_start|>start|> @@@"
    assert read(tokenizer, reply, tokens)
    assert set(special_tokens(tmp_path)) == set(tokens)
    assert not read(tokenizer, defused(reply, special_tokens(tmp_path)), tokens)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "its own"])
def test_the_tokens_of_common_templates_need_no_tokenizer(family, tmp_path):
    tokens = FAMILIES[family]
    assert not read(saved(tokens, tmp_path), defused("".join(tokens) + " ".join(tokens)), tokens)


@given(st.text("<|>s/[]INST@ab■", max_size=12), st.sets(st.text("<|>s@ab■ ", min_size=1, max_size=3), max_size=3))
def test_no_token_is_left_whatever_the_tokens_are(text, tokens):
    tokens = {token for token in tokens if token.strip() and token == token.strip() and " " not in token}
    assert not [token for token in tokens if token in defused(text, tokens)]


@pytest.mark.parametrize(
    "text",
    ["a < b | c > d, x[i], <b>", "List<String>", "[1] and [x]", "covid    \n", "if (s > 0) { <p> }", "[INSTALL]"],
)
def test_other_text_is_unchanged(text, tmp_path):
    saved(FAMILIES["mistral"], tmp_path)
    assert defused(text, special_tokens(tmp_path)) == text


@pytest.mark.parametrize("content", ["", "[]", "{", '{"added_tokens": 3, "eos_token": 5, "added_tokens_decoder": []}'])
def test_broken_files_hold_no_tokens(content, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / name).write_text(content)
    assert special_tokens(tmp_path) == ()


def test_judges_and_kinds_take_the_tokens_of_the_served_model(tmp_path):
    saved(FAMILIES["its own"], tmp_path)
    (tmp_path / "config.json").write_text("{}")
    endpoint = Server(Serve(tmp_path, port=8000), runtime=tmp_path / "runtime").endpoint
    assert Openai.of(endpoint).quoted(answer="⟦bot⟧ A")["answer"] == "⟦ bot⟧ A"
    assert Session("lima", 0, None, special_tokens=endpoint.special_tokens).defused("⟦bot⟧ A") == "⟦ bot⟧ A"
