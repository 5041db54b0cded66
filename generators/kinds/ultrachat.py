"""Dialogues in three sectors with separate models for opening, user and answers, as UltraChat (Ding et al. 2023).

World: questions about a part of a subject. Creation: requests for a text, most of them with details added. Material:
requests about a document of our own corpora. The simulated user has a persona, a goal and the whole history, and ends
the dialogue when the goal is met; turns in which it falls out of its role are asked again, then the dialogue ends.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.generator import Ask, Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.text import excerpts, topics, turns
from windtunnel.generators.text.groups import document_group
from windtunnel.generators.text.instructions import numbered
from windtunnel.generators.text.novelty import RougeGate
from windtunnel.schemas.errors import RecipeError

Sector = Literal["world", "creation", "material"]
END = "[END]"
PRIOR_KEPT = 4  # counted as kept before the first: one that is lost at once must not double what is started
WINDOW = 256  # chains under way at once: bounds what waits in memory
GOLDEN = 0.6180339887498949  # steps of this length fall evenly on an interval, however many there are
LAYOUTS = 4
FEWEST_CHARACTERS = 8  # of an opening
PLANS = 64  # opening requests planned at once


class UltraChat(Generator):
    """Dialogues of several rounds; `model` answers, `opening_model` and `user_model` (default: the same) play the user.

    `sectors` are weights; `rounds` the fewest and most rounds a sector aims at. `openings_per_request` openings are
    asked for at once; of the creation requests, `detailed` (a share) are expanded. Material comes from the input
    `documents`; its id, source, url and licence go into the lineage.
    """

    version: ClassVar[int] = 6
    sequential: ClassVar[bool] = True  # an opening is new beside all openings before it, so there are no shards
    primary: ClassVar[str | None] = "model"
    optional: ClassVar[tuple[str, ...]] = ("documents",)
    prompts: ClassVar[tuple[str, ...]] = tuple(
        f"ultrachat/{name}"
        for name in (
            "opening_world",
            "opening_creation",
            "opening_material",
            "creation_detail",
            "material_turn",
            "user_turn",
        )
    )

    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={
                "model": "m",
                "rows": 1,
                "sectors": {"world": 1},
                "rounds": {"world": (2, 2)},
                "openings_per_request": 1,
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
    )

    model: str
    opening_model: str | None = None
    user_model: str | None = None
    sectors: dict[Sector, float] = Field({"world": 0.5, "creation": 0.3, "material": 0.2}, min_length=1)
    rounds: dict[Sector, tuple[int, int]] = Field({"world": (3, 7), "creation": (2, 4), "material": (2, 4)})
    topics: str | None = None  # a YAML file; None: our own
    openings_per_request: int = Field(5, gt=0)
    detailed: float = Field(0.8, ge=0, le=1)
    requests_at_most: int | None = Field(None, gt=0)  # opening requests; default 8 times what would do at best
    similarity: float = Field(0.7, gt=0, le=1)  # ROUGE-L F above which an opening is not new
    retries: int = Field(1, ge=0)  # how often a turn out of role is asked again
    fewest_rounds: int = Field(1, gt=0)  # a dialogue that breaks off earlier is dropped
    characters_at_most: int | None = Field(None, gt=0)  # longer dialogues are cut between rounds
    material_characters: int = Field(1500, ge=200)
    system: str | None = None  # what the answering model is told; stays in the row
    drop_disclaimers: bool = True
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(512, gt=0)  # of a turn
    opening_tokens: int = Field(512, gt=0)  # of a list of openings

    @model_validator(mode="after")
    def _sound(self) -> UltraChat:
        if any(w < 0 for w in self.sectors.values()) or not sum(self.sectors.values()):
            raise ValueError("sector weights are not negative, and one is above zero")
        missing = [name for name in self.sectors if name not in self.rounds]
        if missing or any(not 1 <= low <= high for low, high in self.rounds.values()):
            raise ValueError("`rounds` gives fewest and most rounds, from 1 on, for every sector")
        return self

    def models(self) -> tuple[str, ...]:
        """Return the models of the three parts."""
        names = (self.model, self.opening_model or self.model, self.user_model or self.model)
        return tuple(dict.fromkeys(names))

    def fingerprint(self) -> dict[str, Any]:
        """Add the topics' content."""
        return super().fingerprint() | {"topics": topics.digest(self.topics)}

    def generate(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per opening; a dialogue that is cut gives one per part."""
        if self.sectors.get("material") and not len(session.inputs.get("documents", ())):
            raise RecipeError("ultrachat's sector `material` needs documents: name a corpus, or set its weight to 0")
        yield from _Run(self, session).outcomes()


class _Openings(NamedTuple):
    """What a request for openings brought: openings still to be judged, and those lost on the way."""

    found: Sequence[Outcome | dict[str, Any]]


class _Run:
    """The state of a run: what openings there are, which wait, how many dialogues are done."""

    def __init__(self, kind: UltraChat, session: Session) -> None:
        self.kind, self.session = kind, session
        self.topics = topics.read(kind.topics)
        self.gate = RougeGate("unicode")
        self.waiting: deque[dict[str, Any]] = deque()
        self.plans: dict[int, dict[str, Any]] = {}
        self.target = kind.rows
        self.requests = self.answered = self.opened = 0  # requests for openings sent, back, and what they brought
        self.dialogues = self.ended = self.kept = 0
        at_best = math.ceil(self.target / kind.openings_per_request)
        self.bound = kind.requests_at_most or 8 * at_best
        names = list(kind.sectors)
        self.sectors: list[Sector] = names
        self.edges = [edge / sum(kind.sectors.values()) for edge in accumulate(kind.sectors[name] for name in names)]

    def outcomes(self) -> Iterator[Outcome]:
        """Yield outcomes until there are enough rows or the bound of requests is met.

        Requests for openings and dialogues run beside each other, so that neither waits for the slowest of the other.
        What is started depends on what was delivered before, and that comes in order: the timing changes nothing.
        """
        chains = self._chains()
        for found in self.session.drive(chains, wanted=lambda: WINDOW if self._next() else 0, window=WINDOW):
            if isinstance(found, _Openings):
                self.answered += 1
                yield from self._judged(found.found)
                continue
            yield from found if self.kept < self.target else map(_surplus, found)
            self.ended += 1
            self.kept += any(isinstance(outcome, Kept) for outcome in found)
        for opening in self.waiting:
            yield Dropped("surplus", "opening", opening["text"], opening["lineage"])
        self.session.journal["stopped_by_rows" if self.kept >= self.target else "stopped_by_requests"] += 1

    def _next(self) -> Literal["dialogue", "openings"] | None:
        """Return what to start: as many dialogues as are missing, over the share kept so far, and openings for them.

        One at a time to the last row would leave the server idle; a few that turn out too many are dropped as surplus.
        """
        rate = (self.kept + PRIOR_KEPT) / (self.ended + PRIOR_KEPT)
        missing = math.ceil((self.target - self.kept) / rate) - (self.dialogues - self.ended)
        if missing <= 0:
            return None
        if self.waiting:
            return "dialogue"
        each = (self.opened + self.kind.openings_per_request) / (self.answered + 1)
        coming = (self.requests - self.answered) * each
        return "openings" if coming < missing and self.requests < self.bound else None

    def _chains(self) -> Iterator[Chain[_Openings | Sequence[Outcome]]]:
        """Yield dialogues and requests for openings as they are wanted."""
        while (what := self._next()) is not None:
            if what == "dialogue":
                self.dialogues += 1
                yield self._dialogue(self.dialogues - 1, self.waiting.popleft())
                continue
            number = self.requests
            if number not in self.plans:
                self.plans = self._plans(range(number, number + PLANS))
            self.requests += 1
            yield self._openings(number, self.plans[number])

    def _plans(self, numbers: range) -> dict[int, dict[str, Any]]:
        """Return who asks about what; the documents for all of them are picked in one pass."""
        plans = {number: self._plan(number) for number in numbers}
        askers: dict[int, list[int]] = {}
        for number, plan in plans.items():
            if "row" in plan:
                askers.setdefault(plan["row"], []).append(number)
        for row, document in self.session.inputs["documents"].pick(askers) if askers else ():
            for number in askers[row]:
                rng = self.session.random("passage", number)
                plans[number] |= excerpts.cut(document, self.kind.material_characters, rng)
        return plans

    def _plan(self, number: int) -> dict[str, Any]:
        """Return sector, persona, and the subject or the row number of the document."""
        rng = self.session.random("plan", number)
        sector = self.sectors[min(bisect(self.edges, (number + 0.5) * GOLDEN % 1.0), len(self.edges) - 1)]
        plan: dict[str, Any] = {"sector": sector, "persona": rng.choice(self.topics.personas)}
        if sector == "material":
            row = rng.randrange(len(self.session.inputs["documents"]))
            return plan | {"hint": rng.choice(self.topics.material), "row": row}
        subjects = self.topics.world if sector == "world" else self.topics.creation
        subject = rng.choice(sorted(subjects))
        keys = ("topic", "subtopic") if sector == "world" else ("type", "detail")
        return plan | dict(zip(keys, (subject, rng.choice(subjects[subject])), strict=True))

    def _openings(self, number: int, plan: dict[str, Any]) -> Chain[_Openings]:
        """Ask for openings, and for details where the plan says so; return those still to be judged."""
        kind, session, sector = self.kind, self.session, plan["sector"]
        about = {key: value for key, value in plan.items() if key != "material"} | {"request": number}
        # a document answers for all dialogues about it, a request for the openings in its list
        document = plan.get("document")
        about["group"] = document_group(document) if document else f"{session.kind}:{session.seed}:{number}"
        if not plan.get("material", "-"):
            return _Openings([Dropped("no_material", "material", "", kind.lineage(session, {}, **about))])
        text = load(f"ultrachat/opening_{sector}").render(count=kind.openings_per_request, **plan)
        (reply,) = yield [self._speak("opening", number, text, kind.opening_model, max_tokens=kind.opening_tokens)]
        lineage = kind.lineage(session, {"opening": reply}, **about)
        if not reply.ok:
            return _Openings([Failed(str(reply.error), "opening", reply.detail, lineage)])
        items = numbered(reply.text, 1, reply.finish_reason == "length")[: kind.openings_per_request]
        texts = [turns.one_turn(item.text) for item in items if item.complete]
        cut: list[Outcome] = [Dropped("truncated", "opening", i.text, lineage) for i in items if not i.complete]
        if not texts and not cut:
            return _Openings([Dropped("no_opening", "opening", reply.text, lineage)])
        if sector == "creation":
            rng = session.random("detail", number)
            chosen = [i for i in range(len(texts)) if rng.random() < kind.detailed]
            replies = (yield [self._detail(number, i, texts[i]) for i in chosen]) if chosen else []
            for i, longer in zip(chosen, replies, strict=True):
                if longer.ok and longer.finish_reason != "length":
                    texts[i] = turns.one_turn(longer.text)
        openings = [{"text": t, "plan": plan, "lineage": lineage | {"opening": i}} for i, t in enumerate(texts)]
        return _Openings([*cut, *openings])

    def _detail(self, number: int, nth: int, request: str) -> Ask:
        text = load("ultrachat/creation_detail").render(request=request)
        return self._speak(f"detail-{nth}", number, text, self.kind.opening_model)

    def _judged(self, found: Sequence[Outcome | dict[str, Any]]) -> Iterator[Outcome]:
        """Let openings wait for their dialogue, or yield why not; in the order in which they were asked for."""
        here = RougeGate("unicode")  # "sum it up" is new for every document, but once a document is enough
        for opening in found:
            if not isinstance(opening, dict):
                yield opening
                continue
            text = opening["text"]
            gate = here if opening["plan"]["sector"] == "material" else self.gate
            reason = "too_short" if len(text) < FEWEST_CHARACTERS else turns.role_flip(text, [])
            nearest = gate.nearest(text)
            if reason is None and nearest.similarity > self.kind.similarity:
                reason = "not_new"
            if reason is not None:
                yield Dropped(reason, "opening", text, opening["lineage"] | {"nearest": round(nearest.similarity, 4)})
                continue
            gate.add(text)
            self.opened += 1
            self.waiting.append(opening)

    def _speak(self, purpose: str, index: int, text: str, model: str | None, **params: Any) -> Ask:
        kind = self.kind
        params = {"temperature": kind.temperature, "top_p": kind.top_p, "max_tokens": kind.max_tokens} | params
        return self.session.ask(purpose, index, [message("user", text)], model=model or kind.model, **params)

    def _dialogue(self, index: int, opening: dict[str, Any]) -> Chain[Sequence[Outcome]]:
        """Answer and ask in turn until the goal is met, the rounds are full or a turn fails for good."""
        kind, session, plan = self.kind, self.session, opening["plan"]
        rng = session.random("dialogue", index)
        fewest, most = kind.rounds[plan["sector"]]
        goal, planned = rng.choice(self.topics.goals[plan["sector"]]), rng.randint(fewest, most)
        history = [message("system", kind.system)] if kind.system else []
        turn = opening["text"]
        if "material" in plan:
            turn = load("ultrachat/material_turn").render(
                request=turn, material=plan["material"], layout=rng.randrange(LAYOUTS)
            )
        completions: dict[str, Completion] = {}
        ended, done = "rounds", 0
        while True:
            history.append(message("user", turn))
            (reply,) = yield [self._answer(index, done, history)]
            completions["reply"] = reply
            fault = self._fault(reply)
            if fault is not None:
                ended, history = fault, history[:-1]
                break
            history.append(message("assistant", reply.text.strip()))
            done += 1
            if done >= planned:
                break
            turn, ended = yield from self._next_turn(index, history, done, plan, goal, done >= fewest, completions)
            if not turn:
                break
            ended = "rounds"
        about = {"dialogue": index, "goal": goal, "rounds": done, "planned": planned, "ended": ended}
        models = opening["lineage"]["models"] | {p: [c.model, c.revision] for p, c in completions.items()}
        lineage = opening["lineage"] | about | {"models": models}
        return self._finished(history, done, ended, completions["reply"], lineage)

    def _answer(self, index: int, nth: int, history: Sequence[dict[str, str]]) -> Ask:
        kind = self.kind
        params = {"temperature": kind.temperature, "top_p": kind.top_p, "max_tokens": kind.max_tokens}
        return self.session.ask("reply", index, list(history), model=kind.model, draw=nth, **params)

    def _fault(self, reply: Completion) -> str | None:
        """Return why an answer cannot stand in a row."""
        if not reply.ok:
            return reply.error
        if reply.finish_reason == "length":
            return "reply_truncated"
        return "disclaimer" if self.kind.drop_disclaimers and turns.disclaims(reply.text) else None

    def _next_turn(
        self,
        index: int,
        history: list[dict[str, str]],
        done: int,
        plan: dict[str, Any],
        goal: str,
        may_end: bool,
        completions: dict[str, Completion],
    ) -> Chain[tuple[str, str]]:
        """Return (the user's next turn, "") or ("", why the dialogue ends)."""
        text = load("ultrachat/user_turn").render(
            persona=plan["persona"], goal=goal, turns=turns.transcript(history), may_end=may_end, end=END
        )
        why = ""
        for attempt in range(self.kind.retries + 1):
            ask = self._speak("user", index, text, self.kind.user_model, draw=done * (self.kind.retries + 1) + attempt)
            (completion,) = yield [ask]
            completions["user"] = completion
            if not completion.ok:
                return "", str(completion.error)
            turn = turns.one_turn(completion.text)
            if may_end and END in turn:
                return "", "goal_met"
            polite, turn = turn, turns.without_politeness(turn)
            self.session.journal["politeness_removed"] += turn != polite
            why = "thanks_only" if not turn else turns.role_flip(turn, history) or ""
            if completion.finish_reason == "length":
                why = "user_truncated"
            if not why:
                return turn, ""
            self.session.journal[f"turn_{why}"] += 1
        return "", why

    def _finished(
        self, history: list[dict[str, str]], done: int, ended: str, reply: Completion, lineage: dict[str, Any]
    ) -> list[Outcome]:
        """Return the rows of a dialogue, or why there are none."""
        raw = "\n".join(f"{m['role']}: {m['content']}" for m in history)
        if done < self.kind.fewest_rounds:
            if not reply.ok:
                return [Failed(str(reply.error), "reply", reply.detail, lineage)]
            return [Dropped(ended, "dialogue", f"{raw}\nassistant: {reply.text}" if done == 0 else raw, lineage)]
        self.session.journal[f"ended_{ended}"] += 1
        self.session.journal["rounds"] += done
        limit = self.kind.characters_at_most
        outcomes: list[Outcome] = []
        for nth, part in enumerate(turns.split_rounds(history, limit) if limit else [history]):
            if limit and sum(len(m["content"]) for m in part) > limit:
                outcomes.append(Dropped("round_too_long", "split", raw, lineage | {"part": nth}))
            else:
                outcomes.append(Kept(conversation_row(part, self.session.kind, lineage | {"part": nth})))
        return outcomes


def _surplus(outcome: Outcome) -> Outcome:
    """Return an outcome behind the last row that was wanted: a row is one too many, all else stays what it is."""
    if not isinstance(outcome, Kept):
        return outcome
    row = outcome.row
    return Dropped("surplus", "dialogue", row["messages"][0]["content"], {"id": row["id"]})
