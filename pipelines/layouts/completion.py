"""A prompt and a completion, as texts or as lists of messages, under the names that are usual for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Layout, Record
from windtunnel.pipelines.layouts._turns import (
    INPUTS,
    LABEL,
    PROMPTS,
    answer_turns,
    asked_with,
    label_of,
    named,
    prompt_turns,
    tools_of,
    with_system,
)

COMPLETIONS = ("completion", "response", "answer", "output", "solution")


class Completion(Layout):
    """Columns `prompt` and `completion` (also question, query, problem; response, answer, output, solution).

    An instruction is followed by its `input` (or context).
    """

    version: ClassVar[int] = 2
    rank: ClassVar[int] = 60
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"prompt": "Why?", "completion": "So."}, (("user", "Why?"), ("assistant", "So."))),
        Example({"question": "1+1", "answer": "2"}, (("user", "1+1"), ("assistant", "2"))),
        Example(
            {"ask": "a", "say": "b"},
            (("user", "a"), ("assistant", "b")),
            params={"prompt": "ask", "completion": "say"},
        ),
        Example(
            {"system_prompt": "Be.", "question": "1+1", "response": "2"},
            (("system", "Be."), ("user", "1+1"), ("assistant", "2")),
        ),
        Example({"prompt": 3, "completion": "b"}, refused="text_not_string"),
    )
    prompt: str | None = None
    completion: str | None = None
    system: str | None = None
    label: str | None = LABEL  # of the completion: whether it is desirable

    def fits(self, columns: Collection[str]) -> bool:
        prompt, completion = self._names(columns)
        return prompt in columns and completion in columns

    def row(self, record: Record) -> Chat:
        prompt, completion = self._names(record)
        given = record.get(prompt)
        if prompt == "instruction" and self.prompt is None and isinstance(given, str):
            given = asked_with(given, record, named(record, None, INPUTS))
        asked = with_system(prompt_turns(given, prompt), record, self.system)
        said = [*asked, *answer_turns(record.get(completion), completion)]
        label = label_of(record, self.label) if self.label != completion else None
        return Chat(said, tools_of(record.get("tools")), label)

    def _names(self, columns: Collection[str]) -> tuple[str, str]:
        return named(columns, self.prompt, PROMPTS), named(columns, self.completion, COMPLETIONS)
