"""Where a rendered conversation holds the assistant turns, from what the model generates first to what ends the turn.

A conversation is rendered as a whole, as it is read at training, with marks and without (chat_marks); turns are found
by place, so templates that rewrite earlier turns are understood too: what they write is learnt. Three rules:
- The last turn starts where the prompt of inference ends, with which the text begins: nothing else is trained than what
  is asked later. The first target is the first token that the model generates, also where a template has no generation
  prompt and the model has to write the header of its turn.
- An earlier turn starts behind the same generation prompt. Where a template drops the reasoning of earlier turns it may
  drop the opening of the reasoning too (Qwen3.5); the turn then starts behind the rest of the prompt.
- A turn ends with the token that stops the model (chat_frame); what a template writes behind it, such as the line break
  after `<|im_end|>`, is not learnt: nobody lets the model write it, since a server stops at the token, and the template
  writes it at the beginning of the next prompt. trl's mask of assistant turns holds it in templates that close
  `{% endgeneration %}` behind it; such a model spends a part of its loss on it and answers alike.

`{% generation %}` marks of a template narrow a turn to what they hold, if they hold its answer; they do not move its
start before the prompt's end, and the ending token is learnt whether or not they hold it. Where places cannot be found
the marks alone tell the turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from windtunnel.schemas.chat_template import Wanted
from windtunnel.trainer.data import chat_marks
from windtunnel.trainer.data.chat_errors import ChatError
from windtunnel.trainer.data.chat_frame import NO_THOUGHT, THOUGHT, Frame, Render
from windtunnel.trainer.data.chat_marks import Mark

Turns = Sequence[Mapping[str, Any]]

REWRITTEN = "the template changes earlier turns when later ones are added"


class Turn(NamedTuple):
    """An assistant turn: its message, and the spans of text [begin, end) that are learnt, in order."""

    message: int
    spans: list[tuple[int, int]]


class Located(NamedTuple):
    """A conversation's text up to the end of its last turn, and the turns to learn."""

    text: str
    turns: list[Turn]


def locate(
    render: Render,
    frame: Frame,
    messages: Turns,
    learn_from: int,
    tools: Sequence[Any] | None,
    known: bool,
    marked_spans: bool,
) -> Located:
    """Return the text and the assistant turns from message `learn_from` on. Raises ChatError.

    `known`: the template is ours and looks at no text, so the rendering with marks tells the one without.
    `marked_spans`: the template has `{% generation %}` marks.
    """
    targets = [k for k, message in enumerate(messages) if message["role"] == "assistant" and k >= learn_from]
    if not targets:
        raise ChatError("no_assistant_turn")
    messages = messages[: targets[-1] + 1]
    try:
        return _Rendered(render, frame, messages, tools, known, marked_spans).located(targets)
    except ChatError as error:
        if not marked_spans or error.reason != "template_not_incremental":
            raise
        found = _by_generation_marks(render, frame, messages, targets, tools)
        if found is None:
            raise
        return found


def _by_generation_marks(
    render: Render, frame: Frame, messages: Turns, targets: Sequence[int], tools: Sequence[Any] | None
) -> Located | None:
    """Return the turns as the template's generation marks give them, or None if they do not hold one answer each.

    For templates that look at texts (their ends, their lengths), so that marks in texts cannot tell where these stand.
    """
    last, forms = len(messages) - 1, frame.form(messages)
    (text, spans), prompt = render([forms], [Wanted(0, last + 1, spans=True), Wanted(0, last, True)], tools)
    answers = [k for k, message in enumerate(messages) if message["role"] == "assistant"]
    if len(spans) != len(answers) or not text.startswith(prompt.text):
        return None
    turns = []
    for k, (a, b) in zip(answers, spans, strict=True):
        start = len(prompt.text) if k == last else _prompt_end(render, forms, k, tools, text, a)
        end = start + len(text[start:b].rstrip())
        stop = (frame.end.last if k == last else frame.end.earlier).strip()
        if not text.endswith(stop, start, end) and text.startswith(stop, end):
            end += len(stop)
        if (messages[k].get("content") or "").strip() not in text[a:b]:
            return None
        turns.append(Turn(k, [(start, end)]))
    learnt = [turn for turn in turns if turn.message in targets]
    return Located(text[: learnt[-1].spans[-1][1]], learnt)


def _prompt_end(
    render: Render, forms: list[dict[str, Any]], k: int, tools: Sequence[Any] | None, text: str, mark: int
) -> int:
    """Return where the prompt of an earlier turn ends, or its mark if the template writes that prompt otherwise."""
    (prompt,) = render([forms], [Wanted(0, k, True)], tools)
    return len(prompt.text) if len(prompt.text) <= mark and text.startswith(prompt.text) else mark


class _Rendered:
    """A conversation that ends with an assistant turn, rendered."""

    def __init__(
        self,
        render: Render,
        frame: Frame,
        messages: Turns,
        tools: Sequence[Any] | None,
        known: bool,
        marked_spans: bool,
    ):
        self.render, self.frame, self.messages, self.tools = render, frame, messages, tools
        self.last = len(messages) - 1
        marked = chat_marks.mark(messages)
        self.marks = marked.marks
        self.forms = [frame.form(messages), frame.form(marked.messages)]
        wanted = [Wanted(1, len(messages)), Wanted(0, self.last, True), Wanted(0, len(messages), spans=marked_spans)]
        with_marks, prompt, *plain = render(self.forms, wanted[:2] if known else wanted, tools)
        text, places = chat_marks.read(with_marks.text)
        if plain and text != plain[0].text:
            raise ChatError("template_not_incremental", "the template writes texts in a way that depends on their end")
        self._check_fields(places)
        self.prompt, self.spans = prompt.text, plain[0].spans if plain else []
        self.text = text if text.startswith(prompt.text) else self._spliced(text)
        if self.text is not text:
            self.spans = []
        moved = len(self.text) - len(text)
        self.places: list[dict[str, int]] = [{} for _ in messages]  # of the last mark of a field
        self.first = [len(self.text)] * len(messages)  # of the first mark of a message
        for number, place in places.items():
            mark = self.marks[number]
            place += moved if mark.message == self.last else 0
            self.places[mark.message][mark.field] = place
            self.first[mark.message] = min(place, self.first[mark.message])

    def located(self, targets: Sequence[int]) -> Located:
        """Return the turns of the messages with these numbers. Raises ChatError."""
        text, turns, before = self.text, [], 0
        for k in targets:
            start = self._start(k)
            end, left_out = self._end(k, start)
            if not before <= start <= self.first[k] or max(self.places[k].values(), default=start) > end:
                raise ChatError("template_not_incremental", "the template writes the turns in another order")
            if left_out:
                text = text[:end] + left_out
            spans = self._narrowed(k, start, end)
            if left_out:
                spans = [*spans[:-1], (spans[-1][0], len(text))]
            turns.append(Turn(k, spans))
            before = end
        return Located(text[: turns[-1].spans[-1][1]], turns)

    def _check_fields(self, places: Mapping[int, int]) -> None:
        """Refuse a row of which the template leaves out a part: what is not read cannot be learnt."""
        if self.tools and not self.frame.takes_tools:
            raise ChatError("field_not_rendered", "the template leaves out the tools")
        for number, (message, field) in enumerate(self.marks):
            # leaving out the reasoning of earlier turns is the habit of templates at inference too
            if number not in places and (field != chat_marks.REASONING or message == self.last):
                role = self.messages[message]["role"]
                raise ChatError("field_not_rendered", f"the template leaves out the {field} of a turn of the {role}")

    def _start(self, k: int) -> int:
        if k == self.last:
            return len(self.prompt)
        before = self.messages[k - 1] if k else None
        place = self.places[k - 1].get(chat_marks.CONTENT) if k else None
        if before is not None and place is not None and (opener := self.frame.opener(before["role"])) is not None:
            bare = THOUGHT.split(opener)[0]
            for text in (opener, bare, bare.rstrip()):
                for space in (_space(before["content"]), ""):
                    if self.text.startswith(space + text, place):
                        return place + len(space + text)
        (made,) = self.render(self.forms[:1], [Wanted(0, k, True)], self.tools)
        if not self.text.startswith(made.text):
            raise ChatError("template_not_incremental", REWRITTEN)
        return len(made.text)

    def _spliced(self, text: str) -> str:
        """Return the text with the prompt of inference before the last turn, for a template that writes another.

        Some prompts open the model's reasoning, or open and close it, where the same template writes a turn without
        reasoning in another way. Such a turn is learnt as the prompt asks for it: reasoning that is open is closed at
        once, in the template's own words. Raises ChatError for every other difference.
        """
        (made,) = self.render(self.forms[:1], [Wanted(0, self.last)], self.tools)
        history = made.text
        if not (text.startswith(history) and self.prompt.startswith(history)):
            raise ChatError("template_not_incremental", REWRITTEN)
        generation = self.prompt[len(history) :]
        bare = THOUGHT.split(generation)[0]
        closing = "" if NO_THOUGHT.search(generation) else self.frame.thought_end
        reasoned = Mark(self.last, chat_marks.REASONING) in self.marks
        if bare == generation or closing is None or reasoned or not text.startswith(history + bare):
            raise ChatError("generation_prompt_differs", repr(generation[-80:]))
        answer = text[len(history + bare) :]
        if found := NO_THOUGHT.match(answer):
            answer = answer[found.end() :]
            answer = answer.lstrip("\n") if (generation + closing).endswith("\n") else answer
        return self.prompt + closing + answer

    def _end(self, k: int, start: int) -> tuple[int, str]:
        """Return the end of a turn in the text, and the stop that the template leaves out after the last turn."""
        places = self.places[k]
        if self.messages[k].get("tool_calls"):
            return self._end_of_calls(k, places[chat_marks.CALL])
        if places and chat_marks.CONTENT not in places:
            raise ChatError("empty_assistant_turn", "there is no answer after the reasoning")
        place = places.get(chat_marks.CONTENT, start)  # an empty answer has no mark
        end = self.frame.end
        space = _space(self.messages[k]["content"])
        stop = end.last if k == self.last else end.earlier
        if self.text.startswith(space + stop, place):
            return place + len(space + stop), ""
        found = self.text.find(stop, place)
        if found >= 0 and not self.text[place:found].strip():
            return found + len(stop), ""
        if k == self.last and end.left_out and not self.text[place:].strip():
            return len(self.text), stop
        raise ChatError("template_not_incremental", "the end of a turn is not that of other turns")

    def _end_of_calls(self, k: int, place: int) -> tuple[int, str]:
        end = self.frame.call_end
        if end is None:
            raise ChatError("field_not_rendered", "the template has no end of turns with tool calls")
        limit = min((self.first[m] for m in range(k + 1, len(self.messages))), default=len(self.text))
        found = self.text.find(end.token, place, limit)
        if found >= 0:
            return found + len(end.token), ""
        if k == self.last and end.left_out:
            return len(self.text), end.token
        raise ChatError("template_not_incremental", "the end of a turn with tool calls is not that of other turns")

    def _narrowed(self, k: int, start: int, end: int) -> list[tuple[int, int]]:
        """Return the turn's span, or the parts of it that the template's generation marks hold."""
        answer = max(self.places[k].values(), default=start)
        spans = [(max(a, start), min(b, end)) for a, b in self.spans if a < end and b > start]
        if not any(a <= answer <= b for a, b in spans):
            return [(start, end)]  # spans of a macro are misplaced, and some templates mark other things
        if not any(start < place <= spans[0][0] for place in self.places[k].values()):
            spans[0] = (start, spans[0][1])  # the template's own words, which the model has to generate
        spans[-1] = (spans[-1][0], end)
        joined = spans[:1]
        for a, b in spans[1:]:
            if a <= joined[-1][1]:
                joined[-1] = (joined[-1][0], b)
            else:
                joined.append((a, b))
        return joined


def _space(text: str | None) -> str:
    """Return the white space at a text's end, which templates keep or trim."""
    return text[len(text.rstrip()) :] if text else ""
