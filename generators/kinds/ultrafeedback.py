"""Preferences from four answers a prompt and a rating per aspect, as UltraFeedback (Cui et al. 2023) makes them.

Answers come from distinct members of a pool under one principle, so that a preference measures the answers and not
the principle. Each aspect is judged separately, in an even number of orders in which the mean position of every text is
the middle. Then each answer gets a critique and a score by itself. A pair requires a margin between the ratings, in
every order, that the critiques do not contradict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from windtunnel.generators.client.completion import Completion, refusal
from windtunnel.generators.core.generator import Ask, Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import dialogue, message, preference_row
from windtunnel.generators.core.session import Session
from windtunnel.generators.judging import judged, ratings
from windtunnel.generators.kinds._ultrafeedback_responses import OK, RESPONSE, Member, judgement, response, status_of
from windtunnel.generators.text.questions import Question, question
from windtunnel.generators.text.quoted import mark
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.records import PREFERENCE

# aspect -> whether "not applicable" is an answer
ASPECTS = {"instruction_following": False, "truthfulness": True, "honesty": True, "helpfulness": False}
PRINCIPLES = ("calibration", "helpfulness", "honesty", "truthfulness")
Principle = Literal["helpfulness", "truthfulness", "honesty", "calibration"]
LEVELS, TOP = 5, 10
FEWEST_CHARACTERS_A_TOKEN = 2  # a low estimate: the judge's limit of tokens must not fill a short context


def _ratings(*values: int) -> str:
    return canonical_json({"ratings": [{"rationale": "", "rating": value} for value in values]})


class UltraFeedback(Generator):
    """Pairs for at most `rows` rows of the input `prompts` (of a conversation: its first user turn).

    `judges`: the first whose family is not among the answers; when there is none, the first of all, and the row says
    so. `rejected` selects the worse answer: at random among those that are far enough below (as in the original's
    binarised sets), the lowest, or the nearest. `margin` is in levels of the mean rating (1 to 5). The table
    `responses/` holds every answer with its ratings, or with the reason why there are none.
    """

    version: ClassVar[int] = 4
    output: ClassVar[pa.Schema] = PREFERENCE
    reads: ClassVar[tuple[str, ...]] = ("prompts",)
    tables: ClassVar[Mapping[str, pa.Schema]] = {"responses": RESPONSE}
    prompts: ClassVar[tuple[str, ...]] = tuple(
        f"ultrafeedback/{name}" for name in (*ASPECTS, "critique", *(f"principle_{p}" for p in PRINCIPLES))
    )

    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={
                "pool": [{"model": m} for m in "abc"], "judges": ["j"], "responses": 3, "critique": False,
                "rejected": "lowest",
            },
            inputs={"prompts": [dialogue("Name a river.")]},
            replies={
                **{f"response:{m}": [text] for m, text in (("a", "The Nile."), ("b", "A hill."), ("c", "No."))},
                # a text keeps its rating in both orders: the second order is the first one reversed
                **{f"rate:{aspect}": [_ratings(5, 3, 1), _ratings(1, 3, 5)] for aspect in ASPECTS},
            },
            kept=[["Name a river.", "No.", "A hill."]],
        ),
    )  # fmt: skip

    pool: tuple[Member, ...] = Field(min_length=3)
    judges: tuple[str, ...] = Field(min_length=1)
    families: dict[str, str] = Field(default_factory=dict)  # of judges: name -> family
    responses: int = Field(4, ge=2)
    principles: dict[Principle, float] = Field(
        {"helpfulness": 0.6, "truthfulness": 0.2, "honesty": 0.18, "calibration": 0.02}
    )
    orders: int = Field(2, ge=2, multiple_of=2)
    margin: float = Field(0.5, gt=0)
    rejected: Literal["random", "lowest", "nearest"] = "random"
    critique: bool = True
    dispute: float = Field(4.0, gt=0)  # points between score and ratings from which a critique is asked again
    reference: bool = False  # show the judge the answer in the prompt's row
    max_tokens: int = Field(1024, gt=0)
    judge_tokens: int | None = Field(None, gt=0)  # default: enough for the longest reply of the schema
    rationale_characters: int = Field(240, ge=0)
    feedback_characters: int = Field(1200, gt=0)

    @model_validator(mode="after")
    def _sound(self) -> UltraFeedback:
        labels = [member.label for member in self.pool]
        if len(set(labels)) != len(labels):
            raise ValueError("members of the pool need different names")
        if unknown := {m.principle for m in self.pool if m.principle} - set(PRINCIPLES):
            raise ValueError(f"no principle is called {', '.join(sorted(unknown))}")
        if not sum(self.principles.values()) > 0 or min(self.principles.values()) < 0:
            raise ValueError("principle weights must not be negative, and one must be above zero")
        return self

    def models(self) -> tuple[str, ...]:
        """Return the models of the pool and the judges."""
        return tuple(dict.fromkeys([*(member.model for member in self.pool), *self.judges]))

    def requests_per_row(self) -> Sequence[tuple[str, float]]:
        """Return the answers of the pool, and each aspect's ratings in every order with the critiques by a judge."""
        judgements = len(ASPECTS) * self.orders + self.critique * self.responses
        answers = [(member.model, self.responses / len(self.pool)) for member in self.pool]
        return answers + [(judge, judgements / len(self.judges)) for judge in self.judges]

    def attempt(self, session: Session, number: int, record: Record) -> Chain[Outcome]:
        """Make the pair of one prompt."""
        asked = question(record)
        if asked is None:
            return Dropped("no_prompt", "prompt", "", {"prompt": str(record.get("id", number))})
        outcome = yield from _Prompt(self, session, number, asked, str(record.get("id", number))).pair()
        return outcome


class _Prompt:
    """One prompt: its answers, their ratings and critiques, and the pair."""

    def __init__(self, kind: UltraFeedback, session: Session, number: int, asked: Question, name: str) -> None:
        self.kind, self.session, self.number = kind, session, number
        self.question, self.name = asked, name
        self.rng = session.random("prompt", number)
        self.refused: Completion | None = None  # a reply of a judge's server that accepts no such requests

    def pair(self) -> Chain[Outcome]:
        """Answer, rate, criticise, pair."""
        kind = self.kind
        members, draws = self._contestants()
        principles = self._principles(members)
        replies = yield [self._respond(*each) for each in zip(members, draws, principles, strict=True)]
        judge, own = self._judge(members)
        statuses = [status_of(reply) for reply in replies]
        lineage = kind.lineage(
            self.session, {m.label: r for m, r in zip(members, replies, strict=True)},
            prompt=self.name, judge=judge, self_judged=own, principles=[name for name, _ in principles], draws=draws,
            members=[m.label for m in members], statuses=statuses,
        )  # fmt: skip
        names = [name for name, _ in principles]
        responses = [response(self.name, *each) for each in zip(members, names, draws, statuses, replies, strict=True)]
        extra = {"responses": responses}
        answered = [i for i, status in enumerate(statuses) if status == OK]
        if len(answered) < 2:
            bad = next(i for i, status in enumerate(statuses) if status != OK)
            return Failed(statuses[bad], "response", replies[bad].detail, lineage, extra=extra)
        texts = [replies[i].text.strip() for i in answered]
        orders = ratings.balanced_orders(self.rng.sample(range(len(texts)), len(texts)), kind.orders)
        aspects = yield from self._rate(judge, texts, orders)
        if self.refused is not None:
            return Failed.of(self.refused, "rate", lineage, extra=extra)
        critiques = yield from self._criticise(judge, texts, aspects)
        answers = [
            judged.Answer(texts[k], replies[i].truncated, aspects[k], critiques[k]) for k, i in enumerate(answered)
        ]
        for i, answer in zip(answered, answers, strict=True):
            responses[i] |= judgement(answer)
        return self._paired(answers, [members[i].label for i in answered], lineage, extra)

    def _contestants(self) -> tuple[list[Member], list[int]]:
        """Return the answering members and the number of each one's earlier answers; they repeat only when needed."""
        pool, count = self.kind.pool, self.kind.responses
        members: list[Member] = []
        while len(members) < count:
            members += self.rng.sample(pool, min(len(pool), count - len(members)))
        return members, [members[:i].count(member) for i, member in enumerate(members)]

    def _principles(self, members: Sequence[Member]) -> list[tuple[str, str]]:
        """Return (name, text) per answer: one for all, except for members with their own principle."""
        weights: Mapping[str, float] = {name: self.kind.principles[name] for name in sorted(self.kind.principles)}
        (shared,) = self.rng.choices(list(weights), list(weights.values()))
        names = sorted({shared, *(m.principle for m in members if m.principle)})
        texts = {name: self.rng.choice(load(f"ultrafeedback/principle_{name}").variants()) for name in names}
        return [(name := member.principle or shared, texts[name]) for member in members]

    def _respond(self, member: Member, draw: int, principle: tuple[str, str]) -> Ask:
        system = "\n\n".join(m["content"] for m in self.question.messages if m["role"] == "system")
        system = f"{system}\n\n{principle[1]}" if system else principle[1]  # templates take at most one system message
        chat = [message("system", system), self.question.messages[-1]]
        params = {"temperature": member.temperature, "top_p": member.top_p, "max_tokens": self.kind.max_tokens}
        purpose = f"response:{member.label}"
        return self.session.ask(purpose, self.number, chat, model=member.model, draw=draw, **params)

    def _judge(self, members: Sequence[Member]) -> tuple[str, bool]:
        """Return the judge, and whether it is of the family of an answering member because no other is left."""
        families = {member.family or member.model for member in members}
        for name in self.kind.judges:
            if self.kind.families.get(name, name) not in families:
                return name, False
        self.session.journal["self_judged"] += 1
        return self.kind.judges[0], True

    def _rate(
        self, judge: str, texts: Sequence[str], orders: Sequence[Sequence[int]]
    ) -> Chain[list[dict[str, list[ratings.Rating]]]]:
        """Return, per text, the ratings of each aspect in all orders."""
        keys = [(aspect, nth) for aspect in ASPECTS for nth in range(len(orders))]
        replies = yield [self._ask_rating(judge, aspect, nth, [texts[k] for k in orders[nth]]) for aspect, nth in keys]
        self.refused = refusal(replies)
        by_text: list[dict[str, list[ratings.Rating]]] = [{aspect: [] for aspect in ASPECTS} for _ in texts]
        for (aspect, nth), reply in zip(keys, replies, strict=True):
            read = ratings.read_ratings(reply, len(texts), LEVELS)
            self.session.journal["ratings_unreadable"] += any(r.status == "unreadable" for r in read)
            for place, k in enumerate(orders[nth]):
                by_text[k][aspect].append(read[place])
        return by_text

    def _ask_rating(self, judge: str, aspect: str, nth: int, texts: Sequence[str]) -> Ask:
        kind = self.kind
        text = load(f"ultrafeedback/{aspect}").render(
            texts=[self.session.defused(text) for text in texts],
            rationale=kind.rationale_characters > 0,
            **self._shown(texts, aspect in ("truthfulness", "helpfulness")),
        )
        schema = ratings.schema_of_ratings(len(texts), LEVELS, ASPECTS[aspect], kind.rationale_characters)
        return self._ask_judge(f"rate:{aspect}", judge, text, schema, nth)

    def _criticise(
        self, judge: str, texts: Sequence[str], aspects: Sequence[Mapping[str, Sequence[ratings.Rating]]]
    ) -> Chain[list[ratings.Rating]]:
        """Return a score with feedback per text; one far from the ratings is asked once more."""
        if not self.kind.critique:
            return [ratings.Rating(None, "not_applicable")] * len(texts)
        asks = [self._ask_critique(judge, text, 2 * k) for k, text in enumerate(texts)]
        critiques = [ratings.read_critique(reply, TOP) for reply in (yield asks)]
        again = [k for k, rating in enumerate(critiques) if judged.disputed(rating, aspects[k], self.kind.dispute)]
        if again:
            self.session.journal["scores_disputed"] += len(again)
            replies = yield [self._ask_critique(judge, texts[k], 2 * k + 1) for k in again]
            for k, reply in zip(again, replies, strict=True):
                critiques[k] = ratings.read_critique(reply, TOP)
        return critiques

    def _ask_critique(self, judge: str, text: str, draw: int) -> Ask:
        rendered = load("ultrafeedback/critique").render(answer=self.session.defused(text), **self._shown([text], True))
        schema = ratings.schema_of_critique(TOP, self.kind.feedback_characters)
        return self._ask_judge("critique", judge, rendered, schema, draw, temperature=0.7 * (draw % 2))

    def _shown(self, texts: Sequence[str], reference: bool) -> dict[str, Any]:
        """Return what the judge sees besides the texts, with a mark that none of them contains.

        The mark is the same for all aspects, so that their prompts share a prefix, which a server computes once.
        """
        known = self.question.reference if self.kind.reference else None
        instruction = self.question.text
        return {
            "instruction": self.session.defused(instruction),
            "reference": self.session.defused(known) if known and reference else None,
            "mark": mark([instruction, known or "", *texts]),
        }

    def _ask_judge(self, purpose: str, judge: str, text: str, schema: Any, draw: int, temperature: float = 0.0) -> Ask:
        kind = self.kind
        characters = kind.responses * (kind.rationale_characters + 32)
        if purpose == "critique":
            characters = kind.feedback_characters
        tokens = kind.judge_tokens or characters // FEWEST_CHARACTERS_A_TOKEN + 32
        params = {"temperature": temperature, "max_tokens": tokens, "schema": schema, "draw": draw}
        return self.session.chat(purpose, self.number, text, model=judge, **params)

    def _paired(
        self, answers: Sequence[judged.Answer], labels: Sequence[str], lineage: dict[str, Any], extra: Mapping[str, Any]
    ) -> Outcome:
        """Return the pair, or why there is none."""
        pair = judged.pair(answers, self.kind.margin, self.kind.rejected, self.rng)
        if isinstance(pair, str):
            raw = canonical_json([{"member": m, "text": a.text} for m, a in zip(labels, answers, strict=True)])
            return Dropped(pair, "pair", raw, lineage, extra=extra)
        best, worse = (answers[k] for k in (pair.chosen, pair.rejected))
        row = preference_row(
            self.question.messages, best.text, worse.text, pair.ratings, lineage["judge"], self.session.kind
        )
        lineage |= {
            "chosen": labels[pair.chosen], "rejected": labels[pair.rejected], "margin": round(pair.margin, 4),
            "scores": [best.critique.value, worse.critique.value],
            "aspects": {a: [ratings.mean(best.aspects[a]), ratings.mean(worse.aspects[a])] for a in ASPECTS},
            "characters": [len(best.text), len(worse.text)],
        }  # fmt: skip
        return Kept(row, lineage, extra=extra)
