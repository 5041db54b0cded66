"""Chat templates as token ids with a mask of what a model learns: assistant turns and the token that ends them.

The mask comes from the template itself, by prefix differencing: the text that the template gives for the messages up
to an assistant turn, with the generation prompt, must be a prefix of the text that it gives with the turn. What lies
between is the turn. So every template works, with `{% generation %}` markers or without, and what a model learns is
what it will be asked for: the prompt of training is, token by token, the prompt of inference.

Text that contains a special token of the tokenizer is refused: it would open or close a turn that nobody took.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Messages = Sequence[dict[str, str]]

# The markers let other trainers find the assistant's tokens in our exports; here differencing finds them.
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

# The same shape for a tokenizer whose only special token ends a text: it stands before every role and after every
# turn, so that no text can forge a turn and a served model stops where it should.
CHATML_WITH_EOS_ONLY = (
    "{% for message in messages %}"
    "{{ eos_token + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ eos_token + 'assistant\n' }}{% endif %}"
)

PROBE = "\ufdd0"  # a character that no text holds: Unicode keeps it for such uses

TEMPLATE_DATE = "26 Jul 2024"  # templates that print today's date would give other bytes tomorrow
FIXED_DATE = "{%- macro strftime_now(form) -%}" + TEMPLATE_DATE + "{%- endmacro -%}"


class ChatError(Exception):
    """A conversation that cannot be learnt from; `reason` is the word that the counts use."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class Encoded(NamedTuple):
    """A conversation as token ids, cut after the last learnt token."""

    ids: list[int]
    target: list[bool]  # True where the token is one that the model learns to say


def prepare(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel | None = None) -> None:
    """Give the tokenizer a chat template if it has none, and the model the token that ends a turn.

    ChatML where `<|im_start|>` and `<|im_end|>` are single tokens, else the same shape around the end-of-text token.
    Raises InputError when the tokenizer has neither.
    """
    if not tokenizer.chat_template:
        vocabulary = tokenizer.get_vocab()
        if "<|im_start|>" in vocabulary and "<|im_end|>" in vocabulary:
            tokenizer.chat_template = CHATML
        elif tokenizer.eos_token is not None:
            tokenizer.chat_template = CHATML_WITH_EOS_ONLY
        else:
            raise InputError(
                "the tokenizer has no chat template and no special token to build one from; train it with an "
                "end-of-text token, or with <|im_start|> and <|im_end|>"
            )
    if model is not None and getattr(model, "generation_config", None) is not None:
        eos: Any = tokenizer.eos_token_id
        ends: set[int] = {k for k in (ChatEncoder(tokenizer).end_id, eos) if k is not None}
        if ends:
            model.generation_config.eos_token_id = sorted(ends) if len(ends) > 1 else ends.pop()


class ChatEncoder:
    """Conversations to token ids and masks by one tokenizer's template."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        if not tokenizer.chat_template:
            raise InputError("the tokenizer has no chat template; `windtunnel.trainer.data.chat.prepare` gives it one")
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_padding()
        self._backend.no_truncation()
        special = {str(token) for token in tokenizer.all_special_tokens}
        added = tokenizer.added_tokens_decoder.values()
        template = str(tokenizer.chat_template)
        self._template = FIXED_DATE + template if "strftime_now" in template else template
        special |= {str(t) for t in added if t.special or (str(t) in template and not str(t).isspace())}
        # Longest first: one special token may begin with another.
        ordered = sorted(special, key=lambda token: (-len(token), token))
        self._special = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
        self.end_id = self._find_end()

    @property
    def key(self) -> str:
        """Return a hash of everything that decides what the encoder gives: vocabulary, merges, template."""
        parts = {"backend": self._backend.to_str(), "template": self._template}
        return blake3(canonical_json(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def render(self, messages: Messages, generation: bool = False) -> str:
        """Return the template's text; `generation` adds the header of an assistant turn. Raises ChatError."""
        from jinja2 import TemplateError

        try:
            text: Any = self.tokenizer.apply_chat_template(
                list(messages), chat_template=self._template, tokenize=False, add_generation_prompt=generation
            )
        except TemplateError as error:
            raise ChatError("template_refused", str(error)) from error
        return text

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Return the token ids of a prompt that ends with an open assistant turn. Raises ChatError."""
        self._check_text(messages)
        return self._tokens(self.render(messages, generation=True))

    def encode(self, messages: Messages, learn_from: int = 0) -> Encoded:
        """Return ids and mask; only assistant turns from message `learn_from` on are learnt. Raises ChatError."""
        self._check_text(messages)
        pieces = self.pieces(messages, learn_from)
        ids: list[int] = []
        target: list[bool] = []
        for text, learnt in pieces:
            tokens = self._tokens(text)
            ids += tokens
            target += [learnt] * len(tokens)
        whole = "".join(text for text, _ in pieces)
        if self.decode(ids) != whole:
            return self._encode_whole(whole, pieces)
        return Encoded(ids, target)

    def pieces(self, messages: Messages, learn_from: int = 0) -> list[tuple[str, bool]]:
        """Return the template's text cut into (text, learnt) pieces, up to the end of the last learnt turn."""
        whole = self.render(messages)
        pieces: list[tuple[str, bool]] = []
        position = 0
        for index, message in enumerate(messages):
            if message["role"] != "assistant" or index < learn_from:
                continue
            start, end = self._turn(messages[:index], message, whole)
            pieces += [(whole[position:start], False), (whole[start:end], True)]
            position = end
        if not pieces:
            raise ChatError("no_assistant_turn")
        return pieces

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included, untidied."""
        return self._backend.decode(list(ids), skip_special_tokens=False)

    def _turn(self, before: Messages, message: dict[str, str], whole: str) -> tuple[int, int]:
        """Return where an assistant turn's own text begins and ends in the whole text."""
        opened = self.render(before, generation=True)
        closed = self.render([*before, message])
        if not (closed.startswith(opened) and whole.startswith(closed)):
            raise ChatError("template_not_incremental", "the template rewrites earlier turns when later ones come")
        start = len(opened)
        if opened == self.render(before):  # no generation prompt: the turn's header is not to be learnt
            start = self._after_header(before, message, closed, start)
            start += max(0, closed[start:].find(message["content"].strip()))
        ends = [match.end() for match in self._special.finditer(closed, start)]
        return start, ends[-1] if ends else len(closed)

    def _after_header(self, before: Messages, message: dict[str, str], closed: str, start: int) -> int:
        """Return where the header of a turn ends: "A" as an answer must not be found in "Assistant:"."""
        probe = self.render([*before, {**message, "content": PROBE}])
        end = probe.find(PROBE, start)
        return end if end >= 0 and closed[:end] == probe[:end] else start

    def _tokens(self, text: str) -> list[int]:
        try:
            return self._backend.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError) as error:  # lone surrogates: no bytes stand for them
            raise ChatError("not_unicode", str(error)) from error

    def _encode_whole(self, text: str, pieces: list[tuple[str, bool]]) -> Encoded:
        """Encode the text at once and mask by character offsets, for tokenizers that are not the sum of their parts.

        A token that reaches into a turn from before it is learnt: without it the turn's first word never would be.
        """
        encoded = self._backend.encode(text, add_special_tokens=False)
        spans, position = [], 0
        for piece, learnt in pieces:
            if learnt:
                spans.append((position, position + len(piece)))
            position += len(piece)
        target = [any(a < end and b > start for start, end in spans) for a, b in encoded.offsets]
        if not any(target):
            raise ChatError("not_round_trip", "the tokenizer's offsets do not reach the assistant's turns")
        return Encoded(encoded.ids, target)

    def _check_text(self, messages: Messages) -> None:
        for message in messages:
            found = self._special.search(message["content"])
            if found:
                raise ChatError("special_token_in_text", repr(found.group()))

    def _find_end(self) -> int | None:
        """Return the token that ends an assistant turn, or None where the template ends turns with plain text."""
        probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            _, (turn, _) = self.pieces(probe)
        except ChatError:
            return None
        last = self._tokens(turn)[-1]
        return last if self._special.fullmatch(self.decode([last])) else None
