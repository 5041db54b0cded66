"""Instructions made harder or different in rounds, as WizardLM's Evol-Instruct (Xu et al. 2023), with its eliminators.

The released code omits the elimination. Here an evolution is dropped without gain over its parent, with an apology
or nothing but stop words for an answer, with traces of the rewriting prompt, and if it cannot be answered. The next
round then starts from the unevolved parent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.generator import Ask, Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, dialogue, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.text.novelty import rouge_l
from windtunnel.generators.text.questions import question

DEPTH = ("constraints", "deepen", "concretise", "reasoning", "complicate_input")
OPERATIONS = (*DEPTH, "breadth")
SORRY_WORDS = 80
COPY = 0.95  # ROUGE-L F to the parent above which the text counts as unchanged, without asking the model
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

    `answer_model` answers; `check_model` compares with the parent and checks that the task can be answered (default of
    both: `model`).
    """

    version: ClassVar[int] = 3
    primary: ClassVar[str | None] = "model"
    asks: ClassVar[tuple[str, ...]] = ("model", "answer_model", "check_model")
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
            inputs={"prompts": [dialogue("Name a river.")]},
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
        """Raise ValueError for unknown operations."""
        if unknown := set(self.operations) - set(OPERATIONS):
            raise ValueError(f"no operation is called {', '.join(sorted(unknown))}; there is {', '.join(OPERATIONS)}")

    def requests_per_row(self) -> Sequence[tuple[str, float]]:
        """Return an evolution, its checks and its answer."""
        checks = (self.check_model or self.model, 1.0 + self.check_answerable)
        return [(self.model, 1.0), checks, (self.answer_model or self.model, 1.0)]

    def attempt(self, session: Session, number: int, record: Record) -> Chain[Sequence[Outcome]]:
        """Evolve a question for `rounds` rounds; each round ends in one outcome."""
        asked = question(record)
        if asked is None:
            return [Dropped("no_prompt", "prompt", "", {"prompt": record.get("id", number)})]
        current, outcomes, ancestors = asked.text, [], [str(record.get("id", number))]
        for turn in range(self.rounds):
            about = {"prompt": ancestors[0], "ancestors": list(ancestors), "round": turn}
            text, outcome = yield from self._round(session, number * self.rounds + turn, current, about)
            outcomes.append(outcome)
            if isinstance(outcome, Kept):
                current = text
                ancestors.append(outcome.row["id"])
        return outcomes

    def _round(self, session: Session, number: int, parent: str, about: dict[str, Any]) -> Chain[tuple[str, Outcome]]:
        """Return (the evolved instruction, its row or the reason of its elimination)."""
        operation = session.random("operation", number).choice(self.operations)
        name = "breadth" if operation == "breadth" else "depth"
        prompt = load(f"evol_instruct/{name}").render(operation=operation, instruction=parent)
        (new,) = yield [session.chat("evolve", number, prompt, model=self.model, **self.sampling)]
        text, replies = new.text.strip(), {"evolve": new}
        reason = self._eliminated(new, parent)
        if reason is None:
            checks = yield self._checks(session, number, parent, text)
            replies |= dict(zip(("equal", "answerable"), checks, strict=False))
            reason = _check_reason(checks)
        answer = Completion()
        if reason is None:
            model = self.answer_model or self.model
            (answer,) = yield [session.chat("answer", number, text, model=model, **self.sampling)]
            replies["answer"] = answer
            reason = _answer_reason(answer)
        lineage = self.lineage(session, replies, operation=operation, **about)
        broken = next((reply for reply in replies.values() if not reply.ok), None)
        if broken is not None:
            return text, Failed.of(broken, operation, lineage)
        if reason is not None:
            return text, Dropped(reason, operation, f"{text}\n\n{answer.text}".strip(), lineage)
        chat = [message("user", text), message("assistant", answer.text.strip())]
        return text, Kept(conversation_row(chat, session.kind), lineage)

    def _eliminated(self, new: Completion, parent: str) -> str | None:
        """Return why an evolution is dropped before any check is asked."""
        text = new.text.strip()
        if not new.ok or not text:
            return "empty"
        if new.truncated:
            return "truncated"
        if _TRACES.search(text) and not _TRACES.search(parent):
            return "traces_of_prompt"
        return "no_gain" if rouge_l(text, parent, "unicode") > COPY else None

    def _checks(self, session: Session, number: int, parent: str, text: str) -> list[Ask]:
        prompts = {"equal": load("evol_instruct/equal").render(first=parent, second=text)}
        if self.check_answerable:
            prompts["answerable"] = load("evol_instruct/answerable").render(instruction=text)
        model = self.check_model or self.model
        return [session.greedy(name, number, prompt, model=model, max_tokens=4) for name, prompt in prompts.items()]


def _check_reason(checks: Sequence[Completion]) -> str | None:
    if checks[0].text.strip().lower().startswith("equal"):
        return "no_gain"
    if len(checks) > 1 and checks[1].text.strip().lower().startswith("no"):
        return "not_answerable"
    return None


def _answer_reason(answer: Completion) -> str | None:
    """Return why an answer shows that the task was too hard: a short apology, or nothing but stop words."""
    words = re.findall(r"\w+", answer.text.lower())
    if answer.truncated:
        return "truncated"
    if "sorry" in words and len(words) < SORRY_WORDS:
        return "apology"
    return "no_content" if set(words) <= set(_STOP.split()) else None
