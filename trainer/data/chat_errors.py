"""Why rows of chat data are refused, and what mends each reason."""

from __future__ import annotations

OVER_LIMIT = "template_over_limit"
_OTHER_TEMPLATE = (
    "set `template:` of the recipe to chatml, deepseek, gemma or a file, such as one with {% generation %} marks"
)

# A reason that is not here is its own explanation (a role order, an empty turn).
MENDS = {
    "template_not_incremental": f"the template writes a turn in another way when turns are added: {_OTHER_TEMPLATE}",
    "generation_prompt_differs": "what the template puts before an answer to generate is not what it puts before the "
    f"same answer in a conversation, so the model would be asked in a way it never saw: {_OTHER_TEMPLATE}",
    "template_refused": "the template raised an error on these turns (often a system or a tool turn that it has no "
    f"place for): leave such turns out, or {_OTHER_TEMPLATE}",
    "field_not_rendered": "the template leaves out a part of the row: write reasoning into the answer as "
    f"<think>...</think>, or {_OTHER_TEMPLATE}",
    OVER_LIMIT: f"the template takes too much time, memory or text on these rows: {_OTHER_TEMPLATE}",
    "special_token_in_text": "a text holds a special token of the tokenizer, which could open or close a turn: remove "
    "it from the rows",
    "bad_tool_call": "a tool call has no function name, or arguments that are no JSON object: correct the rows",
    "not_text": "a turn holds something else than text, such as an image: leave such rows out",
    "not_unicode": "a text holds lone surrogates or noncharacters: read the file with its right encoding",
    "not_round_trip": "the tokenizer gives no places of its tokens in the text: use a fast tokenizer",
    "too_long": "raise the model's `context`, or set `too_long: truncate` to keep the rounds that fit",
    "no_prompt": "give both answers the same question: they share no token before the answer",
    "no_assistant_turn": "there is nothing to learn: add an assistant turn",
    "no_last_answer": "the label is that of the last turn, which is no answer: end the conversation with one",
    "no_label": "give every answer a `label`, true or false, or learn from pairs by `kto`",
    "undesirable_answer": "learn from answers with `label: false` by `kto_unpaired`",
    "chosen_equals_rejected": "remove pairs whose answers are the same",
    "duplicate_id": "a row is known by its content, and these are copies of rows before them, which are used once: "
    "`dedup: exact` of their set takes copies out",
    "in_an_earlier_set": "a row that several sets hold is learnt once by a stage that reads them together, as a row of "
    "the first: leave it out of one, or let a stage read one by `sets`",
    "role_order": "roles must alternate: system (optional), user, assistant; tool results follow assistants",
    "unknown_role": "use the roles system, user, assistant and tool",
}


class ChatError(Exception):
    """A conversation that cannot be used for training; `reason` is the drop reason in the counts."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def mend(reason: str) -> str:
    """Return what to do about rows that are refused for a reason; empty where the reason says it."""
    return MENDS.get(reason, "")
