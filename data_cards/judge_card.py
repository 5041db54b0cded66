"""Cards of judges: how a judge was asked, how far it agrees with labels, on what, and what speaks against it."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import Field

from windtunnel.data_cards.card import template
from windtunnel.schemas.records import Record


class JudgeCard(Record):
    """Contents of the card of one judge; `figures` are those of `judge calibrate --json`."""

    name: str
    pairs: str  # the file of labels, by its name
    digest: str  # of its content
    figures: dict[str, Any]
    findings: list[str]
    left_out: dict[str, int] = Field(default_factory=dict)  # pairs without a verdict, by reason
    unreadable: dict[str, int] = Field(default_factory=dict)  # rows that are no labelled pair, by reason
    settings: dict[str, Any] = Field(default_factory=dict)  # parameters, versions of the class and its prompts


def render(card: JudgeCard) -> str:
    """Return the card as Markdown; text taken from the data is escaped."""
    settings = yaml.safe_dump(card.settings, sort_keys=True, allow_unicode=True).strip() if card.settings else ""
    return template("judge_card.md.j2").render(card=card, f=card.figures, settings=settings)
