"""Perplexity under KenLM files: KenLM's own scores in CCNet's convention, and figures worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from windtunnel.pipelines.filters.perplexity import Perplexity
from windtunnel.pipelines.scorers import kenlm_model as kenlm_scorer
from windtunnel.schemas.errors import InputError

kenlm = pytest.importorskip("kenlm")

ARPA = """
\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>
0\t<s>\t-0.3
-0.8\t</s>
-0.6\tthe\t-0.2
-0.9\triver\t-0.1

\\2-grams:
-0.2\t<s> the
-0.4\tthe river
-0.5\triver </s>

\\end\\
"""
TEXTS = ["the river", "the river\nthe river", "the the\n\nriver of", "mud"]


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arpa") / "tiny.arpa"
    path.write_text(ARPA)
    return path


def measured(texts: list[str | None], **params: Any) -> pl.DataFrame:
    return Perplexity(**{"max": 9, **params}).measure(pa.record_batch({"text": pa.array(texts, pa.large_string())}))


def ccnet(model: Any, text: str) -> float:
    score, length = 0.0, 0
    for line in text.split("\n"):
        score += model.score(line)
        length += len(line.split()) + 1
    return 10.0 ** (-score / length)


def test_the_numbers_are_kenlms_in_ccnets_convention(arpa: Path) -> None:
    frame = measured([*TEXTS], kenlm=str(arpa))
    model = kenlm.Model(str(arpa))
    assert frame["perplexity"].to_numpy() == pytest.approx([ccnet(model, text) for text in TEXTS], rel=1e-6)
    # by hand: <s> the -0.2, the river -0.4, river </s> -0.5; three tokens, nine bytes
    assert frame["perplexity"][0] == pytest.approx(10 ** (1.1 / 3), rel=1e-6)
    assert frame["bits_per_byte"][0] == pytest.approx(1.1 * np.log2(10) / 9, rel=1e-6)
    # backed off: <s> to an unknown word costs -0.3 - 1.0, from it to </s> -0.8
    assert frame["perplexity"][3] == pytest.approx(10 ** (2.1 / 2), rel=1e-6)


def test_text_without_a_word_is_not_scored(arpa: Path) -> None:
    assert measured(["", None, " \n "], kenlm=str(arpa))["perplexity"].is_nan().all()


def test_normalised_text_is_ccnets() -> None:
    given = pl.Series(["  Crème BRÛLÉE: 1984\u2026 \u201cnon\u201d \u2014 oui\x07\n7", "\uff1a\u3010a\u3011 \u0130"])
    assert kenlm_scorer.normalised(given).to_list() == ['creme brulee: 0000... "non"  -  oui0', ":[a] i"]


def test_normalised_text_is_that_of_the_peer() -> None:
    """Digits one at a time: datatrove takes a run of them, and 3.14, as one number."""
    from datatrove.utils.perplexity import KenlmModel

    peer = KenlmModel("none", "en")
    texts = ["Ça va, M. Dupont？ (il a 7 ans)", "Zażółć gęślą — jaźń…", "ΑΒΓ\u2019s «quoted» ～ ％ ►", "a\tb\x9fc"]
    ours = kenlm_scorer.normalised(pl.Series(texts)).to_list()
    assert ours == [peer.normalize(text) for text in texts]


def test_sentencepiece_cuts_before_the_model_scores(arpa: Path, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    words = "the river runs along the town and the town sees the river"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([words] * 20),
        model_prefix=str(tmp_path / "sp"),
        vocab_size=20,
        minloglevel=2,
        num_threads=1,
    )
    path = tmp_path / "sp.model"
    texts = ["The River runs", "the town\nthe river"]
    frame = measured([*texts], kenlm=str(arpa), sentencepiece=str(path), normalise=True)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    model = kenlm.Model(str(arpa))
    flat = ["the river runs", "the townthe river"]  # a line end is a control character, and CCNet takes these out
    expected = [ccnet(model, " ".join(processor.encode_as_pieces(text))) for text in flat]
    assert frame["perplexity"].to_numpy() == pytest.approx(expected, rel=1e-6)


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.arpa").write_text("no language model")
    with pytest.raises(InputError, match="not a readable KenLM file"):
        kenlm_scorer.opened(tmp_path / "x.arpa")
    with pytest.raises(InputError, match="no KenLM file at"):
        kenlm_scorer.opened(tmp_path / "y.arpa")
