"""Chat templates of tokenizers, which are programs of whoever wrote the tokenizer.

transformers renders them in a sandbox without limits: `{% for i in range(10**12) %}`, a string times a number, or a
string that doubles with each message take for ever or all memory. Here they are rendered in a process with limits, all
renderings of a conversation in one call. Templates that are known to be harmless are rendered at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from windtunnel.schemas.limited_process import LimitedProcess, LimitExceeded

CPU_SECONDS, MEMORY_BYTES, REPLY_BYTES = 5, 1 << 30, 1 << 28
MOST_GROWTH, MOST_ADDED = 16, 200_000  # characters per character of the conversation, and of the template's own text

Messages = Sequence[Mapping[str, Any]]

_process = LimitedProcess(
    "windtunnel.schemas.chat_template:render",
    cpu_seconds=CPU_SECONDS, memory_bytes=MEMORY_BYTES, reply_bytes=REPLY_BYTES,
)  # fmt: skip


class TemplateRefused(Exception):
    """A conversation on which the template raises an error."""


class TemplateOverLimit(Exception):
    """A conversation on which the template takes too much time or memory, or gives too much text."""


class Wanted(NamedTuple):
    """A rendering to make: the first `count` messages of one of the conversations of a call."""

    conversation: int
    count: int
    generation: bool = False  # with the generation prompt
    spans: bool = False  # with the character spans of `{% generation %}` blocks


class Rendering(NamedTuple):
    """A rendered text, and the character spans [begin, end) of its `{% generation %}` blocks if they were wanted."""

    text: str
    spans: list[list[int]]


def renderings(
    tokenizer: Any, template: str, conversations: Sequence[Messages], wanted: Sequence[Wanted],
    tools: Sequence[Any] | None = None, harmless: Collection[str] = (),
) -> list[Rendering]:  # fmt: skip
    """Return the wanted renderings of one or several conversations, in order, from one call of the process.

    Templates in `harmless` are rendered in this process. Raises TemplateRefused and TemplateOverLimit.
    """
    tokens = {
        name: list(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        for name, value in tokenizer.special_tokens_map.items()
    }
    call = render if template in harmless else _process.call
    try:
        problem, made = call(template, tokens, list(map(list, conversations)), list(wanted), tools and list(tools))
    except LimitExceeded as error:
        raise TemplateOverLimit(str(error)) from error
    if problem == "size":
        raise TemplateOverLimit("over the limit of size")
    if problem is not None:
        raise TemplateRefused(problem)
    return [Rendering(*one) for one in made]


def prefixes(
    tokenizer: Any, template: str, messages: Messages, wanted: Sequence[tuple[int, bool]],
    harmless: Collection[str] = (),
) -> list[str]:  # fmt: skip
    """Return the rendered first `n` messages per (n, with generation prompt); see `renderings`."""
    plain = [{key: value for key, value in message.items() if value is not None} for message in messages]
    parts = [Wanted(0, count, generation) for count, generation in wanted]
    return [one.text for one in renderings(tokenizer, template, [plain], parts, harmless=harmless)]


def render(
    template: str,
    tokens: Mapping[str, Any],
    conversations: list[list[dict[str, Any]]],
    wanted: Sequence[Sequence[Any]],
    tools: list[Any] | None = None,
) -> tuple[str | None, list[tuple[str, list[list[int]]]]]:
    """Return (None, (text, spans) of every wanted rendering), or the problem and nothing: `size`, or an error."""
    from transformers.utils.chat_template_utils import render_jinja_template

    made: list[tuple[str, list[list[int]]]] = []
    for conversation, count, generation, spans in wanted:
        part: Any = conversations[conversation][:count]
        try:
            rendered: Any = render_jinja_template(
                conversations=[part], chat_template=template, add_generation_prompt=generation, tools=tools,
                return_assistant_tokens_mask=spans, **tokens,
            )  # fmt: skip
        except MemoryError:
            raise
        except Exception as error:  # a template can raise anything
            return f"{type(error).__name__}: {error}"[:500], []
        text = rendered[0][0]
        if len(text) > MOST_ADDED + MOST_GROWTH * (sum(_size(message) for message in part) + len(str(tools or ""))):
            return "size", []
        made.append((text, [list(span) for span in rendered[1][0]] if spans else []))
    return None, made


def _size(message: Mapping[str, Any]) -> int:
    return sum(len(value) if isinstance(value, str) else len(str(value)) for value in message.values())
