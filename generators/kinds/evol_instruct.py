"""Instructions made harder or different in rounds, as WizardLM's Evol-Instruct (Xu et al. 2023), with its eliminators.

Released code leaves the elimination out; here it is whole: no gain over the parent, an apology for an answer, an answer
without content, and traces of the rewriting prompt each cost the evolution its row; so does a task that cannot be
answered. What is eliminated goes back into the pool unevolved, and the next round tries again from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import Field

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.generator import Ask, Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.material import Table
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.text.novelty import rouge_l
from windtunnel.generators.text.questions import question

DEPTH = ("constraints", "deepen", "concretise", "reasoning", "complicate_input")
OPERATIONS = (*DEPTH, "breadth")
SORRY_WORDS = 80
COPY = 0.95  # ROUGE-L F to the parent from which nothing was changed: the model need not be asked
_TRACES = re.compile(
    r"\b(?:old|new|rewritten|original|given|created|evolved) (?:task|prompt|instruction)\b|#\s*(?:new|rewritten)\b",
    re.IGNORECASE,
)
_STOP = (
    "a an the and or but if of to in on at for with from by is are was were be been it its this that these those i you "
    "he she we they my your his her our their as not no yes so do does did have has had will would can could"
)


class EvolInstruct(Generator):
    """Evolves the questions of the input `prompts` (at most `rows` of them) for `rounds` rounds; each success is a row.

    `answer_model` answers (default: the same model), `check_model` compares with the parent and looks whether the
    task can be answered (default: the same).
    """

    version: ClassVar[int] = 3
    primary: ClassVar[str | None] = "model"
    reads: ClassVar[tuple[str, ...]] = ("prompts",)
    prompts: ClassVar[tuple[str, ...]] = (
        "evol_instruct/answerable",
        "evol_instruct/breadth",
        "evol_instruct/depth",
        "evol_instruct/equal",
    )
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"model": "m", "rounds": 2, "operations": ["deepen"]},
            inputs={"prompts": [{"id": "p", "messages": [{"role": "user", "content": "Name a river."}]}]},
            replies={
                "evolve": ["Name the river with the widest delta.", "Here is the new task: name one."],
                "equal": ["Different"],
                "answerable": ["Yes"],
                "answer": ["The Ganges."],
            },
            kept=[["Name the river with the widest delta.", "The Ganges."]],
            dropped={"traces_of_prompt": 1},
        ),
    )

    model: str
    answer_model: str | None = None
    check_model: str | None = None
    rounds: int = Field(4, gt=0)
    operations: tuple[str, ...] = Field(OPERATIONS, min_length=1)  # drawn uniformly
    check_answerable: bool = True
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(0.9, gt=0, le=1)
    max_tokens: int = Field(2048, gt=0)

    def model_post_init(self, _context: Any) -> None:
        """Refuse operations that there are none of."""
        if unknown := set(self.operations) - set(OPERATIONS):
            raise ValueError(f"no operation is called {', '.join(sorted(unknown))}; there is {', '.join(OPERATIONS)}")

    def models(self) -> tuple[str, ...]:
        """Return the models that evolve, answer and check."""
        return tuple(dict.fromkeys([self.model, self.answer_model or self.model, self.check_model or self.model]))

    def total(self, inputs: dict[str, Table]) -> int:  # type: ignore[override]
        """Return the number of questions to evolve."""
        return min(self.rows, len(inputs["prompts"]))

    def generate(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per evolution: `rounds` for every question."""
        table = session.inputs["prompts"]
        total = self.total(dict(session.inputs))
        numbers = session.share.of(total)
        rows = table.spread(numbers, total)
        chains = (self._evolve(session, n, row) for n, row in zip(numbers, rows, strict=True))
        for found in session.drive(chains):
            yield from found

    def _evolve(self, session: Session, number: int, row: dict[str, Any]) -> Chain[Sequence[Outcome]]:
        asked = question(row)
        if asked is None:
            return [Dropped("no_prompt", "prompt", "", {"prompt": row.get("id", number)})]
        current, outcomes, ancestors = asked.text, [], [str(row.get("id", number))]
        for turn in range(self.rounds):
            about = {"prompt": ancestors[0], "ancestors": list(ancestors), "round": turn}
            about |= {"licence": asked.licence, "group": asked.group}
            text, outcome = yield from self._round(session, number * self.rounds + turn, current, about)
            outcomes.append(outcome)
            if isinstance(outcome, Kept):
                current = text
                ancestors.append(outcome.row["id"])
        return outcomes

    def _round(self, session: Session, number: int, parent: str, about: dict[str, Any]) -> Chain[tuple[str, Outcome]]:
        """Return (the evolved instruction, its row or why it was eliminated)."""
        operation = session.random("operation", number).choice(self.operations)
        name = "breadth" if operation == "breadth" else "depth"
        prompt = load(f"evol_instruct/{name}").render(operation=operation, instruction=parent)
        (new,) = yield [self._write(session, "evolve", number, prompt, self.model)]
        text, heard = new.text.strip(), {"evolve": new}
        reason = self._eliminated(new, parent)
        if reason is None:
            checks = yield self._checks(session, number, parent, text)
            heard |= dict(zip(("equal", "answerable"), checks, strict=False))
            reason = _check_says(checks)
        answer = Completion()
        if reason is None:
            (answer,) = yield [self._write(session, "answer", number, text, self.answer_model or self.model)]
            heard["answer"] = answer
            reason = _poor(answer)
        lineage = self.lineage(session, heard, operation=operation, **about)
        broken = next((c for c in heard.values() if not c.ok), None)
        if broken is not None:
            return text, Failed(str(broken.error), operation, broken.detail, lineage)
        if reason is not None:
            return text, Dropped(reason, operation, f"{text}\n\n{answer.text}".strip(), lineage)
        chat = [message("user", text), message("assistant", answer.text.strip())]
        return text, Kept(conversation_row(chat, session.kind, lineage))

    def _eliminated(self, new: Completion, parent: str) -> str | None:
        """Return why an evolution falls before anything else is asked."""
        text = new.text.strip()
        if not new.ok or not text:
            return "empty"
        if new.finish_reason == "length":
            return "truncated"
        if _TRACES.search(text) and not _TRACES.search(parent):
            return "traces_of_prompt"
        return "no_gain" if rouge_l(text, parent, "unicode") > COPY else None

    def _checks(self, session: Session, number: int, parent: str, text: str) -> list[Ask]:
        prompts = {"equal": load("evol_instruct/equal").render(first=parent, second=text)}
        if self.check_answerable:
            prompts["answerable"] = load("evol_instruct/answerable").render(instruction=text)
        return [
            session.ask(
                purpose, number, [message("user", prompt)], model=self.check_model or self.model, temperature=0.0,
                max_tokens=4, seed=None,
            )
            for purpose, prompt in prompts.items()
        ]  # fmt: skip

    def _write(self, session: Session, purpose: str, number: int, text: str, model: str) -> Ask:
        params = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return session.ask(purpose, number, [message("user", text)], model=model, **params)


def _check_says(checks: Sequence[Completion]) -> str | None:
    if checks[0].text.strip().lower().startswith("equal"):
        return "no_gain"
    if len(checks) > 1 and checks[1].text.strip().lower().startswith("no"):
        return "not_answerable"
    return None


def _poor(answer: Completion) -> str | None:
    """Return why an answer shows that the task was too much: an apology in few words, or no content word at all."""
    words = re.findall(r"\w+", answer.text.lower())
    if answer.finish_reason == "length":
        return "truncated"
    if "sorry" in words and len(words) < SORRY_WORDS:
        return "apology"
    return "no_content" if set(words) <= set(_STOP.split()) else None
