"""Chat templates as token ids with a loss mask over assistant turns and the tokens that end them.

The mask is computed by prefix differencing. The rendered messages before an assistant turn, including the generation
prompt, must be a prefix of the rendered messages including the turn; the difference is the turn. This works for every
template, with or without `{% generation %}` markers, and makes training prompts equal to inference prompts, token by
token.

Text that contains a special token of the tokenizer is rejected, because it could open or close a turn. Templates are
rendered with limits of time and size (windtunnel.schemas.chat_template).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from windtunnel.schemas import chat_template
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Messages = Sequence[dict[str, str]]

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
OVER_LIMIT = "template_over_limit"  # the drop reason
MOST_OVER_LIMIT = 5  # conversations in a row, after which it is the template that cannot be used

PROBE = "\ufdd0"  # a Unicode noncharacter, which does not occur in text

TEMPLATE_DATE = "26 Jul 2024"  # a fixed date keeps templates that print the date reproducible
FIXED_DATE = "{%- macro strftime_now(form) -%}" + TEMPLATE_DATE + "{%- endmacro -%}"


class ChatError(Exception):
    """A conversation that cannot be used for training; `reason` is the drop reason in the counts."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class Encoded(NamedTuple):
    """A conversation as token ids, cut after the last target token."""

    ids: list[int]
    target: list[bool]  # loss mask


def prepare(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel | None = None) -> None:
    """Set the tokenizer's chat template if it has none, and the end-of-turn tokens of the model's generation config.

    The template is ChatML if `<|im_start|>` and `<|im_end|>` are single tokens, otherwise the same format with the
    end-of-text token. Raises InputError if the tokenizer has neither.
    """
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
        ends: set[int] = {k for k in (ChatEncoder(tokenizer).end_id, eos) if k is not None}
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
        special = {str(token) for token in tokenizer.all_special_tokens}
        added = tokenizer.added_tokens_decoder.values()
        template = str(tokenizer.chat_template)
        self._template = FIXED_DATE + template if "strftime_now" in template else template
        special |= {str(t) for t in added if t.special or (str(t) in template and not str(t).isspace())}
        # Longest first, because one special token may be a prefix of another.
        ordered = sorted(special, key=lambda token: (-len(token), token))
        self._special = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
        self._over_limit = 0  # conversations in a row
        self.end_id = self._find_end()

    @property
    def key(self) -> str:
        """Return a hash of the tokenizer and the template, which determine the encoder's output."""
        parts = {"backend": self._backend.to_str(), "template": self._template}
        return blake3(canonical_json(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def render(self, messages: Messages, generation: bool = False) -> str:
        """Return the rendered template; `generation` adds the generation prompt. Raises ChatError."""
        return self._prefixes(messages, [(len(messages), generation)])[len(messages), generation]

    def _prefixes(self, messages: Messages, wanted: Sequence[tuple[int, bool]]) -> dict[tuple[int, bool], str]:
        """Return the rendered first `n` messages by (n, with generation prompt).

        Raises ChatError, and InputError if MOST_OVER_LIMIT conversations in a row go over the template's limits.
        """
        try:
            texts = chat_template.prefixes(self.tokenizer, self._template, messages, wanted, HARMLESS)
        except chat_template.TemplateRefused as error:
            raise ChatError("template_refused", str(error)) from error
        except chat_template.TemplateOverLimit as error:
            self._over_limit += 1
            if self._over_limit >= MOST_OVER_LIMIT:
                raise self._unusable(error) from error
            raise ChatError(OVER_LIMIT, str(error)) from error
        self._over_limit = 0
        return dict(zip(wanted, texts, strict=True))

    def _unusable(self, error: Exception) -> InputError:
        name = self.tokenizer.name_or_path or "without a name"
        return InputError(
            f"the chat template of the tokenizer {name} is {error}; correct the template in its tokenizer_config.json "
            "or chat_template.jinja, or remove it: ChatML is used then"
        )

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Return the token ids of a prompt that ends with an open assistant turn. Raises ChatError."""
        self._check_text(messages)
        return self._tokens(self.render(messages, generation=True))

    def encode(self, messages: Messages, learn_from: int = 0) -> Encoded:
        """Return ids and mask; targets are the assistant turns from message `learn_from` on. Raises ChatError."""
        self._check_text(messages)
        pieces = self.pieces(messages, learn_from)
        ids: list[int] = []
        target: list[bool] = []
        for text, is_target in pieces:
            tokens = self._tokens(text)
            ids += tokens
            target += [is_target] * len(tokens)
        whole = "".join(text for text, _ in pieces)
        if self.decode(ids) != whole:
            return self._encode_whole(whole, pieces)
        return Encoded(ids, target)

    def pieces(self, messages: Messages, learn_from: int = 0) -> list[tuple[str, bool]]:
        """Return the rendered template as (text, is_target) pieces, up to the end of the last target turn."""
        turns = [k for k, message in enumerate(messages) if message["role"] == "assistant" and k >= learn_from]
        parts = [(n, generation) for k in turns for n, generation in ((k, True), (k, False), (k + 1, False))]
        rendered = self._prefixes(messages, list(dict.fromkeys([(len(messages), False), *parts])))
        whole = rendered[len(messages), False]
        pieces: list[tuple[str, bool]] = []
        position = 0
        for index in turns:
            start, end = self._turn(messages, index, whole, rendered)
            pieces += [(whole[position:start], False), (whole[start:end], True)]
            position = end
        if not pieces:
            raise ChatError("no_assistant_turn")
        return pieces

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, including special tokens, without clean-up."""
        return self._backend.decode(list(ids), skip_special_tokens=False)

    def _turn(
        self, messages: Messages, index: int, whole: str, rendered: Mapping[tuple[int, bool], str]
    ) -> tuple[int, int]:
        """Return (start, end) of an assistant turn's text in the whole text."""
        before, message = messages[:index], messages[index]
        opened, closed = rendered[index, True], rendered[index + 1, False]
        if not (closed.startswith(opened) and whole.startswith(closed)):
            raise ChatError("template_not_incremental", "the template changes earlier turns when later ones are added")
        start = len(opened)
        if opened == rendered[index, False]:  # no generation prompt: exclude the turn's header from the targets
            start = self._after_header(before, message, closed, start)
            start += max(0, closed[start:].find(message["content"].strip()))
        ends = [match.end() for match in self._special.finditer(closed, start)]
        return start, ends[-1] if ends else len(closed)

    def _after_header(self, before: Messages, message: dict[str, str], closed: str, start: int) -> int:
        """Return the end of a turn's header, so that an answer "A" is not found in "Assistant:"."""
        probe = self.render([*before, {**message, "content": PROBE}])
        end = probe.find(PROBE, start)
        return end if end >= 0 and closed[:end] == probe[:end] else start

    def _tokens(self, text: str) -> list[int]:
        try:
            return self._backend.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError) as error:  # lone surrogates have no UTF-8 encoding
            raise ChatError("not_unicode", str(error)) from error

    def _encode_whole(self, text: str, pieces: list[tuple[str, bool]]) -> Encoded:
        """Encode the text at once and mask by character offsets, for tokenizers that tokenize pieces differently.

        A token that overlaps the beginning of a turn is a target; otherwise the turn's first word would not be trained.
        """
        encoded = self._backend.encode(text, add_special_tokens=False)
        spans, position = [], 0
        for piece, is_target in pieces:
            if is_target:
                spans.append((position, position + len(piece)))
            position += len(piece)
        target = [any(a < end and b > start for start, end in spans) for a, b in encoded.offsets]
        if not any(target):
            raise ChatError("not_round_trip", "the tokenizer's offsets do not cover the assistant turns")
        return Encoded(encoded.ids, target)

    def _check_text(self, messages: Messages) -> None:
        for message in messages:
            if match := self._special.search(message["content"]):
                raise ChatError("special_token_in_text", repr(match.group()))

    def _find_end(self) -> int | None:
        """Return the token that ends an assistant turn, or None if the template ends turns with plain text."""
        probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            _, (turn, _) = self.pieces(probe)
        except ChatError as error:
            if error.reason == OVER_LIMIT:
                raise self._unusable(error) from error
            return None
        last = self._tokens(turn)[-1]
        return last if self._special.fullmatch(self.decode([last])) else None
