"""What a chat template puts around the turns, found by rendering small conversations of our own.

A turn's end is the text that follows an answer whether or not another turn comes after it, up to the end of its first
run of special tokens: `<|im_end|>` of `<|im_end|>\n`. Two kinds of template need more:
- no special token follows an answer in both (Phi-3 with its end-of-text is not of this kind, gpt-oss is: `<|return|>`
  at the end of a conversation, `<|end|>` before other turns): the end of the last turn is learnt, and none in earlier
  turns, after which the model would go on;
- nothing follows the last answer (GLM-4.5): the model stops by the token that opens the next turn, `<|user|>` or
  `<|observation|>`, as its generation config says; that token ends earlier turns and is added to the last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from windtunnel.schemas.chat_template import Rendering, Wanted
from windtunnel.trainer.data import chat_marks
from windtunnel.trainer.data.chat_errors import OVER_LIMIT, ChatError

USER = {"role": "user", "content": "Which is it?"}
ANSWER = {"role": "assistant", "content": "This one."}
SYSTEM = {"role": "system", "content": "Be short."}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "call00001", "type": "function", "function": {"name": "look", "arguments": {"at": "it"}}}],
}
RESULT = {"role": "tool", "content": "Seen.", "tool_call_id": "call00001", "name": "look"}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks at it.",
        "parameters": {
            "type": "object",
            "properties": {"at": {"type": "string", "description": "What."}},
            "required": ["at"],
        },
    },
}
THINKING = {"role": "assistant", "content": "This one.", "reasoning_content": "It fits."}
# What opens reasoning, and reasoning without text.
THOUGHT = re.compile(r"<think>|<thinking>|\[THINK\]")
NO_THOUGHT = re.compile(r"\s*(<think>\s*</think>|<thinking>\s*</thinking>|\[THINK\]\s*\[/THINK\])")


class Render(Protocol):
    """Renders conversations; raises ChatError."""

    def __call__(
        self, conversations: Sequence[Any], wanted: Sequence[Wanted], tools: Sequence[Any] | None = None
    ) -> list[Rendering]: ...


class End(NamedTuple):
    """The text that ends an answer: of a conversation's last turn, and of an earlier one."""

    last: str
    earlier: str
    left_out: bool = False  # the template does not write it after the last turn


class CallEnd(NamedTuple):
    """The token that ends a turn with tool calls."""

    token: str
    left_out: bool


class Frame:
    """What one template puts around turns; each part is found when it is first needed."""

    def __init__(self, render: Render, special: re.Pattern[str]):
        self._render, self._special = render, special
        self._openers: dict[str, str | None] = {}

    @cached_property
    def in_parts(self) -> bool:
        """Whether contents must be lists of parts, as templates of models that see images expect."""
        try:
            return not self._reads([USER], parts=False) and self._reads([USER], parts=True)
        except ChatError as error:
            if error.reason == OVER_LIMIT:
                raise
            return False

    @cached_property
    def call_style(self) -> tuple[bool, bool] | None:
        """(arguments as JSON text, content null) with which calls are rendered; None if they are not.

        Templates either write the arguments' object or add their text to other text, and some look for a null content.
        """
        for style in ((False, False), (False, True), (True, False), (True, True)):
            try:
                if self._reads([USER, CALL], style=style, tools=[TOOL]) and self._reads([USER, CALL], style=style):
                    return style
            except ChatError as error:
                if error.reason == OVER_LIMIT:
                    raise
        return None

    def form(
        self, messages: Sequence[Mapping[str, Any]], parts: bool | None = None, style: tuple[bool, bool] | None = None
    ) -> list[dict[str, Any]]:
        """Return messages as the template takes them: contents as text or parts, arguments as object or text."""
        parts = self.in_parts if parts is None else parts
        out = []
        for message in messages:
            copy = {key: value for key, value in message.items() if value is not None}
            if copy.get("tool_calls"):
                as_text, null = style or self.call_style or (False, False)
                if as_text:
                    copy["tool_calls"] = [_with_text(call) for call in copy["tool_calls"]]
                if null and not copy.get("content"):
                    copy["content"] = None
            if parts and isinstance(copy.get("content"), str):
                copy["content"] = [{"type": "text", "text": copy["content"]}]
            out.append(copy)
        return out

    def opener(self, role: str) -> str | None:
        """Return the text from the end of a user's or tool's content to where generation starts, None if unknown."""
        if role not in self._openers:
            turns = [USER] if role == "user" else [USER, CALL, RESULT]
            try:
                self._openers[role] = self._tail(turns, generation=True)
            except ChatError:
                self._openers[role] = None
        return self._openers[role]

    @cached_property
    def end(self) -> End:
        """The end of answers. Raises ChatError if the template refuses a question with its answer."""
        alone = self._tail([USER, ANSWER])
        try:
            followed = self._tail([USER, ANSWER, USER], after=1)
        except ChatError:
            followed = alone
        both = self._common(alone, followed)
        if run := self._run_end(both):
            return End(both[:run], both[:run])
        if own := self._special.search(alone):
            return End(alone[: own.end()], "")
        if other := self._special.search(followed):
            return End(followed[: other.end()], followed[: other.end()], left_out=True)
        return End(both, both)

    @cached_property
    def call_end(self) -> CallEnd | None:
        """The end of turns with tool calls; None if the template has none, or none that stops the model."""
        try:
            alone = self._tail([USER, CALL])
            followed = self._tail([USER, CALL, RESULT], after=1)
            left_out = self.end.left_out
        except ChatError:
            return None
        both = self._common(alone, followed)
        if left_out and (other := self._special.search(followed, len(both))):
            return CallEnd(other.group(), left_out=True)
        found = self._special.findall(both) or self._special.findall(alone)[:1]
        if not found or self._ends_each_call(found[-1]):
            return None
        return CallEnd(found[-1], left_out=False)

    def _ends_each_call(self, token: str) -> bool:
        """Return whether a token ends every call of a turn, so that it cannot stop the model."""
        twice = {**CALL, "tool_calls": CALL["tool_calls"] * 2}
        marked = chat_marks.mark([USER, twice])
        try:
            (made,) = self._render([self.form(marked.messages)], [Wanted(0, 2)])
        except ChatError:  # one call a turn
            return False
        text, places = chat_marks.read(made.text)
        return text.count(token, places.get(1, len(text))) > 1

    def stops(self) -> list[str]:
        """Return the special tokens by which the model ends its turns, of answers first."""
        ends = [found[-1] for found in [self._special.findall(self.end.last)] if found]
        if self.call_style is not None and self.call_end and self._special.fullmatch(self.call_end.token):
            ends.append(self.call_end.token)
        return list(dict.fromkeys(ends))

    def renders(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None) -> bool:
        """Return whether the template writes all texts of the messages, and the first tool's name if there are any."""
        try:
            return self._reads(messages, tools=tools)
        except ChatError:
            return False

    @cached_property
    def thought_end(self) -> str | None:
        """The text between reasoning and its answer; None if the template has no place for `reasoning_content`."""
        marked = chat_marks.mark([USER, THINKING])
        try:
            (made,) = self._render([self.form(marked.messages)], [Wanted(0, 2)])
        except ChatError:
            return None
        text, places = chat_marks.read(made.text)
        if len(places) != len(marked.marks):
            return None
        _, thought, answer = places.values()
        return text[thought : answer - len(THINKING["content"])]

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the template writes the tools that may be called."""
        try:
            (made,) = self._render([self.form([USER])], [Wanted(0, 1)], [TOOL])
        except ChatError:
            return False
        return TOOL["function"]["description"] in made.text

    def _reads(
        self,
        messages: Sequence[Mapping[str, Any]],
        parts: bool | None = None,
        style: tuple[bool, bool] | None = None,
        tools: Sequence[Any] | None = None,
    ) -> bool:
        marked = chat_marks.mark(messages)
        (made,) = self._render([self.form(marked.messages, parts, style)], [Wanted(0, len(messages))], tools)
        return len(chat_marks.read(made.text)[1]) == len(marked.marks)

    def _tail(self, messages: Sequence[Mapping[str, Any]], after: int = -1, generation: bool = False) -> str:
        """Return the text after the last mark of a message, up to the next message's mark if there is one."""
        after %= len(messages)
        marked = chat_marks.mark(messages)
        (made,) = self._render([self.form(marked.messages)], [Wanted(0, len(messages), generation)])
        text, places = chat_marks.read(made.text)
        own = [place for number, place in places.items() if marked.marks[number].message == after]
        later = [place for number, place in places.items() if marked.marks[number].message > after]
        if not own:
            raise ChatError("field_not_rendered", f"the template leaves out a turn of the {messages[after]['role']}")
        return text[own[-1] : min(later, default=len(text))]

    def _common(self, a: str, b: str) -> str:
        """Return the longest common beginning in which no special token is cut."""
        length = 0
        for x, y in zip(self._pieces(a), self._pieces(b), strict=False):
            if x != y:
                break
            length += len(x)
        return a[:length]

    def _pieces(self, text: str) -> list[str]:
        """Return special tokens whole and everything else by character."""
        pieces, begin = [], 0
        for found in self._special.finditer(text):
            pieces += [*text[begin : found.start()], found.group()]
            begin = found.end()
        return [*pieces, *text[begin:]]

    def _run_end(self, text: str) -> int:
        """Return the end of the first run of special tokens, 0 if there is none."""
        end = 0
        for found in self._special.finditer(text):
            if end and found.start() != end:
                break
            end = found.end()
        return end


def _with_text(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}}
