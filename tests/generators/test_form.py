"""What a server is learnt to refuse, from the error texts of many servers, and what of it changes a request."""

from __future__ import annotations

import pytest

from windtunnel.generators.client.completion import Request, key_of
from windtunnel.generators.client.form import Form
from windtunnel.generators.client.parameters import checked_parameters
from windtunnel.generators.client.reasoning import split_reasoning

SCHEMA = {"type": "object"}
ASKED = Request(
    ({"role": "user", "content": "q"},), temperature=0.0, logprobs=20, schema=SCHEMA, stop=("\n",), presence_penalty=0.5
)
REFUSALS = [  # (parameter and message of the server, the field that is sent in another way, what is sent)
    (
        "max_tokens unsupported_parameter Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.", "max_tokens", "max_completion_tokens",
    ),
    ("None Unrecognized request argument supplied: max_tokens", "max_tokens", "max_completion_tokens"),
    (
        "temperature unsupported_value Unsupported value: 'temperature' does not support 0 with this model. "
        "Only the default (1) value is supported.", "temperature", None,
    ),
    ("invalid temperature: only 1 is allowed for this model", "temperature", None),
    ("`temperature` is deprecated for this model.", "temperature", None),
    ("Input validation error: `temperature` must be strictly positive", "temperature", None),
    ("`temperature` and `top_p` cannot both be specified for this model. Please use only one.", "top_p", None),
    ("top_logprobs Invalid value for 'top_logprobs': must be less than or equal to 5.", "logprobs", 5),
    ("Requested sample logprobs of 20, which is greater than max allowed: 8", "logprobs", 8),
    ("Logprobs must be between 0 and 3", "logprobs", 3),
    ("top_logprobs is not supported by this model", "logprobs", 5),
    ("logprobs is not supported with reasoning models.", "logprobs", None),
    ("litellm.UnsupportedParamsError: x does not support parameters: ['logprobs'], for model=m", "logprobs", None),
    ("You are not allowed to request logprobs from this model", "logprobs", None),
    (
        "response_format Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        "schema", "json_object",
    ),
    ("'response_format.type' must be 'text' or 'json_object'", "schema", "json_object"),
    ("Failed to parse grammar", "schema", "json_object"),
    ("This response_format type is unavailable now", "schema", "json_object"),
    (
        "{'detail': [{'type': 'extra_forbidden', 'loc': ['body', 'seed'], 'msg': 'Extra inputs are not permitted', "
        "'input': 1}]}", "seed", None,
    ),
    ('[{"error": {"message": "Invalid JSON payload received. Unknown name \\"seed\\": no field."}}]', "seed", None),
    ("stop Unsupported parameter: 'stop' is not supported with this model.", "stop", None),
    ("Model m does not support parameter presencePenalty.", "presence_penalty", None),
]  # fmt: skip
ERRORS = [  # of the recipe or of the prompt: nothing that another form would mend
    "max_tokens max_tokens is too large: 5000. This model supports at most 4096 completion tokens",
    "max_tokens or max_completion_tokens is too large: 5000",
    "temperature decimal_above_max_value Invalid 'temperature': decimal above maximum value. Expected a value <= 2",
    "messages[0].content Invalid content type.",
    "top_k Unsupported parameter: 'top_k'",
    "unexpected role 'system'",
    "",
]


@pytest.mark.parametrize(("refusal", "field", "sent"), REFUSALS)
def test_a_refusal_names_what_is_sent_in_another_way(refusal, field, sent):
    learnt = Form().after(refusal, ASKED)
    assert learnt is not None
    assert learnt.changes(ASKED) == {field: sent}
    assert learnt.changes(Request(prompt="q", max_tokens=None, seed=None)) == (
        {field: sent} if field == "top_p" else {}
    )
    assert learnt.after(refusal, ASKED) != learnt  # the same refusal again suggests something else, or nothing
    assert key_of(ASKED, "m", "r", learnt.changes(ASKED)) != key_of(ASKED, "m", "r")


@pytest.mark.parametrize("refusal", ERRORS)
def test_a_refusal_that_no_other_form_mends_is_an_error(refusal):
    assert Form().after(refusal, ASKED) is None


def test_refusals_add_up_to_a_form_that_depends_on_their_order_in_nothing():
    schema, number, chat = "json_schema is unsupported", "top_logprobs: at most 5", "json_object is unsupported"
    form = Form()
    for refusal in (schema, number, chat):
        form = form.after(refusal, ASKED) or form
    assert form.changes(ASKED) == {"schema": "text", "logprobs": 5}
    assert form.after(chat, ASKED) is None
    fewer = form.after("top_logprobs is not allowed", ASKED)
    assert fewer is not None and fewer.changes(ASKED)["logprobs"] is None
    other = Request(ASKED.messages, schema={"type": "array"})
    assert form.changes(other) == {}  # another schema may be accepted
    assert form.after(schema, other).changes(other) == {"schema": "text"}


def test_the_users_own_parameters_are_never_left_out():
    own = Request(ASKED.messages, temperature=0.0, extra={"temperature": 0.3, "max_completion_tokens": 9})
    assert Form().after("temperature is not supported", own) is None
    assert Form().after("max_tokens is not supported", own) is None


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"model": "other"}, "decided by what is asked"),
        ({"n": 4}, "decided by what is asked"),
        ({"extra": [{"api_key": "x"}]}, "no secret"),
        ({"headers": {"x": "Bearer abc"}}, "no secret"),
        ({"x": float("nan")}, "JSON"),
        ({"x": {1, 2}}, "JSON"),
    ],
)
def test_parameters_that_no_recipe_may_have(parameters, reason):
    with pytest.raises(ValueError, match=reason):
        checked_parameters(parameters)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("plain", "", "plain"),
        ("<think>\nwhy\n</think>\n\nanswer", "why", "answer"),
        ("why\n</think>\n\nanswer", "why", "answer"),  # the opening tag is in the prompt
        ("<think>never ends", "never ends", ""),
        ("[THINK]why[/THINK]answer", "why", "answer"),
        ("The tag </think> ends it", "", "The tag </think> ends it"),
        ("Write <think> first", "", "Write <think> first"),
        ("<think></think>answer", "", "answer"),
    ],
)
def test_reasoning_is_no_part_of_the_answer(text, reasoning, answer):
    assert split_reasoning(text) == (reasoning, answer)
