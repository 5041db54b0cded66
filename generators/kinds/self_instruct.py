"""Instructions and examples bootstrapped from seed tasks, as Self-Instruct (Wang et al. 2022) makes them.

Each request shows 6 human tasks and 2 of the model (8 human ones at first) and lets the model continue the list.
Entries that pass the filters and are new by ROUGE-L join the pool. Accepted instructions are classified: for
classification tasks the label comes first and then an input for it, otherwise one label dominates; for the rest the
input comes first.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from windtunnel.generators.core.generator import Ask, Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.origin import Origin
from windtunnel.generators.core.outcome import models_of
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.core.two_stages import Candidate, Candidates, TwoStages
from windtunnel.generators.text import instances, seed_tasks
from windtunnel.generators.text.instructions import numbered
from windtunnel.generators.text.pool import Pool

CLASSIFICATION_SHOTS, OTHER_SHOTS = 12, 19  # as in the paper
INSTANCE_SHOTS = 8
PRIOR_ACCEPTED = 4  # instructions expected of a request before the first answer


class SelfInstruct(Generator):
    """Self-Instruct on one model. A row is one worked example; `rows` of them end the run, if no bound does before.

    `lag` is the most prompts in flight; what a prompt knows of earlier ones depends on the order of the results, not
    on timing. `requests_at_most` (default: 4 per row wanted, at least 64) and `patience` (requests in a row without a
    new instruction) bound the run. `interface`: `completion` continues a list, `chat` asks for one; by default,
    completion where the model completes raw text (a server started here, or a `url:` with `dialect: vllm`).
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
            # a second list is requested while the examples are in flight, and arrives after the last row wanted
            dropped={"too_short": 1, "not_for_text": 1, "output_is_input": 1, "surplus": 3},
        ),
    )

    model: str
    interface: Literal["completion", "chat"] | None = None
    seeds: str | None = None  # a JSON Lines file of seed tasks; None: the 175 that are shipped
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

    def on(self, raw: Collection[str]) -> Self:
        """Settle the interface by what the model accepts."""
        by_model: Literal["completion", "chat"] = "completion" if self.model in raw else "chat"
        return self if self.interface else self.model_copy(update={"interface": by_model})

    def fingerprint(self) -> dict[str, Any]:
        """Add the hash of the seed file."""
        return super().fingerprint() | {"seeds": seed_tasks.digest(self.seeds)}

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per candidate: a refused instruction, or each example of an accepted one."""
        yield from _Run(self, session).outcomes()


class _Run(TwoStages):
    """One run: the pool with its gates, and the number of requests in a row without a new instruction."""

    stage = "instruction"

    def __init__(self, kind: SelfInstruct, session: Session) -> None:
        bound = kind.requests_at_most or max(64, 4 * kind.rows)
        super().__init__(session, kind.rows, bound, PRIOR_ACCEPTED, kind.lag)
        self.kind = kind
        self.tasks = seed_tasks.read(kind.seeds)
        self.pool = Pool(self.tasks, kind.similarity, kind.near_duplicate, kind.words, kind.ascii_start)
        self.idle = 0

    def outcomes(self) -> Iterator[Outcome]:
        """Yield all outcomes, and note in the journal what ended the run."""
        yield from super().outcomes()
        reason = "rows" if self.kept >= self.target else "requests" if self.requests >= self.bound else "patience"
        self.session.journal[f"stopped_by_{reason}"] += 1
        self.session.journal["instructions_accepted"] = self.accepted

    def patient(self) -> bool:
        return self.idle < self.kind.patience

    def request(self, number: int) -> Chain[Candidates]:
        """Ask for more instructions; return candidates in the order of the list, a truncated one as dropped."""
        kind, rng = self.kind, self.session.random("prompt", number)
        mine = self.pool.own
        own = rng.sample(range(len(mine)), min(kind.machine_examples, len(mine)))
        human = rng.sample(self.tasks, min(kind.human_examples + kind.machine_examples - len(own), len(self.tasks)))
        shown = [mine[i] for i in own] + [task.instruction for task in human]
        rng.shuffle(shown)
        (reply,) = yield [self._ask_more(number, shown)]
        facts = {"request": number, "human": sorted(task.id for task in human), "own": sorted(own)}
        lineage = kind.lineage(self.session, {"bootstrap": reply}, **facts)
        if not reply.ok:
            return Candidates([Failed.of(reply, "bootstrap", lineage)])
        items = numbered(reply.text, len(shown) + 1, reply.truncated)
        if not items:
            return Candidates([Dropped("no_instruction", "bootstrap", reply.text, lineage)])
        return Candidates(
            [
                Candidate(item.text, lineage, [Origin.of_text(item.text)])
                if item.complete
                else Dropped("truncated", "bootstrap", item.text, lineage)
                for item in items
            ]
        )

    def _ask_more(self, number: int, shown: list[str]) -> Ask:
        kind = self.kind
        params = {"model": kind.model, "presence_penalty": kind.presence_penalty, **kind.sampling}
        if kind.interface == "chat":
            text = load("self_instruct/bootstrap_chat").render(instructions=shown)
            return self.session.chat("bootstrap", number, text, **params)
        # a stop such as "16." would also match inside "2016.": only a number at the start of a line may stop the reply
        stop = ("\n\n", f"\n{len(shown) + 9}.")
        text = load("self_instruct/bootstrap").render(instructions=shown)
        return self.session.ask("bootstrap", number, text, stop=stop, **params)

    def judged(self, entries: Sequence[Outcome | Candidate]) -> Iterator[Outcome]:
        """Accept new instructions into the pool and yield the others with the reason."""
        before = self.accepted
        for entry in entries:
            if isinstance(entry, Outcome):
                yield entry
                continue
            full = self.kept >= self.target
            reason, nearest = ("surplus", None) if full else self.pool.refusal(entry.text)
            lineage = {**entry.lineage, **self.pool.about(nearest)}
            if reason is not None:
                yield Dropped(reason, "instruction", entry.text, lineage)
                continue
            self.accept(replace(entry, lineage=lineage))
            self.pool.accept(entry.text)
        self.idle = 0 if self.accepted > before else self.idle + 1

    def counted(self, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Yield the outcomes of an instruction, with rows beyond the number wanted as surplus."""
        for outcome in outcomes:
            if isinstance(outcome, Kept) and self.kept >= self.target:
                row = outcome.row
                yield outcome.refused("surplus", "example", row["messages"][-1]["content"], {"id": row["id"]})
                continue
            self.kept += isinstance(outcome, Kept)
            yield outcome

    def develop(self, index: int, candidate: Candidate) -> Chain[Sequence[Outcome]]:
        """Classify an instruction, ask for examples in the order that fits, and drop the unfit ones."""
        kind, session, text = self.kind, self.session, candidate.text
        prompt = load("self_instruct/classify").render(examples=_classify_shots(self.tasks), instruction=text)
        (verdict,) = yield [self._answer("classify", index, prompt, 3, ("\n", "Task"))]
        word = verdict.text.strip().strip(".'\"").lower()
        label = word.startswith("yes")
        if verdict.ok and not word.startswith(("yes", "no")):
            session.journal["classify_unclear"] += 1  # taken as no, as in the paper's code
        name = "output_first" if label else "input_first"
        prompt = load(f"self_instruct/{name}").render(examples=_shots(self.tasks, label), instruction=text)
        stop = ("\nTask:", f"\nExample {kind.examples_at_most + 1}")
        (reply,) = yield [self._answer("example", index, prompt, kind.example_tokens, stop, presence_penalty=1.5)]
        models = candidate.lineage["models"] | models_of({"classify": verdict, "example": reply})
        lineage = candidate.lineage | {"instruction": index, "classification": label, "models": models}
        if not reply.ok:
            return [Failed.of(reply, name, lineage, parents=candidate.parents)]
        examples = (instances.output_first if label else instances.input_first)(reply.text, reply.truncated)
        if not examples:
            return [Dropped("no_example", name, reply.text, lineage | {"text": text}, parents=candidate.parents)]
        rng = session.random("example", index)
        return [
            self._row(replace(candidate, lineage=lineage | {"example": i}), example, rng)
            for i, example in enumerate(instances.clean(examples, kind.examples_at_most, rng))
        ]

    def _answer(self, purpose: str, index: int, prompt: str, tokens: int, stop: tuple[str, ...], **params: Any) -> Ask:
        """Return a request that is answered greedily."""
        text: Any = prompt if self.kind.interface != "chat" else [message("user", prompt)]
        params |= {"temperature": 0.0, "max_tokens": tokens, "stop": stop, "seed": None}
        return self.session.ask(purpose, index, text, model=self.kind.model, **params)

    def _row(self, candidate: Candidate, example: instances.Example, rng: random.Random) -> Outcome:
        text, lineage, parents = candidate.text, candidate.lineage, candidate.parents
        if example.reason is not None:
            raw = f"{text}\n{example.input}\n{example.output}"
            return Dropped(example.reason, "example", raw, lineage, parents=parents)
        layout = rng.randrange(4) if self.kind.layouts == "varied" else 0
        turn = load("self_instruct/user_turn").render(instruction=text, input=example.input, layout=layout)
        chat = [message("user", turn), message("assistant", example.output)]
        return Kept(conversation_row(chat, self.session.kind), lineage, parents=parents)


def _classify_shots(tasks: tuple[seed_tasks.SeedTask, ...]) -> list[seed_tasks.SeedTask]:
    """Return 12 classification tasks spread evenly among 19 others."""
    labels = [t for t in tasks if t.is_classification][:CLASSIFICATION_SHOTS]
    others = [t for t in tasks if not t.is_classification][:: max(1, len(tasks) // 24)][:OTHER_SHOTS]
    ranked = [((i + 0.5) / len(group), task) for group in (labels, others) for i, task in enumerate(group)]
    return [task for _, task in sorted(ranked, key=lambda pair: (pair[0], pair[1].id))]


def _shots(tasks: tuple[seed_tasks.SeedTask, ...], label: bool) -> list[seed_tasks.SeedTask]:
    """Return tasks with their examples: those with several examples first, then every n-th of the rest."""
    group = [t for t in tasks if t.is_classification == label]
    several = [t for t in group if len(t.instances) > 1][: INSTANCE_SHOTS // 2]
    rest = [t for t in group if t not in several]
    return several + rest[:: max(1, len(rest) // (INSTANCE_SHOTS - len(several)))][: INSTANCE_SHOTS - len(several)]
