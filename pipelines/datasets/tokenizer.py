"""The tokenizer step: a byte-level BPE trained on a corpus, or a directory that the user names.

Byte-level: every text, in any language and however broken, is encoded and decoded without a change, and there is no
unknown token. The result is a directory that transformers, vLLM and TRL load as they load any fast tokenizer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from windtunnel.pipelines.shards.reader import batches, stored_text_bytes
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text, writing
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.work import Counts, Work

END_OF_TEXT = "<|endoftext|>"
CHAT = ("<|im_start|>", "<|im_end|>")  # so that a model trained here can be tuned for chat in ChatML
FOLDER = "tokenizer"
FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
SMALLEST = 256 + 1 + len(CHAT)
PIECE = 1 << 16  # characters; a document of 50 MB taken whole needs gigabytes, and may be many times `max_bytes`
BATCH_DOCUMENTS = 256
BYTES_PER_ID = 5_000  # the last merge of a vocabulary of 4,096 still counts hundreds of times in 20 MB

# Words with their leading space, digits in ones and twos (small vocabularies do not waste tokens on numbers), runs of
# other signs, line ends, spaces. A run is cut at 64 signs: text without spaces, or a hostile line of 50 MB of one
# letter, would otherwise be one word, whose merging takes quadratic time.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]{1,64}"
    r"|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]{1,64}[\r\n]{0,64}"
    r"|\s{0,64}[\r\n]{1,64}"
    r"|\s{1,64}(?!\S)"
    r"|\s{1,64}"
)


class TrainTokenizer(Work):
    """Train a byte-level BPE on a corpus (input role `corpus`); the same text gives the same bytes.

    Memory holds the distinct words with their counts, not the text. Of a corpus larger than `max_bytes`, documents are
    taken by their id, evenly over all shards; long documents are cut into pieces, which are taken one by one.
    """

    version: ClassVar[int] = 2  # 2: long documents in pieces
    vocabulary: int = Field(4096, ge=SMALLEST, le=1_000_000)  # token ids, special ones included
    max_bytes: int | None = Field(None, gt=0)  # of text to learn from; None: 5,000 for each token id

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from tokenizers import Regex as Pattern
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

        counts = Counts()
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
            [
                pre_tokenizers.Split(Pattern(PATTERN), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)  # type: ignore[assignment]
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary,
            special_tokens=[END_OF_TEXT, *CHAT],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(self._texts(inputs["corpus"], counts), trainer)
        if counts.kept == 0:
            raise InputError(f"{inputs['corpus'].path.name}: no document is left to train a tokenizer on")
        size = tokenizer.get_vocab_size()
        counts.notes["vocabulary"] = size
        if size < self.vocabulary:
            counts.notes["warning"] = f"the corpus gives {size} tokens, not {self.vocabulary}"
        write_directory(tokenizer.to_str(pretty=False), out / FOLDER)
        return counts

    def _texts(self, corpus: Artifact, counts: Counts) -> Iterator[list[str]]:
        files = corpus.files("kept") or corpus.files("documents")  # of a corpus, of rows as texts
        max_bytes = self.max_bytes or BYTES_PER_ID * self.vocabulary
        below = min(1.0, max_bytes / max(1, sum(map(stored_text_bytes, files)))) * 2**32
        for batch in (batch for file in files for batch in batches(file, ["id", "text"], BATCH_DOCUMENTS)):
            counts.seen += len(batch)
            for key, text in zip(batch["id"].to_pylist(), batch["text"], strict=True):
                chosen = [p for i, p in enumerate(_pieces(text.as_py())) if _draw(key, i) < below]
                counts.kept += bool(chosen)
                counts.bytes += sum(len(piece.encode("utf-8", "surrogatepass")) for piece in chosen)
                yield chosen
        if left_out := counts.seen - counts.kept:
            counts.dropped["beyond_max_bytes"] = left_out


class TokenizerFromDirectory(Work):
    """Take a fast tokenizer from a local directory (`tokenizer.json` and `tokenizer_config.json`)."""

    path: str
    digest: str = ""  # of tokenizer.json, so that a changed file is another step; filled in by `from_directory`

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        _copy(Path(self.path), out / FOLDER)
        return Counts()


class TokenizerOfModel(Work):
    """Take the tokenizer of a model (input role `model`, with `model/`), whose training goes on with it."""

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        _copy(inputs["model"].path / "model", out / FOLDER)
        return Counts()


def _copy(source: Path, out: Path) -> None:
    """Copy the files of a tokenizer. Raises InputError if it names no end of a text."""
    config = read_config(source)
    if not config.get("eos_token"):
        raise InputError(f"{source}: tokenizer_config.json names no eos_token, which must end each document")
    for name in FILES:
        if (source / name).is_file():
            with writing(out / name) as partial:
                shutil.copyfile(source / name, partial)


def from_directory(path: str) -> TokenizerFromDirectory:
    """Return the work that takes a directory's tokenizer, keyed by the content of its files.

    Raises RecipeError when the directory holds no fast tokenizer.
    """
    from blake3 import blake3

    read_config(Path(path))
    content = b"\x00".join((Path(path) / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json"))
    return TokenizerFromDirectory(path=path, digest=blake3(content).hexdigest()[:32])


def read_config(directory: Path) -> dict[str, object]:
    """Return tokenizer_config.json of a fast tokenizer's directory; RecipeError when there is none."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (directory / name).is_file():
            raise RecipeError(
                f"{directory}: no {name}; a tokenizer directory is what `save_pretrained` of a fast tokenizer writes"
            )
    return json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))


def write_directory(tokenizer_json: str, out: Path) -> None:
    """Write a fast tokenizer directory of transformers around a trained tokenizer.

    The files are written as JSON: importing transformers takes longer than training the tokenizer.
    """
    special = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}
    config = {
        **special,
        "additional_special_tokens": list(CHAT),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_text(out / "tokenizer.json", canonical_json(json.loads(tokenizer_json)))
    write_text(out / "tokenizer_config.json", json.dumps(config, indent=1, sort_keys=True))
    special_map = {**special, "additional_special_tokens": list(CHAT)}
    write_text(out / "special_tokens_map.json", json.dumps(special_map, indent=1, sort_keys=True))


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces of at most PIECE characters, one at least.

    They are cut at a space between letters where there is one near: PATTERN parts the words there in any case, so that
    the pieces have the words of the whole text.
    """
    start = 0
    while len(text) - start > PIECE:
        end = start + PIECE
        near = range(end - 1, max(start, end - PIECE // 8), -1)
        cut = next((i for i in near if text[i] == " " and text[i - 1].isalpha() and text[i + 1].isalpha()), end)
        yield text[start:cut]
        start = cut
    yield text[start:]


def _draw(key: str, place: int) -> int:
    """Return a number below 2**32 for a piece of a document: the id's own for the first, so for nearly all."""
    from blake3 import blake3

    return int((blake3(f"{key} {place}".encode()).hexdigest() if place else key)[:8], 16)
