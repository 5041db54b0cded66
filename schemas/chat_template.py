"""Chat templates of tokenizers, which are programs of whoever wrote the tokenizer.

transformers renders them in a sandbox without limits: `{% for i in range(10**12) %}`, a string times a number, or a
string that doubles with each message take for ever or all memory. Here they are rendered in a process with limits, all
prefixes of a conversation in one call. Templates that are known to be harmless are rendered at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from windtunnel.schemas.limited_process import LimitedProcess, LimitExceeded

CPU_SECONDS, MEMORY_BYTES, REPLY_BYTES = 5, 1 << 30, 1 << 28
MOST_GROWTH, MOST_ADDED = 16, 200_000  # characters per character of the conversation, and of the template's own text

_process = LimitedProcess(
    "windtunnel.schemas.chat_template:render",
    cpu_seconds=CPU_SECONDS, memory_bytes=MEMORY_BYTES, reply_bytes=REPLY_BYTES,
)  # fmt: skip


class TemplateRefused(Exception):
    """A conversation on which the template raises an error."""


class TemplateOverLimit(Exception):
    """A conversation on which the template takes too much time or memory, or gives too much text."""


def prefixes(
    tokenizer: Any, template: str, messages: Sequence[Mapping[str, Any]], wanted: Sequence[tuple[int, bool]],
    harmless: Collection[str] = (),
) -> list[str]:  # fmt: skip
    """Return the rendered first `n` messages per (n, with generation prompt).

    Templates in `harmless` are rendered in this process. Raises TemplateRefused and TemplateOverLimit.
    """
    tokens = {
        name: list(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        for name, value in tokenizer.special_tokens_map.items()
    }
    plain = [{key: value for key, value in message.items() if value is not None} for message in messages]
    call = render if template in harmless else _process.call
    try:
        problem, texts = call(template, tokens, plain, list(wanted))
    except LimitExceeded as error:
        raise TemplateOverLimit(str(error)) from error
    if problem == "size":
        raise TemplateOverLimit("over the limit of size")
    if problem is not None:
        raise TemplateRefused(problem)
    return texts


def render(
    template: str, tokens: Mapping[str, Any], messages: list[dict[str, Any]], wanted: Sequence[tuple[int, bool]]
) -> tuple[str | None, list[str]]:
    """Return (None, texts), or the problem and no texts: `size`, or the template's error."""
    from transformers.utils.chat_template_utils import render_jinja_template

    texts: list[str] = []
    for count, generation in wanted:
        part: Any = messages[:count]
        try:
            rendered: Any = render_jinja_template(
                conversations=[part], chat_template=template, add_generation_prompt=generation, **tokens
            )
        except MemoryError:
            raise
        except Exception as error:  # a template can raise anything
            return f"{type(error).__name__}: {error}"[:500], []
        text = rendered[0][0]
        if len(text) > MOST_ADDED + MOST_GROWTH * sum(len(str(m.get("content", ""))) for m in part):
            return "size", []
        texts.append(text)
    return None, texts
