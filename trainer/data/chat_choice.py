"""The chat template that a model is trained with: its own, one of ours by name, or a file.

Ours are in chat_templates/. A model trained with one keeps it, so it is asked as it was trained.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FOLDER = Path(__file__).with_name("chat_templates")
MOST_BYTES = 1 << 20

# The tokens without which a template's turns are plain text, which every text can forge.
NEEDS = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "deepseek": ("<｜User｜>", "<｜Assistant｜>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
}

# Templates of well-known models, by digest, for which ours of the same prompts is taken: with their own some rows, or
# all, cannot be learnt as they are asked.
TRAINED_AS = {
    "baf55844da8a52900726bc9bcde8b175": "deepseek",  # DeepSeek-R1-Distill
    "3c440194d48f092fc670caaa4d20793b": "deepseek",  # DeepSeek-V3 with an open reasoning
    "1cd7ee5adc5cdd75910848090c98681c": "gemma",  # Gemma and Gemma 2
}


def names() -> list[str]:
    """Return the names of our templates."""
    return sorted(NEEDS)


@cache
def template(name: str) -> str:
    """Return the text of one of our templates."""
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def trained_as(text: object) -> str | None:
    """Return the name of our template that takes the place of a well-known one at training, or None."""
    if not isinstance(text, str):
        return None
    return TRAINED_AS.get(blake3(text.encode("utf-8", "surrogatepass")).hexdigest()[:32])


def chosen_template(tokenizer: PreTrainedTokenizerFast, choice: str | None, folder: Path = Path()) -> str | None:
    """Set the tokenizer's chat template to the recipe's `template:` and return what it was: a name or a file's path.

    `choice` is a name of ours or a file, relative to `folder`. Without a choice a well-known template that cannot be
    learnt is replaced by ours of the same prompts, and otherwise nothing changes (None). Raises InputError for a name
    that is neither, an unreadable file, and a template whose turn tokens the tokenizer has not.
    """
    if choice is None:
        name = trained_as(tokenizer.chat_template)
        if name is not None:
            tokenizer.chat_template = template(name)
        return name
    if choice in NEEDS:
        vocabulary = tokenizer.get_vocab()
        if missing := [token for token in NEEDS[choice] if token not in vocabulary]:
            raise InputError(f"template: {choice} needs {' and '.join(missing)}, which the tokenizer has not as tokens")
        tokenizer.chat_template = template(choice)
        return choice
    path = folder / choice
    tokenizer.chat_template = _file(path, choice)
    return str(path)


def as_text(choice: str, folder: Path = Path()) -> str:
    """Return the recipe's `template:` as steps keep it: a name of ours, or the text of a file in `folder`.

    Raises InputError for a name that is neither, and for an unreadable file.
    """
    return choice if choice in NEEDS else _file(folder / choice, choice)


def set_template(tokenizer: PreTrainedTokenizerFast, kept: str | None) -> None:
    """Set the template that `as_text` gave, or choose one for None; raises InputError as `chosen_template` does."""
    if kept is None or kept in NEEDS:
        chosen_template(tokenizer, kept)
    else:
        tokenizer.chat_template = kept


def _file(path: Path, choice: str) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(
            f"template: {printable(choice)} is no template of ours ({', '.join(names())}) and no readable file of text"
        ) from error
    if len(text.encode()) > MOST_BYTES or not text.strip():
        raise InputError(f"template: {printable(choice)} is empty or larger than {MOST_BYTES >> 20} MB")
    return text
