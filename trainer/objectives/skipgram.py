"""Static vectors of words by skipgram with negative sampling over a mix of corpora (fastText): the oldest baseline."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.role import Role
from windtunnel.trainer.data.domain import Domain
from windtunnel.trainer.data.sampler import Windows, read_mix
from windtunnel.trainer.models._model import Model, ModelKind
from windtunnel.trainer.models.static import Static
from windtunnel.trainer.objectives._fitted_objective import Fitted, FittedObjective
from windtunnel.trainer.objectives._objective import Setting

if TYPE_CHECKING:
    from windtunnel.trainer.modules.static_vectors import StaticVectors

BLOCK = 256  # windows decoded at once
MEASURED = 20_000  # pairs of words that the final loss is the mean of


class Skipgram(FittedObjective):
    """Skipgram with character n-grams (Bojanowski et al. 2017), by the `fasttext` package on one thread.

    It reads the text of the mix in the order in which the loop would: windows of the context, each a line, decoded from
    tokens and cut into words and signs. The budget of the mix counts tokens, as for every objective. Vectors are
    written as safetensors, which are read without fastText; its own file is beside them as fasttext.bin.
    """

    trains: ClassVar[tuple[ModelKind, ...]] = ("static",)
    unit: ClassVar[str] = "nats per pair of words"

    lr: float = Field(0.05, gt=0)
    window: int = Field(5, ge=1)  # words to each side; the reach of each word is drawn from 1 to it
    negatives: int = Field(5, ge=1)  # words drawn against each pair
    threshold: float = Field(1e-3, gt=0)  # words more frequent are thinned; fastText's 1e-4 suits large corpora
    epochs: int = Field(1, ge=1)  # over the budget

    def fit(self, model: Model, setting: Setting, folder: Path) -> Fitted:
        from windtunnel.trainer.runtime.fasttext_vectors import train_skipgram

        assert isinstance(model, Static)  # `trains`
        windows = self._windows(setting)
        with tempfile.TemporaryDirectory(prefix="windtunnel-") as name:
            work = Path(name)
            counts = _write_words(windows, setting, work / "text.txt")
            kept = [word for word, count in counts.items() if count >= model.fewest]
            if not kept:
                raise InputError(
                    f"no word of {counts.total():,} occurs {model.fewest} times: lower `fewest` of `static`"
                )
            _write_initial(kept, model.width, setting.seed, work / "initial.txt")
            train_skipgram(
                work / "text.txt",
                work / "initial.txt",
                work,
                setting.seed,
                lr=self.lr,
                dim=model.width,
                ws=self.window,
                epoch=self.epochs,
                minCount=model.fewest,
                minn=model.shortest,
                maxn=model.longest,
                bucket=model.buckets,
                neg=self.negatives,
                t=self.threshold,
            )
            vectors, output = _read(work, model)
            vectors.save(folder)
            (work / "fasttext.bin").replace(folder / "fasttext.bin")
            loss = _loss(work / "text.txt", vectors, output, self, setting.seed)
        pairs = counts.total() * self.epochs * (self.window + 1)  # both sides of a word, of which half are in reach
        flops = 6.0 * model.width * pairs * (1 + self.negatives)
        parameters = vectors.vectors.size + vectors.ngrams.size + output.size
        documents = sum(map(len, windows.documents(0, windows.number).values()))
        tokens = windows.number * windows.context * self.epochs
        return Fitted(parameters, tokens, flops, loss, windows.realised(), documents)

    def _windows(self, setting: Setting) -> Windows:
        shares, budget = read_mix(setting.inputs["mix"])
        number = budget // setting.context
        if number == 0:
            raise RecipeError(f"a budget of {budget:,} tokens is less than one window of {setting.context:,}")
        domains = {
            share.name: Domain(
                share.name, setting.inputs[Role("tokens", share.name)], setting.seed, setting.context, setting.context
            )
            for share in shares
        }
        return Windows(shares, domains, setting.context, number)


def _lines(windows: Windows, setting: Setting) -> Iterator[list[str]]:
    """Yield the words of each window's pieces of text, in the order of the mix."""
    from windtunnel.trainer.modules.static_vectors import words_of

    end = setting.tokenizer.eos_token_id
    for first in range(0, windows.number, BLOCK):
        ids = windows.tokens(first, min(first + BLOCK, windows.number))[:, :-1]
        pieces = [piece[piece != end] for row in ids for piece in np.split(row, np.flatnonzero(row == end))]
        for text in setting.tokenizer.batch_decode([piece.tolist() for piece in pieces if len(piece)]):
            yield words_of(str(text))


def _write_words(windows: Windows, setting: Setting, path: Path) -> Counter[str]:
    """Write the text, words parted by spaces, and return how often each occurs."""
    counts: Counter[str] = Counter()
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for words in _lines(windows, setting):
            counts.update(words)
            file.write(" ".join(words) + "\n")
    return counts


def _write_initial(words: list[str], width: int, seed: int, path: Path) -> None:
    """Write initial vectors, uniform in +-1/width as fastText's own, in the text format of word2vec."""
    drawn = np.random.Generator(np.random.Philox(seed)).random((len(words), width)) * 2 - 1
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(f"{len(words)} {width}\n")
        for word, row in zip(words, (drawn / width).tolist(), strict=True):
            file.write(f"{word} {' '.join(f'{value:.6g}' for value in row)}\n")


def _read(work: Path, model: Static) -> tuple[StaticVectors, np.ndarray]:
    """Return the vectors that fastText wrote, and its output matrix float32 [words, width]."""
    import json

    from windtunnel.trainer.modules.static_vectors import StaticVectors, ngram_buckets

    words = json.loads((work / "words.json").read_text(encoding="utf-8"))
    matrix = np.load(work / "input.npy", allow_pickle=False)
    own, ngrams = matrix[: len(words)], matrix[len(words) :]
    vectors = own.copy()
    for row, word in enumerate(words):
        if word != "</s>" and (rows := ngram_buckets(word, model.shortest, model.longest, len(ngrams))):
            vectors[row] = (own[row] + ngrams[rows].sum(0)) / (len(rows) + 1)
    known = {word: row for row, word in enumerate(words)}
    output = np.load(work / "output.npy", allow_pickle=False)
    return StaticVectors(known, vectors, ngrams, model.shortest, model.longest), output


def _loss(text: Path, vectors: StaticVectors, output: np.ndarray, settings: Skipgram, seed: int) -> float:
    """Return the mean loss of adjacent words against random ones in nats per pair, which fastText does not tell."""
    rows: list[int] = []
    with text.open(encoding="utf-8") as file:
        for line in file:
            rows += [vectors.words[word] for word in line.split() if word in vectors.words]
            if len(rows) > MEASURED:
                break
    if len(rows) < 2:
        return 0.0
    at = np.array(rows)
    centre, around = vectors.vectors[at[:-1]], output[at[1:]]
    counts = np.bincount(at, minlength=len(output)) ** 0.5  # fastText draws words by the root of their number
    generator = np.random.Generator(np.random.Philox(seed))
    others = np.searchsorted(np.cumsum(counts / counts.sum()), generator.random((len(centre), settings.negatives)))
    against = np.einsum("nd,nkd->nk", centre, output[others.clip(0, len(output) - 1)])
    return float((np.logaddexp(0, -(centre * around).sum(1)) + np.logaddexp(0, against).sum(1)).mean())
