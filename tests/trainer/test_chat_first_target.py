"""Where learning starts and ends in a turn: with the first token after the prompt, and with the token that stops.

The reference for what follows the stopping token is trl's mask of assistant turns, which follows the template's marks:
it holds the line break where `{% endgeneration %}` stands behind it (see trainer.data.chat_turns).
"""

from __future__ import annotations

import pytest

from tests.conftest import new_chat_tokenizer
from windtunnel.trainer.data.chat import ChatEncoder

TALK = [
    {"role": "user", "content": "Q one?"},
    {"role": "assistant", "content": "A one."},
    {"role": "user", "content": "Q two?"},
    {"role": "assistant", "content": "A two."},
]
EACH, END, PROMPT = "{% for m in messages %}", "{% endfor %}", "{% if add_generation_prompt %}"
TURN = "<|im_start|>{{ m['role'] }}\n"
TEXT = "{{ m['content'] }}<|im_end|>"


def marked(inside: str, behind: str = "") -> str:
    """Return a template's turns with marks around what assistants write."""
    other = inside + behind
    answer = "{% generation %}" + inside + "{% endgeneration %}" + behind
    return EACH + TURN + "{% if m['role'] == 'assistant' %}" + answer + "{% else %}" + other + "{% endif %}" + END


OPENING = PROMPT + "<|im_start|>assistant\n{% endif %}"
TEMPLATES = {
    "chatml": EACH + TURN + TEXT + "{{ '\n' }}" + END + OPENING,
    "chatml, marked": marked(TEXT, "{{ '\n' }}") + OPENING,
    "chatml, line break in the marks": marked(TEXT + "{{ '\n' }}") + OPENING,
    "no prompt": EACH + TURN + TEXT + "{{ '\n' }}" + END,
    "no prompt, marked": marked(TEXT, "{{ '\n' }}"),
    "no prompt, only contents marked": marked("{{ m['content'] }}", "<|im_end|>{{ '\n' }}"),
    "half a prompt": marked(TEXT, "{{ '\n' }}") + PROMPT + "<|im_start|>assistant{% endif %}",
    "looks at ends of texts": marked("{{ m['content'] }}{% if m['content'].endswith('x') %}!{% endif %}<|im_end|>"),
    "brackets": EACH + "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} " + TEXT + "{% endif %}"
    + END,
    "brackets and a space": EACH + "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST] {% else %}" + TEXT
    + "{% endif %}" + END,
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_turn_is_learnt_from_its_prompt_to_its_stop(name):
    tokenizer = new_chat_tokenizer()
    tokenizer.chat_template = TEMPLATES[name]
    encoder = ChatEncoder(tokenizer)
    made = encoder.encode(TALK)
    for turn in (1, 3):
        prompt = encoder.prompt_ids(TALK[:turn])
        assert made.ids[: len(prompt)] == prompt
        assert made.target[len(prompt) - 1 : len(prompt) + 1] == [False, True]  # nothing before, and nothing left out
        stop = made.ids.index(encoder.end_id, len(prompt))
        assert all(made.target[len(prompt) : stop + 1])
        assert not any(made.target[stop + 1 : stop + 2])  # such as the line break
    assert made.ids[-1] == encoder.end_id


def test_trl_learns_the_line_break_where_the_marks_hold_it():
    tokenizer = new_chat_tokenizer()
    tokenizer.chat_template = TEMPLATES["chatml, line break in the marks"]
    theirs = tokenizer.apply_chat_template(TALK[:2], tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    ours = ChatEncoder(tokenizer).encode(TALK[:2])
    ids, mask = theirs["input_ids"], theirs["assistant_masks"]
    assert tokenizer.decode(ids[len(ours.ids) :]) == "\n" and all(mask[len(ours.ids) :])
    assert [bool(on) for on in mask[: len(ours.ids)]] == ours.target
