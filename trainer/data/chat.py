"""Chat templates as token ids with a loss mask over assistant turns and the tokens that end them.

Turns are found by place in the rendered conversation (chat_turns), with or without `{% generation %}` marks in the
template, and the prompt of training is the prompt of inference, token by token.

Text that contains a special token of the tokenizer is refused in every field, because it could open or close a turn.
Tags of reasoning such as `<think>` cannot, and are part of what reasoning data teaches: they are encoded as the
tokenizer encodes them. Templates are rendered with limits of time and size (windtunnel.schemas.chat_template).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from blake3 import blake3

from windtunnel.schemas import chat_template
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.chat_template import Rendering, Wanted
from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.chat_choice import chosen_template
from windtunnel.trainer.data.chat_choice import template as ours
from windtunnel.trainer.data.chat_errors import OVER_LIMIT, ChatError
from windtunnel.trainer.data.chat_frame import Frame
from windtunnel.trainer.data.chat_marks import NONCHARACTER, THOUGHT_BEGIN, THOUGHT_END
from windtunnel.trainer.data.chat_turns import Located, Turn, locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Messages = Sequence[Mapping[str, Any]]

# The generation markers are for other trainers that read the exported tokenizer.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}"
    "{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# The same format for a tokenizer whose only special token is end-of-text. It precedes every role and follows every
# assistant turn, so that text cannot forge a turn and a served model stops after its turn.
CHATML_WITH_EOS_ONLY = (
    "{% for message in messages %}"
    "{{ eos_token + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ eos_token + 'assistant\n' }}{% endif %}"
)

HARMLESS = frozenset({CHATML, CHATML_WITH_EOS_ONLY})
MOST_OVER_LIMIT = 5  # conversations in a row, after which it is the template that cannot be used

# Added tokens that set reasoning and answer apart. They open and close no turn.
REASONING_TAGS = frozenset(
    f"{bracket[0]}{slash}{name}{bracket[1]}"
    for bracket, names in (("<>", ("think", "thinking", "thought", "reasoning", "answer")), ("[]", ("THINK",)))
    for name in names
    for slash in ("", "/")
)

TEXT_FIELDS = ("content", "reasoning_content", "name", "tool_call_id")
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")

TEMPLATE_DATE = "26 Jul 2024"  # a fixed date keeps templates that print the date reproducible
FIXED_DATE = "{%- macro strftime_now(form) -%}" + TEMPLATE_DATE + "{%- endmacro -%}"


class Learnt(NamedTuple):
    """A learnt turn: its message, and the UTF-8 bytes of its answer, or of all that is learnt if there is more."""

    message: int
    bytes: int


class Encoded(NamedTuple):
    """A conversation as token ids, cut after the last target token."""

    ids: list[int]
    target: list[bool]  # loss mask
    turns: list[Learnt]


def prepare(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel | None = None) -> None:
    """Set the tokenizer's chat template if it has none, and the end-of-turn tokens of the model's generation config.

    A well-known template that cannot be learnt is replaced by ours (chat_choice). A tokenizer without a template gets
    ChatML if `<|im_start|>` and `<|im_end|>` are single tokens, otherwise the same format with the end-of-text token.
    Raises InputError if it has neither.
    """
    chosen_template(tokenizer, None)
    if not tokenizer.chat_template:
        vocabulary = tokenizer.get_vocab()
        if "<|im_start|>" in vocabulary and "<|im_end|>" in vocabulary:
            tokenizer.chat_template = CHATML
        elif tokenizer.eos_token is not None:
            tokenizer.chat_template = CHATML_WITH_EOS_ONLY
        else:
            raise InputError(
                "the tokenizer has no chat template and no special tokens for one; train it with an end-of-text token, "
                "or with <|im_start|> and <|im_end|>"
            )
    if model is not None and getattr(model, "generation_config", None) is not None:
        eos: Any = tokenizer.eos_token_id
        ends: set[int] = {k for k in (*ChatEncoder(tokenizer).stop_ids, eos) if k is not None}
        if ends:
            model.generation_config.eos_token_id = sorted(ends) if len(ends) > 1 else ends.pop()


class ChatEncoder:
    """Encodes conversations as token ids and loss masks with one tokenizer's chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        if not tokenizer.chat_template:
            raise InputError("the tokenizer has no chat template; `windtunnel.trainer.data.chat.prepare` sets one")
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_padding()
        self._backend.no_truncation()
        template = _template(tokenizer)
        self._template = FIXED_DATE + template if "strftime_now" in template else template
        self._known = template in HARMLESS | {ours("chatml")}
        self._has_spans = not self._known and _GENERATION.search(template) is not None
        special = {str(token) for token in tokenizer.all_special_tokens}
        added = tokenizer.added_tokens_decoder.values()
        special |= {str(t) for t in added if t.special or (str(t) in template and not str(t).isspace())}
        # Longest first, because one special token may be a prefix of another.
        ordered = sorted(special - REASONING_TAGS, key=lambda token: (-len(token), token))
        self._special = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
        self._over_limit = 0  # conversations in a row
        self.frame = Frame(self._render, self._special)
        self.stop_ids = self._find_stops()  # by which the model ends its turns; of answers first

    @property
    def end_id(self) -> int | None:
        """Return the token that ends an answer, or None if the template ends answers with plain text."""
        return self.stop_ids[0] if self.stop_ids else None

    @property
    def key(self) -> str:
        """Return a hash of the tokenizer and the template, which determine the encoder's output."""
        parts = {"backend": self._backend.to_str(), "template": self._template}
        return blake3(canonical_json(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def render(self, messages: Messages, generation: bool = False, tools: Sequence[Any] | None = None) -> str:
        """Return the rendered template; `generation` adds the generation prompt. Raises ChatError."""
        wanted = [Wanted(0, len(messages), generation)]
        return self._render([self.frame.form(self._parsed(messages))], wanted, tools)[0].text

    def prompt_ids(self, messages: Messages, tools: Sequence[Any] | None = None) -> list[int]:
        """Return the token ids of a prompt that ends with an open assistant turn. Raises ChatError."""
        self._check_text(messages, tools)
        return self._tokens(self.render(messages, generation=True, tools=tools))

    def encode(self, messages: Messages, learn_from: int = 0, tools: Sequence[Any] | None = None) -> Encoded:
        """Return ids and mask; targets are the assistant turns from message `learn_from` on. Raises ChatError.

        The prompt of the last turn is encoded in one piece, as a server does it.
        """
        text, turns = self.locate(messages, learn_from, tools)
        spans = [span for turn in turns for span in turn.spans]
        begin = turns[-1].spans[0][0]
        ids, target = self._masked(text[:begin], [span for span in spans if span[0] < begin])
        for piece, is_target in _pieces(text, begin, turns[-1].spans):
            tokens = self._tokens(piece)
            ids += tokens
            target += [is_target] * len(tokens)
        if self.decode(ids) != text:  # a tokenizer whose tokens of pieces are not those of the whole
            ids, target = self._masked(text, spans)
        if not any(target):
            raise ChatError("not_round_trip", "the tokenizer's offsets do not cover the assistant turns")
        return Encoded(ids, target, [Learnt(turn.message, _bytes(text, turn, messages)) for turn in turns])

    def locate(self, messages: Messages, learn_from: int = 0, tools: Sequence[Any] | None = None) -> Located:
        """Return the rendered text and where its learnt turns are. Raises ChatError."""
        self._check_text(messages, tools)
        return locate(self._render, self.frame, self._parsed(messages), learn_from, tools, self._known, self._has_spans)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, including special tokens, without clean-up."""
        return self._backend.decode(list(ids), skip_special_tokens=False)

    def _render(
        self, conversations: Sequence[Any], wanted: Sequence[Wanted], tools: Sequence[Any] | None = None
    ) -> list[Rendering]:
        """Return renderings of messages in the template's form.

        Raises ChatError, and InputError if MOST_OVER_LIMIT conversations in a row go over the template's limits.
        """
        harmless = {self._template} if self._known else ()
        try:
            made = chat_template.renderings(self.tokenizer, self._template, conversations, wanted, tools, harmless)
        except chat_template.TemplateRefused as error:
            raise ChatError("template_refused", str(error)) from error
        except chat_template.TemplateOverLimit as error:
            self._over_limit += 1
            if self._over_limit >= MOST_OVER_LIMIT:
                raise self._unusable(error) from error
            raise ChatError(OVER_LIMIT, str(error)) from error
        self._over_limit = 0
        return made

    def _unusable(self, error: Exception) -> InputError:
        name = self.tokenizer.name_or_path or "without a name"
        return InputError(
            f"the chat template of the tokenizer {name} is {error}; correct the template in its tokenizer_config.json "
            "or chat_template.jinja, or remove it: ChatML is used then"
        )

    def _tokens(self, text: str) -> list[int]:
        try:
            return self._backend.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError) as error:  # lone surrogates have no UTF-8 encoding
            raise ChatError("not_unicode", str(error)) from error

    def _masked(self, text: str, spans: Sequence[tuple[int, int]]) -> tuple[list[int], list[bool]]:
        """Return the ids of a text, and whether each overlaps a span, by character offsets.

        A token that overlaps the beginning of a turn is a target; otherwise the turn's first word would not be learnt.
        """
        if not spans:
            ids = self._tokens(text)
            return ids, [False] * len(ids)
        try:
            encoded = self._backend.encode(text, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError) as error:
            raise ChatError("not_unicode", str(error)) from error
        ids: list[int] = encoded.ids
        target = [False] * len(ids)
        for a, b in spans:
            first, after = encoded.char_to_token(a), encoded.char_to_token(b) if b < len(text) else len(ids)
            if first is None or after is None:  # characters of no token, such as spaces that a tokenizer leaves out
                inside = [k for k, (begin, end) in enumerate(encoded.offsets) if begin < b and end > a]
            else:  # a character may have several tokens, a token may reach over the end
                place = encoded.token_to_chars(after) if after < len(ids) else None
                inside = range(first, after + (place is not None and place[0] < b))
            for k in inside:
                target[k] = True
        return ids, target

    def _check_text(self, messages: Messages, tools: Sequence[Any] | None) -> None:
        for text in _texts([messages, tools or []]):
            if match := self._special.search(text):
                raise ChatError("special_token_in_text", repr(match.group()))
            if NONCHARACTER.search(text):  # chat_marks
                raise ChatError("not_unicode", "a noncharacter")

    def _parsed(self, messages: Messages) -> Messages:
        """Return messages in one form: calls with arguments as an object, reasoning apart from its answer.

        Reasoning stays in the content if the template has no place for it. Raises ChatError.
        """
        return [self._parsed_turn(message) for message in messages]

    def _parsed_turn(self, message: Mapping[str, Any]) -> dict[str, Any]:
        content = message.get("content") or ""
        out = {**message, "content": content}
        if not all(isinstance(message.get(field) or "", str) for field in TEXT_FIELDS):
            raise ChatError("not_text", f"one of {', '.join(TEXT_FIELDS)}")
        if calls := message.get("tool_calls"):
            if not isinstance(calls, list):
                raise ChatError("bad_tool_call")
            out["tool_calls"] = list(map(_call, calls))
        thought, closed, answer = content.partition(THOUGHT_END)
        opened = closed and message["role"] == "assistant" and thought.lstrip().startswith(THOUGHT_BEGIN)
        if opened and not message.get("reasoning_content") and self.frame.thought_end is not None:
            out["content"] = answer.lstrip()
            out["reasoning_content"] = thought.lstrip().removeprefix(THOUGHT_BEGIN).strip() or None
        return out

    def _find_stops(self) -> list[int]:
        try:
            tokens = [self._tokens(text) for text in self.frame.stops()]
        except ChatError as error:
            if error.reason == OVER_LIMIT:
                raise self._unusable(error) from error
            return []
        return [ids[0] for ids in tokens if len(ids) == 1]


def _template(tokenizer: PreTrainedTokenizerFast) -> str:
    try:
        return tokenizer.get_chat_template()
    except ValueError as error:
        raise InputError(f"the tokenizer has several chat templates and none of the name default ({error})") from error


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    name, arguments = function.get("name"), function.get("arguments")
    try:
        arguments = orjson.loads(arguments) if isinstance(arguments, str) and arguments.strip() else arguments or {}
    except orjson.JSONDecodeError as error:
        raise ChatError("bad_tool_call", "the arguments are not JSON") from error
    if not isinstance(name, str) or not name.strip() or not isinstance(arguments, Mapping):
        raise ChatError("bad_tool_call")
    made = {"type": "function", "function": {"name": name, "arguments": dict(arguments)}}
    return made | ({"id": call["id"]} if call.get("id") else {})


def _pieces(text: str, begin: int, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """Yield the text from `begin` on as (piece, is_target)."""
    for a, b in spans:
        if begin < a:
            yield text[begin:a], False
        yield text[a:b], True
        begin = b


def _bytes(text: str, turn: Turn, messages: Messages) -> int:
    message = messages[turn.message]
    content = message.get("content") or ""
    if not (message.get("reasoning_content") or message.get("tool_calls") or THOUGHT_END in content):
        return len(content.encode())
    return sum(len(text[a:b].encode()) for a, b in turn.spans)


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in messages and tools, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)
