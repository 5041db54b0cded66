"""Cards of trained models in the Hugging Face Hub's format: what a model was made from, and how well it predicts."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import Field

from windtunnel.data_cards.card import LICENCES, Origin, template
from windtunnel.schemas.records import Record

PIPELINES = {"causal": "text-generation", "masked": "fill-mask", "reward": "text-classification"}
LOADERS = {  # kind -> Auto class of transformers
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "reward": "AutoModelForSequenceClassification",
}
MEASURES = {
    "likelihood": "Bits per byte of the held-out texts, each token given those before it.",
    "pseudo_likelihood": "A pseudo-likelihood in bits per byte, each token given those around it: it does not compare "
    "with a likelihood.",
    "target": "Bits of what was cut out of the held-out texts, given the rest, by byte of the texts: it does not "
    "compare with a likelihood.",
}


class Drawn(Record):
    """What a model was trained on of one source of one corpus, repetitions included."""

    corpus: str
    source: str
    tokens: int
    share: float  # of all tokens
    epochs: float | None = None
    answers: bool = False  # the tokens are those of answers, which were learnt; prompts were read only


class Score(Record):
    """A score on the held-out set."""

    name: str
    value: float
    documents: int | None = None  # or rows, or pairs


class ModelCard(Record):
    """Contents of the card of one trained model."""

    run: str  # the name of its mix, or of its variant
    seed: int
    question: str
    kind: str  # causal, masked, seq2seq, bidirectional, static or reward
    delta: str | None = None  # beside the base, where it is not merged
    start: str | None = None  # the model that training started from
    drawn: list[Drawn] = Field(default_factory=list)
    mixed: Any = None  # the mix as the recipe has it
    corpora: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)  # rules and methods by corpus
    origins: list[Origin] = Field(default_factory=list)
    tokenizer: str
    settings: dict[str, Any]  # model, stages, schedule, precision
    parameters: int
    tokens: int
    bytes: int
    steps: int
    flops: float
    seconds: float
    device: str
    measure: str | None = None
    scores: list[Score] = Field(default_factory=list)
    left_out: dict[str, int] = Field(default_factory=dict)  # held-out rows that were not measured, by what they are
    effects: list[str] = Field(default_factory=list)  # sentences of the recipe's comparison
    key: str
    versions: dict[str, str] = Field(default_factory=dict)
    git: str = ""


def front_matter(card: ModelCard) -> dict[str, Any]:
    """Return the front matter fields that the Hub reads."""
    licences = sorted({LICENCES.get(origin.licence.lower(), "other") for origin in card.origins}) or ["unknown"]
    own = card.kind not in LOADERS or card.delta is not None
    fields: dict[str, Any] = {
        "license": licences[0] if len(licences) == 1 else "other",
        "library_name": "windtunnel" if own else "transformers",
        "tags": ["windtunnel", card.kind],
    }
    return fields | ({"pipeline_tag": PIPELINES[card.kind]} if card.kind in PIPELINES and not own else {})


def _tokens(drawn: list[Drawn]) -> str:
    """Return what the tokens of the table of data are."""
    if all(row.answers for row in drawn) and drawn:
        return "tokens of answers"
    return "tokens trained on" + ("; of rows, those of answers" if any(row.answers for row in drawn) else "")


def render_model(card: ModelCard) -> str:
    """Return the card as Markdown with YAML front matter; text taken from the data is escaped."""
    matter = yaml.safe_dump(front_matter(card), sort_keys=False, allow_unicode=True)
    settings = {"mix": card.mixed, "corpora": card.corpora, **card.settings}
    written = yaml.safe_dump(
        {name: held for name, held in settings.items() if held not in (None, {}, [])},
        sort_keys=False,
        allow_unicode=False,  # hidden characters are escaped
        default_flow_style=None,
        width=120,
    )
    return template("model_card.md.j2").render(
        card=card,
        matter=matter,
        settings=written.replace("```", "'''").strip(),
        tokens=_tokens(card.drawn),
        loader=None if card.delta else LOADERS.get(card.kind),
        measure=MEASURES.get(card.measure or "", ""),
    )
