"""Instructions and examples bootstrapped from seed tasks, as Self-Instruct (Wang et al. 2022) makes them.

Each request shows 6 human tasks and 2 of the model's own (8 human ones at first) and lets the model go on with the
list. What passes the filters and is new by ROUGE-L joins the pool. Accepted instructions are told apart into
classification (label first, then an input for it: otherwise one label takes over) and the rest (input first).
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field

from windtunnel.generators.core.generator import Ask, Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.text import instances, seed_tasks
from windtunnel.generators.text.groups import text_group
from windtunnel.generators.text.instructions import numbered
from windtunnel.generators.text.pool import Pool

CLASSIFICATION_SHOTS, OTHER_SHOTS = 12, 19  # as in the paper
INSTANCE_SHOTS = 8
PRIOR_PROMPTS, PRIOR_ACCEPTED = 1, 4  # what is expected of a prompt before the first answer
PRIOR_INSTRUCTIONS = 4  # taken to have brought a row each before the first: one lost at once must not double the work
WINDOW = 256  # chains under way at once: bounds what waits in memory


class SelfInstruct(Generator):
    """Self-Instruct on one model. A row is one worked example; `rows` of them end the run, if no bound does before.

    `lag`: so many prompts are undecided at once at most; what a prompt knows of the earlier ones depends on the order
    of the results and never on timing.
    `requests_at_most` (default 4 per row wanted, 64 at least) and `patience` (requests in a row without anything new)
    keep a model that has nothing to say from being asked for ever.
    `interface`: whether the model goes on with a list or is asked in a chat; left out, it goes on wherever raw text can
    be completed (a server of ours, or a `url:` with `dialect: vllm`) and is asked elsewhere.
    """

    version: ClassVar[int] = 3
    primary: ClassVar[str | None] = "model"
    sequential: ClassVar[bool] = True
    prompts: ClassVar[tuple[str, ...]] = tuple(
        f"self_instruct/{name}"
        for name in ("bootstrap", "bootstrap_chat", "classify", "input_first", "output_first", "user_turn")
    )

    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"model": "m", "rows": 2, "lag": 1, "layouts": "plain"},
            replies={
                "bootstrap": [
                    " Name the metal that each coin is made of.\n10. Write a program.\n11. Draw a tree for me."
                ],
                "classify": ["Yes"],
                "example": [
                    " Copper\nInput: a brown coin\nLabel: Silver\nInput: a white coin\nLabel: Gold\nInput: Gold"
                ],
            },
            kept=[
                ["Name the metal that each coin is made of.\n\na brown coin", "Copper"],
                ["Name the metal that each coin is made of.\n\na white coin", "Silver"],
            ],
            # a second list is asked for while the examples are on their way: it comes when there are rows enough
            dropped={"too_short": 1, "not_for_text": 1, "output_is_input": 1, "surplus": 3},
        ),
    )

    model: str
    interface: Literal["completion", "chat"] | None = None
    seeds: str | None = None  # a JSON Lines file of seed tasks; None: the 175 of our own
    human_examples: int = Field(6, ge=0)
    machine_examples: int = Field(2, ge=0)
    lag: int = Field(16, gt=0)
    requests_at_most: int | None = Field(None, gt=0)
    patience: int = Field(64, gt=0)
    similarity: float = Field(0.7, gt=0, le=1)  # ROUGE-L F above which an instruction is not new
    near_duplicate: float | None = Field(None, gt=0, le=1)  # a second gate, by MinHash
    words: Literal["ascii", "unicode"] = "ascii"
    ascii_start: bool = True
    examples_at_most: int = Field(5, gt=0)  # rows of one instruction
    layouts: Literal["varied", "plain"] = "varied"  # how instruction and input share the user's turn
    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.5, gt=0, le=1)
    presence_penalty: float = 2.0
    max_tokens: int = Field(1024, gt=0)
    example_tokens: int = Field(350, gt=0)

    def models(self) -> tuple[str, ...]:
        """Return the one model."""
        return (self.model,)

    def on(self, raw: Collection[str]) -> Self:
        """Settle the interface by what the model can do."""
        by_model: Literal["completion", "chat"] = "completion" if self.model in raw else "chat"
        return self if self.interface else self.model_copy(update={"interface": by_model})

    def fingerprint(self) -> dict[str, Any]:
        """Add the seed file's content."""
        return super().fingerprint() | {"seeds": seed_tasks.digest(self.seeds)}

    def generate(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per candidate: a refused instruction, or each example of an accepted one."""
        yield from _Run(self, session).outcomes()


@dataclass(frozen=True)
class _Candidate:
    text: str
    lineage: dict[str, Any]


class _Prompted(NamedTuple):
    """What a prompt brought: candidates, and what was lost on the way."""

    found: Sequence[Outcome | _Candidate]


class _Run:
    """The state of one run: the pool with its gates, which accepted instructions wait for examples, the counts."""

    def __init__(self, kind: SelfInstruct, session: Session) -> None:
        self.kind, self.session = kind, session
        self.tasks = seed_tasks.read(kind.seeds)
        self.pool = Pool(self.tasks, kind.similarity, kind.near_duplicate, kind.words, kind.ascii_start)
        self.waiting: deque[tuple[int, str, dict[str, Any]]] = deque()
        self.requests = self.answered = self.idle = 0  # prompts sent and back, those in a row without anything new
        self.instructions = self.ended = self.rows = 0  # asked for examples, back with them, and the rows of these
        self.bound = kind.requests_at_most or max(64, 4 * kind.rows)

    def outcomes(self) -> Iterator[Outcome]:
        """Bootstrap until there are rows enough or a bound is met; say in the journal which it was.

        Prompts and requests for examples run beside each other, so that neither waits for the slowest of the other.
        """
        kind, journal = self.kind, self.session.journal
        for found in self.session.drive(self._chains(), lambda: WINDOW if self._next() else 0, WINDOW):
            if isinstance(found, _Prompted):
                fresh = len(self.pool.own)
                yield from self._judged(found.found)
                self.answered += 1
                self.idle = 0 if len(self.pool.own) > fresh else self.idle + 1
            else:
                self.ended += 1
                yield from self._counted(found)
        for _, text, lineage in self.waiting:
            yield Dropped("surplus", "instruction", text, lineage)
        reason = "rows" if self.rows >= kind.rows else "requests" if self.requests >= self.bound else "patience"
        journal[f"stopped_by_{reason}"] += 1
        journal["instructions_accepted"] = len(self.pool.own)

    def _next(self) -> Literal["examples", "prompt"] | None:
        """Return what to start: examples for as many instructions as the missing rows take, and prompts for more."""
        rate = (self.rows + PRIOR_INSTRUCTIONS) / (self.ended + PRIOR_INSTRUCTIONS)
        missing = math.ceil((self.kind.rows - self.rows) / rate) - (self.instructions - self.ended)
        if missing <= 0:
            return None
        if self.waiting:
            return "examples"
        under_way = self.requests - self.answered
        if self.requests >= self.bound or self.idle >= self.kind.patience or under_way >= self.kind.lag:
            return None
        each = (len(self.pool.own) + PRIOR_ACCEPTED) / (self.answered + PRIOR_PROMPTS)
        return "prompt" if under_way * each < missing else None

    def _chains(self) -> Iterator[Chain[_Prompted | Sequence[Outcome]]]:
        """Yield prompts and requests for examples as they are wanted."""
        while (what := self._next()) is not None:
            if what == "examples":
                self.instructions += 1
                yield self._instruction(*self.waiting.popleft())
            else:
                self.requests += 1
                yield self._prompt(self.requests - 1)

    def _prompt(self, number: int) -> Chain[_Prompted]:
        """Ask for more instructions and return candidates in the order of the list, the cut one as dropped."""
        kind, rng = self.kind, self.session.random("prompt", number)
        mine = self.pool.own
        own = rng.sample(range(len(mine)), min(kind.machine_examples, len(mine)))
        human = rng.sample(self.tasks, min(kind.human_examples + kind.machine_examples - len(own), len(self.tasks)))
        shown = [mine[i] for i in own] + [task.instruction for task in human]
        rng.shuffle(shown)
        (completion,) = yield [self._ask_more(number, shown)]
        parents = {"request": number, "human": sorted(task.id for task in human), "own": sorted(own)}
        lineage = kind.lineage(self.session, {"bootstrap": completion}, **parents)
        if not completion.ok:
            return _Prompted([Failed(str(completion.error), "bootstrap", completion.detail, lineage)])
        items = numbered(completion.text, len(shown) + 1, completion.finish_reason == "length")
        if not items:
            return _Prompted([Dropped("no_instruction", "bootstrap", completion.text, lineage)])
        return _Prompted(
            [
                _Candidate(i.text, lineage) if i.complete else Dropped("truncated", "bootstrap", i.text, lineage)
                for i in items
            ]
        )

    def _ask_more(self, number: int, shown: list[str]) -> Ask:
        kind = self.kind
        params: dict[str, Any] = {
            "model": kind.model, "temperature": kind.temperature, "top_p": kind.top_p,
            "presence_penalty": kind.presence_penalty, "max_tokens": kind.max_tokens,
        }  # fmt: skip
        if kind.interface == "chat":
            text = load("self_instruct/bootstrap_chat").render(instructions=shown)
            return self.session.ask("bootstrap", number, [message("user", text)], **params)
        # a stop such as "16." would also end the reply inside "2016.": only a number that opens a line may stop it
        stop = ("\n\n", f"\n{len(shown) + 9}.")
        text = load("self_instruct/bootstrap").render(instructions=shown)
        return self.session.ask("bootstrap", number, text, stop=stop, **params)

    def _judged(self, found: Sequence[Outcome | _Candidate]) -> Iterator[Outcome]:
        """Let candidates into the pool or yield the reason why not."""
        for candidate in found:
            if not isinstance(candidate, _Candidate):
                yield candidate
                continue
            text, nearest = candidate.text, None
            reason: str | None = "surplus"
            if self.rows < self.kind.rows:
                reason, nearest = self.pool.refusal(text)
            lineage = {**candidate.lineage, **self.pool.about(nearest)}
            if reason is not None:
                yield Dropped(reason, "instruction", text, lineage)
                continue
            self.waiting.append((len(self.pool.own), text, lineage))
            self.pool.accept(text)

    def _counted(self, found: Sequence[Outcome]) -> Iterator[Outcome]:
        """Yield the outcomes of an instruction, rows above the number wanted as surplus."""
        for outcome in found:
            if isinstance(outcome, Kept) and self.rows >= self.kind.rows:
                row = outcome.row
                outcome = Dropped("surplus", "example", row["messages"][-1]["content"], {"id": row["id"]})
            self.rows += isinstance(outcome, Kept)
            yield outcome

    def _instruction(self, index: int, text: str, lineage: dict[str, Any]) -> Chain[Sequence[Outcome]]:
        """Classification or not, then examples by the approach that fits, then the rules that throw some away."""
        kind, session = self.kind, self.session
        shots = _classify_shots(self.tasks)
        prompt = load("self_instruct/classify").render(examples=shots, instruction=text)
        (verdict,) = yield [self._answer("classify", index, prompt, 3, ("\n", "Task"))]
        word = verdict.text.strip().strip(".'\"").lower()
        label = word.startswith("yes")
        if verdict.ok and not word.startswith(("yes", "no")):
            session.journal["classify_unclear"] += 1  # taken as no, as in the paper's code
        name = "output_first" if label else "input_first"
        prompt = load(f"self_instruct/{name}").render(examples=_shots(self.tasks, label), instruction=text)
        stop = ("\nTask:", f"\nExample {kind.examples_at_most + 1}")
        (reply,) = yield [self._answer("example", index, prompt, kind.example_tokens, stop, presence_penalty=1.5)]
        models = lineage["models"] | {p: [c.model, c.revision] for p, c in (("classify", verdict), ("example", reply))}
        lineage = lineage | {"instruction": index, "classification": label, "models": models}
        lineage["group"] = text_group(text)  # one instruction with several inputs is one thing to learn
        if not reply.ok:
            return [Failed(str(reply.error), name, reply.detail, lineage)]
        parse = instances.output_first if label else instances.input_first
        found = parse(reply.text, reply.finish_reason == "length")
        if not found:
            return [Dropped("no_example", name, reply.text, lineage | {"text": text})]
        rng = session.random("example", index)
        return [
            self._row(text, example, rng, lineage | {"example": i})
            for i, example in enumerate(instances.clean(found, kind.examples_at_most, rng))
        ]

    def _answer(
        self, purpose: str, index: int, prompt: str, tokens: int, stop: tuple[str, ...], presence_penalty: float = 0.0
    ) -> Ask:
        """Return a question that is answered greedily."""
        text: Any = prompt if self.kind.interface != "chat" else [message("user", prompt)]
        params: dict[str, Any] = {"temperature": 0.0, "max_tokens": tokens, "stop": stop, "seed": None}
        return self.session.ask(
            purpose, index, text, model=self.kind.model, presence_penalty=presence_penalty, **params
        )

    def _row(self, text: str, example: instances.Example, rng: random.Random, lineage: dict[str, Any]) -> Outcome:
        if example.reason is not None:
            raw = f"{text}\n{example.input}\n{example.output}"
            return Dropped(example.reason, "example", raw, lineage)
        layout = rng.randrange(4) if self.kind.layouts == "varied" else 0
        turn = load("self_instruct/user_turn").render(instruction=text, input=example.input, layout=layout)
        chat = [message("user", turn), message("assistant", example.output)]
        return Kept(conversation_row(chat, self.session.kind, lineage))


def _classify_shots(tasks: tuple[seed_tasks.SeedTask, ...]) -> list[seed_tasks.SeedTask]:
    """Return 12 classification tasks among 19 others, the first of each, spread evenly."""
    labels = [t for t in tasks if t.is_classification][:CLASSIFICATION_SHOTS]
    others = [t for t in tasks if not t.is_classification][:: max(1, len(tasks) // 24)][:OTHER_SHOTS]
    ranked = [((i + 0.5) / len(group), task) for group in (labels, others) for i, task in enumerate(group)]
    return [task for _, task in sorted(ranked, key=lambda pair: (pair[0], pair[1].id))]


def _shots(tasks: tuple[seed_tasks.SeedTask, ...], label: bool) -> list[seed_tasks.SeedTask]:
    """Return tasks that show how examples are written; those with several come first, then every n-th."""
    group = [t for t in tasks if t.is_classification == label]
    several = [t for t in group if len(t.instances) > 1][: INSTANCE_SHOTS // 2]
    rest = [t for t in group if t not in several]
    return several + rest[:: max(1, len(rest) // (INSTANCE_SHOTS - len(several)))][: INSTANCE_SHOTS - len(several)]
