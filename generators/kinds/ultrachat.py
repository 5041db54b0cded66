"""Dialogues in three sectors with separate models for opening, user and answers, as UltraChat (Ding et al. 2023).

World: questions about a part of a subject. Creation: requests for a text, most of them with added details. Material:
requests about a document. The simulated user has a persona, a goal and the whole history, and ends the dialogue when
the goal is met. A turn out of role is asked again, then the dialogue ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import Field, model_validator

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.generator import Ask, Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.outcome import models_of
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.core.two_stages import Candidate, Candidates, TwoStages
from windtunnel.generators.kinds._ultrachat_plans import Plans, Sector
from windtunnel.generators.text import topics, turns
from windtunnel.generators.text.instructions import numbered
from windtunnel.generators.text.novelty import RougeGate
from windtunnel.schemas.errors import RecipeError

END = "[END]"
LAYOUTS = 4
FEWEST_CHARACTERS = 8  # of an opening


class UltraChat(Generator):
    """Dialogues of several rounds; `model` answers, `opening_model` and `user_model` (default: the same) play the user.

    `sectors` are weights; `rounds` the fewest and most rounds per sector. `openings_per_request` openings are requested
    at once; a share `detailed` of the creation requests is expanded. Material comes from the input `documents`, whose
    id, source and URL are part of the lineage.
    """

    version: ClassVar[int] = 6
    sequential: ClassVar[bool] = True  # an opening must differ from all openings before it
    primary: ClassVar[str | None] = "model"
    asks: ClassVar[tuple[str, ...]] = ("model", "opening_model", "user_model")
    optional: ClassVar[tuple[str, ...]] = ("documents",)
    prompts: ClassVar[tuple[str, ...]] = tuple(
        f"ultrachat/{name}"
        for name in (
            "opening_world", "opening_creation", "opening_material", "creation_detail", "material_turn", "user_turn",
        )
    )  # fmt: skip

    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={
                "model": "m", "rows": 1, "sectors": {"world": 1}, "rounds": {"world": (2, 2)}, "openings_per_request": 1
            },
            replies={
                "opening": ["1. Why does fog lie on rivers at dawn?"],
                "reply": ["The air above cold water cools down to its dew point.", "Wind mixes it with drier air."],
                "user": ["Of course! Here is a list of fogs.", "Thank you! And what drives it away by noon?"],
            },
            kept=[
                [
                    "Why does fog lie on rivers at dawn?",
                    "The air above cold water cools down to its dew point.",
                    "And what drives it away by noon?",
                    "Wind mixes it with drier air.",
                ]
            ],
        ),
    )  # fmt: skip

    model: str
    opening_model: str | None = None
    user_model: str | None = None
    sectors: dict[Sector, float] = Field({"world": 0.5, "creation": 0.3, "material": 0.2}, min_length=1)
    rounds: dict[Sector, tuple[int, int]] = Field({"world": (3, 7), "creation": (2, 4), "material": (2, 4)})
    topics: str | None = None  # a YAML file; None: the shipped one
    openings_per_request: int = Field(5, gt=0)
    detailed: float = Field(0.8, ge=0, le=1)
    requests_at_most: int | None = Field(
        None, gt=0
    )  # requests for openings; default: 8 times the least that can suffice
    similarity: float = Field(0.7, gt=0, le=1)  # ROUGE-L F above which an opening is not new
    retries: int = Field(1, ge=0)  # of a turn out of role
    fewest_rounds: int = Field(1, gt=0)  # a shorter dialogue is dropped
    characters_at_most: int | None = Field(None, gt=0)  # longer dialogues are split between rounds
    material_characters: int = Field(1500, ge=200)
    system: str | None = None  # system message of the answering model; part of the row
    drop_disclaimers: bool = True
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(512, gt=0)  # of a turn
    opening_tokens: int = Field(512, gt=0)  # of a list of openings

    @model_validator(mode="after")
    def _sound(self) -> UltraChat:
        if any(w < 0 for w in self.sectors.values()) or not sum(self.sectors.values()):
            raise ValueError("sector weights must not be negative, and one must be above zero")
        missing = [name for name in self.sectors if name not in self.rounds]
        if missing or any(not 1 <= low <= high for low, high in self.rounds.values()):
            raise ValueError("`rounds` must give fewest and most rounds, at least 1, for every sector")
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Add the hash of the topics."""
        return super().fingerprint() | {"topics": topics.digest(self.topics)}

    def requests_per_row(self) -> Sequence[tuple[str, float]]:
        """Return a share of a list of openings, and both sides of the mean number of rounds."""
        weighted = sum(weight * sum(self.rounds[name]) / 2 for name, weight in self.sectors.items())
        rounds = weighted / sum(self.sectors.values())
        opening = (self.opening_model or self.model, 1 / self.openings_per_request)
        return [opening, (self.model, rounds), (self.user_model or self.model, rounds - 1)]

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per opening, or one per part where a dialogue is split."""
        if self.sectors.get("material") and not len(session.inputs.get("documents", ())):
            raise RecipeError("ultrachat's sector `material` needs documents: name a corpus, or set its weight to 0")
        yield from _Run(self, session).outcomes()


class _Run(TwoStages):
    """One run: its plans, and the gate that keeps openings new. `kept` counts dialogues with at least one row."""

    stage = "opening"

    def __init__(self, kind: UltraChat, session: Session) -> None:
        bound = kind.requests_at_most or 8 * math.ceil(kind.rows / kind.openings_per_request)
        super().__init__(session, kind.rows, bound, kind.openings_per_request)
        self.kind = kind
        self.topics = topics.read(kind.topics)
        self.plans = Plans(session, self.topics, kind.sectors, kind.material_characters)
        self.gate = RougeGate("unicode")

    def outcomes(self) -> Iterator[Outcome]:
        """Yield all outcomes, and note in the journal what ended the run."""
        yield from super().outcomes()
        self.session.journal["stopped_by_rows" if self.kept >= self.target else "stopped_by_requests"] += 1

    def counted(self, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Yield the outcomes of a dialogue; its rows are surplus when there are enough dialogues."""
        for outcome in outcomes:
            if isinstance(outcome, Kept) and self.kept >= self.target:
                row = outcome.row
                outcome = outcome.refused("surplus", "dialogue", row["messages"][0]["content"], {"id": row["id"]})
            yield outcome
        self.kept += any(isinstance(outcome, Kept) for outcome in outcomes)

    def request(self, number: int) -> Chain[Candidates]:
        """Ask for openings, and for details where the sector has them."""
        kind, session = self.kind, self.session
        plan, parents = self.plans.of(number)
        sector = plan["sector"]
        about = {key: value for key, value in plan.items() if key != "material"} | {"request": number}
        if not plan.get("material", "-"):
            lineage = kind.lineage(session, {}, **about)
            return Candidates([Dropped("no_material", "material", "", lineage, parents=parents)])
        text = load(f"ultrachat/opening_{sector}").render(count=kind.openings_per_request, **plan)
        (reply,) = yield [self._speak("opening", number, text, kind.opening_model, max_tokens=kind.opening_tokens)]
        lineage = kind.lineage(session, {"opening": reply}, **about)
        if not reply.ok:
            return Candidates([Failed.of(reply, "opening", lineage, parents=parents)])
        items = numbered(reply.text, 1, reply.truncated)[: kind.openings_per_request]
        texts = [turns.one_turn(item.text) for item in items if item.complete]
        lost: list[Outcome] = [
            Dropped("truncated", "opening", i.text, lineage, parents=parents) for i in items if not i.complete
        ]
        if not texts and not lost:
            return Candidates([Dropped("no_opening", "opening", reply.text, lineage, parents=parents)])
        if sector == "creation":
            rng = session.random("detail", number)
            chosen = [i for i in range(len(texts)) if rng.random() < kind.detailed]
            replies = (yield [self._detail(number, i, texts[i]) for i in chosen]) if chosen else []
            for i, longer in zip(chosen, replies, strict=True):
                if longer.ok and not longer.truncated:
                    texts[i] = turns.one_turn(longer.text)
        return Candidates(
            [*lost, *(Candidate(t, lineage | {"opening": i}, parents, plan) for i, t in enumerate(texts))]
        )

    def _detail(self, number: int, nth: int, request: str) -> Ask:
        text = load("ultrachat/creation_detail").render(request=request)
        return self._speak(f"detail-{nth}", number, text, self.kind.opening_model)

    def judged(self, entries: Sequence[Outcome | Candidate]) -> Iterator[Outcome]:
        """Accept new openings and yield the others with the reason, in the order of the requests."""
        here = RougeGate("unicode")  # "sum it up" is new for every document, but only once per document
        for entry in entries:
            if isinstance(entry, Outcome):
                yield entry
                continue
            gate = here if entry.plan["sector"] == "material" else self.gate
            reason = "too_short" if len(entry.text) < FEWEST_CHARACTERS else turns.role_flip(entry.text, [])
            nearest = gate.nearest(entry.text)
            if reason is None and nearest.similarity > self.kind.similarity:
                reason = "not_new"
            if reason is not None:
                lineage = entry.lineage | {"nearest": round(nearest.similarity, 4)}
                yield Dropped(reason, "opening", entry.text, lineage, parents=entry.parents)
                continue
            gate.add(entry.text)
            self.accept(entry)

    def _speak(self, purpose: str, index: int, text: str, model: str | None, **params: Any) -> Ask:
        return self.session.chat(purpose, index, text, model=model or self.kind.model, **(self.kind.sampling | params))

    def develop(self, index: int, candidate: Candidate) -> Chain[Sequence[Outcome]]:
        """Answer and ask in turn until the goal is met, the rounds are full or a turn fails for good."""
        kind, plan = self.kind, candidate.plan
        rng = self.session.random("dialogue", index)
        fewest, most = kind.rounds[plan["sector"]]
        goal, planned = rng.choice(self.topics.goals[plan["sector"]]), rng.randint(fewest, most)
        history = [message("system", kind.system)] if kind.system else []
        turn = candidate.text
        if "material" in plan:
            turn = load("ultrachat/material_turn").render(
                request=turn, material=plan["material"], layout=rng.randrange(LAYOUTS)
            )
        completions: dict[str, Completion] = {}
        ended, done = "rounds", 0
        while True:
            history.append(message("user", turn))
            (reply,) = yield [
                self.session.ask("reply", index, list(history), model=kind.model, draw=done, **kind.sampling)
            ]
            completions["reply"] = reply
            fault = self._fault(reply)
            if fault is not None:
                ended, history = fault, history[:-1]
                break
            history.append(message("assistant", reply.text.strip()))
            done += 1
            if done >= planned:
                break
            prompt = load("ultrachat/user_turn").render(
                persona=plan["persona"], goal=goal, turns=turns.transcript(history), may_end=done >= fewest, end=END
            )
            turn, ended = yield from self._next_turn(index, history, done, prompt, done >= fewest, completions)
            if not turn:
                break
            ended = "rounds"
        about = {"dialogue": index, "goal": goal, "rounds": done, "planned": planned, "ended": ended}
        lineage = candidate.lineage | about | {"models": candidate.lineage["models"] | models_of(completions)}
        return self._finished(history, completions["reply"], lineage, candidate.parents)

    def _fault(self, reply: Completion) -> str | None:
        """Return why an answer cannot be part of a row."""
        if not reply.ok:
            return reply.error
        if reply.truncated:
            return "reply_truncated"
        return "disclaimer" if self.kind.drop_disclaimers and turns.disclaims(reply.text) else None

    def _next_turn(
        self, index: int, history: list[dict[str, str]], done: int, prompt: str, may_end: bool,
        completions: dict[str, Completion],
    ) -> Chain[tuple[str, str]]:  # fmt: skip
        """Return (the user's next turn, "") or ("", why the dialogue ends)."""
        why, attempts = "", self.kind.retries + 1
        for attempt in range(attempts):
            (reply,) = yield [self._speak("user", index, prompt, self.kind.user_model, draw=done * attempts + attempt)]
            completions["user"] = reply
            if not reply.ok:
                return "", str(reply.error)
            turn = turns.one_turn(reply.text)
            if may_end and END in turn:
                return "", "goal_met"
            polite, turn = turn, turns.without_politeness(turn)
            self.session.journal["politeness_removed"] += turn != polite
            why = "thanks_only" if not turn else turns.role_flip(turn, history) or ""
            if reply.truncated:
                why = "user_truncated"
            if not why:
                return turn, ""
            self.session.journal[f"turn_{why}"] += 1
        return "", why

    def _finished(
        self, history: list[dict[str, str]], reply: Completion, lineage: dict[str, Any], parents: Sequence[Any]
    ) -> list[Outcome]:
        """Return the rows of a dialogue, or why there are none."""
        done, ended = lineage["rounds"], lineage["ended"]
        raw = "\n".join(f"{m['role']}: {m['content']}" for m in history)
        if done < self.kind.fewest_rounds:
            if not reply.ok:
                return [Failed.of(reply, "reply", lineage, parents=parents)]
            raw = f"{raw}\nassistant: {reply.text}" if done == 0 else raw
            return [Dropped(ended, "dialogue", raw, lineage, parents=parents)]
        self.session.journal[f"ended_{ended}"] += 1
        self.session.journal["rounds"] += done
        limit = self.kind.characters_at_most
        outcomes: list[Outcome] = []
        for nth, part in enumerate(turns.split_rounds(history, limit) if limit else [history]):
            about = lineage | {"part": nth}
            if limit and sum(len(m["content"]) for m in part) > limit:
                outcomes.append(Dropped("round_too_long", "split", raw, about, parents=parents))
            else:
                outcomes.append(Kept(conversation_row(part, self.session.kind), about, parents=parents))
        return outcomes
