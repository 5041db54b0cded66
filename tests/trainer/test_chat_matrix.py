"""What is learnt of the chat templates that trl ships, in eight kinds of conversation.

The truth is marked by hand (`TRUTHS`). Where a template has `{% generation %}` marks, which trl's mask is made of, ours
is compared with it too. trl's mask differs from what a model has to generate in these ways (`ALLOWED`), each of them an
error of the mask and not of ours:
- it holds what the prompt of inference has already: `<|start|>assistant` (gpt-oss, Muse), `<think>\n` and the empty
  reasoning (Qwen3.5 and later, Nemotron), the line break after `assistant` (Qwen2.5);
- it holds what follows the token that stops the model: line breaks, and the end-of-text of Phi-3;
- it teaches gpt-oss to end an answer with `<|end|>`, after which the model goes on; `<|return|>` stops it;
- it leaves out the token that stops Gemma 4 after tool calls, and the header that its prompt after tool results lacks.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from windtunnel.schemas import chat_template
from windtunnel.schemas.chat_template import Wanted
from windtunnel.trainer.data.chat import ChatEncoder
from windtunnel.trainer.data.chat_choice import chosen_template, names, template, trained_as
from windtunnel.trainer.data.chat_errors import MENDS, ChatError
from windtunnel.trainer.data.chat_frame import TOOL

trl = pytest.importorskip("trl")
FOLDER = Path(trl.__file__).parent / "chat_templates"
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.jinja"))

RIGHT = 491  # cells whose mask is the truth, of 72 templates x 8; all others are refused


def turn(role: str, content: str, **fields) -> dict:
    return {"role": role, "content": content, **fields}


CALLS = [{"id": "call12345", "type": "function", "function": {"name": "look", "arguments": '{"city": "Paris"}'}}]
ONE = [turn("user", "Q one?"), turn("assistant", "A one.")]
TWO = [turn("user", "Q two?"), turn("assistant", "A two.")]
SHAPES = {
    "single": ONE,
    "multi": ONE + TWO,
    "system": [turn("system", "Be short."), *ONE],
    "system_multi": [turn("system", "Be short."), *ONE, *TWO],
    "reasoning": [
        ONE[0],
        {**ONE[1], "reasoning_content": "R one."},
        TWO[0],
        {**TWO[1], "reasoning_content": "R two."},
    ],
    "think": [ONE[0], turn("assistant", "<think>\nR one.\n</think>\n\nA one.")],
    "tools": [
        ONE[0],
        turn("assistant", "", tool_calls=CALLS),
        turn("tool", "Sun.", tool_call_id="call12345", name="look"),
        ONE[1],
    ],
    "preference": ONE + TWO,  # of which the last turn is learnt
}


class Truth(NamedTuple):
    """What is learnt around answers; `None`: the template has no such turns, and rows that have them are refused."""

    end: str
    last: str = ""  # before an answer that ends a conversation
    earlier: str | None = ""  # before one in the middle
    thought: str | None = None  # before one that ends a conversation, with its reasoning {r}
    earlier_thought: str | None = None  # the same in the middle; None: as without
    call: str | None = None  # a turn with a tool call
    after_tool: str | None = None  # before an answer to a tool's result; None: as `last`
    earlier_end: str | None = None  # None: `end`
    system: bool = True
    plain: bool = True  # False: only answers with reasoning in their text can be learnt


IM = "<|im_end|>"
HERMES = '<tool_call>\n{"name": "look", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>'
XML = "<tool_call>\n<function=look>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"
EMPTY = "<think>\n\n</think>\n\n"
SHUT = "\n</think>\n\n"
OPENED = "{r}\n</think>\n\n"
GEMMA_CALL = '<|tool_call>call:look{city:<|"|>Paris<|"|>}<tool_call|>'
LFM_CALL = "<|tool_call_start|>[look(city='Paris')]<|tool_call_end|><|im_end|>"
LLAMA_CALL = '{"name": "look", "parameters": {"city": "Paris"}}<|eot_id|>'
ATEM_CALL = (
    ' to=look<|message|><atem:function_calls>\n<atem:invoke name="look">\n<atem:parameter name="city">Paris'
    "</atem:parameter>\n</atem:invoke>\n</atem:function_calls><|eot|>"
)
GPT_CALL = ' to=functions.look<|channel|>commentary json<|message|>{"city": "Paris"}<|call|>'
GPT_THOUGHT = "<|channel|>analysis<|message|>{r}<|end|><|start|>assistant<|channel|>final<|message|>"
GLM_CALL = (
    "\n<think></think>\n<tool_call>look\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
    "</tool_call><|observation|>"
)
GEMMA_THOUGHT = "<|channel>thought\n{r}\n<channel|>"
MUSE = " to=user<|message|>"
MUSE_THOUGHT = " to=self<|message|>{r}<|eom|><|start|>assistant to=user<|message|>"
QWEN3_5 = Truth(IM, SHUT, "", OPENED, call=f"{SHUT}{XML}{IM}")
QWEN3_5_KEPT = Truth(IM, SHUT, SHUT, OPENED, OPENED, f"{SHUT}{XML}{IM}")
NEMOTRON = {
    "call": f"<think></think>\n{XML}\n{IM}",
    "earlier": "<think></think>",
}
TRUTHS = {
    "cohere": Truth("<|END_OF_TURN_TOKEN|>"),
    "cohere2": Truth("<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"),
    "deepseek_r1_distill": Truth("<｜end▁of▁sentence｜>", SHUT, thought=OPENED),
    "deepseekv3": Truth("<｜end▁of▁sentence｜>", SHUT, thought=OPENED),
    "deepseek_r1_distill_training": Truth("<｜end▁of▁sentence｜>", plain=False),
    "deepseekv3_training": Truth("<｜end▁of▁sentence｜>", plain=False, thought=None),
    "diffusion_gemma": Truth(
        "<turn|>", thought=GEMMA_THOUGHT, call=f"{GEMMA_CALL}<|tool_response>", after_tool="<|turn>model\n"
    ),
    "gemma": Truth("<end_of_turn>"),
    "gemma_training": Truth("<end_of_turn>", system=False),
    "gemma3": Truth("<end_of_turn>"),
    "gemma4": Truth("<turn|>", call=f"{GEMMA_CALL}<|tool_response>"),
    "gemma4_v2": Truth("<turn|>", call=f"{GEMMA_CALL}<turn|>"),
    "gemma4_v3": Truth("<turn|>", call=f"{GEMMA_CALL}<|tool_response>"),
    "gemma4_v4": Truth("<turn|>", call=f"{GEMMA_CALL}<|tool_response>"),
    "gemma4_v5": Truth("<turn|>", thought=GEMMA_THOUGHT, call=f"{GEMMA_CALL}<|tool_response>"),
    "glm4moe": Truth("<|user|>", *["\n<think></think>\n"] * 2, thought="\n<think>{r}</think>\n", call=GLM_CALL),
    "gptoss": Truth(
        "<|return|>", *["<|channel|>final<|message|>"] * 2, thought=GPT_THOUGHT, call=GPT_CALL, earlier_end=""
    ),
    "idefics3": Truth("<end_of_utterance>", " ", " "),
    "lfm2": Truth(IM),
    "lfm2_2_5": Truth(IM, thought="<think>{r}</think>", call=LFM_CALL),
    "lfm2_2_5_v2": Truth(IM, thought="<think>{r}</think>", call=LFM_CALL),
    "lfm2_2_5_vl": Truth(IM, thought="<think>{r}</think>", call=LFM_CALL),
    "lfm2_v2": Truth(IM, call=LFM_CALL),
    "llama3": Truth("<|eot_id|>"),
    "llama3_1": Truth("<|eot_id|>", call=LLAMA_CALL),
    "llama3_2": Truth("<|eot_id|>", call=LLAMA_CALL),
    "llava_next": Truth("</s>", " ", " "),
    "muse_glimmer": Truth("<|eot|>", MUSE, MUSE, MUSE_THOUGHT, MUSE_THOUGHT, ATEM_CALL),
    "nemotron_3_5_lightning": Truth(IM, "</think>", thought="{r}</think>", **NEMOTRON),
    "nemotron_3_nano": Truth(
        IM, "\n</think>\n", thought="{r}\n</think>\n", earlier_thought="<think></think>\n", **NEMOTRON
    ),
    "nemotron_3_super": Truth(
        IM, "\n</think>\n", thought="{r}\n</think>\n", earlier_thought="<think></think>\n", **NEMOTRON
    ),
    "nemotron_3_ultra": Truth(IM, "</think>", thought="{r}</think>", **NEMOTRON),
    "phi3": Truth("<|end|>"),
    "phi3_5": Truth("<|end|>"),
    "qwen2_5": Truth(IM, call=HERMES),
    "qwen2_5_vl": Truth(IM),
    "qwen3": Truth(IM, EMPTY, "", "<think>\n" + OPENED, call=HERMES),
    "qwen3_training": Truth(IM, EMPTY, EMPTY, "<think>\n" + OPENED, "<think>\n" + OPENED, EMPTY + HERMES),
    "qwen3_5_nothink": Truth(IM, call=XML + IM),
    "qwen3_5_think": QWEN3_5,
    "qwen3_5_think_training": QWEN3_5_KEPT,
    "qwen3_6": QWEN3_5,
    "qwen3_6_training": QWEN3_5_KEPT,
    "qwen3_8": QWEN3_5_KEPT,
    "qwen3_instruct_2507": Truth(IM, call=HERMES),
    "qwen3_vl": Truth(IM, call=HERMES),
    "smolvlm": Truth("<end_of_utterance>", " ", " "),
}


def truth(name: str) -> Truth:
    return TRUTHS.get(name) or TRUTHS[name.removesuffix("_training")]


def expected(name: str, shape: str) -> list[str] | None:
    """Return the learnt turns, or None for rows that are to be refused."""
    t = truth(name)
    middle = t.end if t.earlier_end is None else t.earlier_end
    if ("system" in shape and not t.system) or (shape != "think" and not t.plain):
        return None
    if shape in ("single", "system"):
        return [f"{t.last}A one.{t.end}"]
    if shape == "preference":
        return [f"{t.last}A two.{t.end}"]
    if shape == "tools":
        after = t.last if t.after_tool is None else t.after_tool
        return t.call and [t.call, f"{after}A one.{t.end}"]
    if shape == "think" and t.thought is None:
        return THINK_IN_TEXT.get(name, [f"{t.last}<think>\nR one.\n</think>\n\nA one.{t.end}"])
    if shape == "think":
        return [f"{t.thought.format(r='R one.')}A one.{t.end}"]
    if shape == "reasoning":
        before = (t.earlier_thought or t.earlier).format(r="R one.")
        return t.thought and [f"{before}A one.{middle}", f"{t.thought.format(r='R two.')}A two.{t.end}"]
    return [f"{t.earlier}A one.{middle}", f"{t.last}A two.{t.end}"]


# Templates without a place for reasoning keep it in the text, but for these.
THINK_IN_TEXT = {
    "deepseek_r1_distill_training": ["R one.\n</think>\n\nA one.<｜end▁of▁sentence｜>"],
    "deepseekv3_training": None,  # removes it
    "qwen3_5_nothink": None,  # its prompt closes the reasoning before the model could write any
    "qwen3_5_nothink_training": None,
}
ALLOWED = re.compile(
    r"\s*|<\|start\|>assistant|<\|end\|>|\n?<\|endoftext\|>|<think>\n(\n</think>\n\n)?|<｜Assistant｜>(<think>\n)?"
    r"|<\|tool_response>|<\|turn>model\n"
)
ENDS = {
    "deepseek": "<｜end▁of▁sentence｜>", "gemma4": "<turn|>", "gemma": "<end_of_turn>", "diffusion_gemma": "<turn|>",
    "glm": "<|endoftext|>", "gptoss": "<|return|>", "idefics": "<end_of_utterance>", "smolvlm": "<end_of_utterance>",
    "llama": "<|eot_id|>", "llava": "</s>", "cohere": "<|END_OF_TURN_TOKEN|>", "muse": "<|eot|>",
    "phi": "<|endoftext|>",
}  # fmt: skip


@cache
def encoder(name: str) -> ChatEncoder:
    """Return an encoder of a tokenizer of bytes with the template's own special tokens, as its model trains it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    text = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    end = next((end for prefix, end in ENDS.items() if name.startswith(prefix)), IM)
    backend = Tokenizer(models.BPE({c: k for k, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokens = r"<\|[a-zA-Z_\"]+\|?>|<[a-z_]+\|>|<｜[^｜>]+｜>|</?s>|<(?:start|end)_of_\w+>|\[gMASK\]|<sop>"
    backend.add_special_tokens(sorted({*re.findall(tokens, text + template("deepseek")), end, "<bos>"}))
    words = ("think", "tool_call", "tool_response")
    backend.add_tokens([AddedToken(f"<{s}{w}>", normalized=False) for w in words for s in ("", "/")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, bos_token="<bos>")
    tokenizer.chat_template = text
    chosen_template(tokenizer, None)
    return ChatEncoder(tokenizer)


def learnt(name: str, shape: str) -> list[str]:
    made = encoder(name)
    rows, before = SHAPES[shape], 3 if shape == "preference" else 0
    tools = [TOOL] if shape == "tools" else None
    encoded = made.encode(rows, before, tools)
    runs: list[list[int]] = []
    for k, (token, on) in enumerate(zip(encoded.ids, encoded.target, strict=True)):
        if on and not (k and encoded.target[k - 1]):
            runs.append([])
        if on:
            runs[-1].append(token)
    start = len(encoded.ids) - len(runs[-1])
    assert encoded.ids[:start] == made.prompt_ids(rows[:-1], tools)  # what the model sees is what it will see
    return [made.decode(run) for run in runs]


@cache
def cell(name: str, shape: str) -> tuple[list[str] | None, str]:
    """Return the learnt turns, or None with the reason of the refusal."""
    try:
        return learnt(name, shape), ""
    except ChatError as error:
        return None, error.reason


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_learnt_is_the_truth_or_refused_with_a_mend(name):
    for shape in SHAPES:
        turns, reason = cell(name, shape)
        assert turns == expected(name, shape), shape
        assert turns or MENDS[reason]


@pytest.mark.parametrize("name", [name for name in TEMPLATES if "_training" in name])
def test_the_mask_is_that_of_trl_but_for_its_known_errors(name):
    made = encoder(name)
    for shape, messages in SHAPES.items():
        if cell(name, shape)[0] is None:
            continue
        before, tools = (3 if shape == "preference" else 0), [TOOL] if shape == "tools" else None
        text, turns = made.locate(messages, before, tools)
        form = made.frame.form(made._parsed(messages))
        wanted = [Wanted(0, len(form), spans=True)]
        (whole,) = chat_template.renderings(made.tokenizer, made._template, [form], wanted, tools)
        if not whole.text.startswith(text):
            assert name.startswith("nemotron")  # the reasoning that its prompt opens is closed, which trl does not do
            continue
        skipped = [b for _, b in whole.spans if b <= turns[0].spans[0][0]]  # of turns that are not learnt here
        theirs = [c for c in range(max(skipped, default=0), len(whole.text)) if any(a <= c < b for a, b in whole.spans)]
        ours = [c for turn in turns for a, b in turn.spans for c in range(a, b)]
        different = sorted(set(theirs) ^ set(ours))
        runs = "".join(whole.text[c] if c - 1 in different else "\0" + whole.text[c] for c in different)
        assert all(ALLOWED.fullmatch(run) for run in runs.split("\0")), (shape, runs)


def test_the_table_is_not_smaller_than_it_was(capsys):
    cells = {(name, shape): cell(name, shape) for name in TEMPLATES for shape in SHAPES}
    right = sum(turns is not None for turns, _ in cells.values())
    refused = Counter(reason for turns, reason in cells.values() if turns is None)
    with capsys.disabled():
        print(f"\n{len(TEMPLATES)} templates x {len(SHAPES)}: {right} right, refused: {json.dumps(refused)}")
    assert right >= RIGHT


@pytest.mark.parametrize("name", [name for name in TEMPLATES if trained_as((FOLDER / f"{name}.jinja").read_text())])
def test_a_template_that_is_replaced_at_training_has_the_prompts_of_its_own(name):
    ours = encoder(name)
    text = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    for shape, messages in SHAPES.items():
        form = ours.frame.form(ours._parsed(messages[:-1]), style=(name != "gemma", False))
        call = (ours.tokenizer, text, [form], [Wanted(0, len(form), True)])
        try:
            (own,) = chat_template.renderings(*call)
        except chat_template.TemplateRefused:
            assert name == "gemma" and ("system" in shape or shape == "tools")
            continue
        if (name, shape) != ("deepseek_r1_distill", "tools"):  # which does not end its tool calls
            assert ours.render(messages[:-1], generation=True) == own.text, shape


def test_our_templates_are_named():
    assert names() == sorted(path.stem for path in Path(chosen_template.__globals__["FOLDER"]).glob("*.jinja"))
