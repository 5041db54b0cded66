"""Instruction, input and output in one go from three seed tasks, as Alpaca (Taori et al. 2023) makes them.

Against the original's faults: tasks come by schema instead of a numbered text whose numbers and stops cut answers; an
input that only says that there is none is none; what asks for pictures is refused; and with `answer_model` the outputs
are written again by another model, one at a time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from windtunnel.generators.client.completion import Completion
from windtunnel.generators.core.generator import Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.judging.ratings import json_object
from windtunnel.generators.text import instances, seed_tasks
from windtunnel.generators.text.groups import text_group
from windtunnel.generators.text.instructions import sentence_case
from windtunnel.generators.text.pool import Pool

_TEXT = {"type": "string"}
_TASK = {
    "type": "object",
    "properties": {"instruction": _TEXT, "input": _TEXT, "output": _TEXT},
    "required": ["instruction", "input", "output"],
    "additionalProperties": False,
}


class Alpaca(Generator):
    """Alpaca on one model; `answer_model`, if given, writes the outputs anew from instruction and input.

    `lag`: request k knows what was accepted from the requests up to k - lag. `requests_at_most` (default 4 times what
    would do at best, 32 at least) bounds the run.
    """

    version: ClassVar[int] = 2
    primary: ClassVar[str | None] = "model"
    sequential: ClassVar[bool] = True
    prompts: ClassVar[tuple[str, ...]] = ("alpaca/tasks", "self_instruct/user_turn")
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            params={"model": "m", "rows": 1, "tasks_per_request": 2, "lag": 1},
            replies={
                "tasks": [
                    '{"tasks": [{"instruction": "draw a map of Rome.", "input": "", "output": "x"},'
                    ' {"instruction": "name the EU country of this city.", "input": "Lisbon", "output": "Portugal"}]}'
                ]
            },
            kept=[["Name the EU country of this city.\n\nLisbon", "Portugal"]],
            dropped={"not_for_text": 1},
        ),
    )

    model: str
    answer_model: str | None = None
    seeds: str | None = None
    seed_examples: int = Field(3, gt=0)
    tasks_per_request: int = Field(20, gt=0)
    lag: int = Field(16, gt=0)
    requests_at_most: int | None = Field(None, gt=0)
    similarity: float = Field(0.7, gt=0, le=1)
    near_duplicate: float | None = Field(0.9, gt=0, le=1)
    words: Literal["ascii", "unicode"] = "ascii"
    ascii_start: bool = True
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(3072, gt=0)
    answer_tokens: int = Field(1024, gt=0)

    def models(self) -> tuple[str, ...]:
        """Return the model, and the one that answers."""
        return tuple(dict.fromkeys([self.model, self.answer_model or self.model]))

    def fingerprint(self) -> dict[str, Any]:
        """Add the seed file's content."""
        return super().fingerprint() | {"seeds": seed_tasks.digest(self.seeds)}

    def generate(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per task that the model wrote."""
        tasks = seed_tasks.read(self.seeds)
        pool = Pool(tasks, self.similarity, self.near_duplicate, self.words, self.ascii_start)
        bound = self.requests_at_most or max(32, 4 * self.rows // self.tasks_per_request)
        kept = 0

        def wanted() -> int:
            return self.lag if kept < self.rows else 0

        requests = (self._request(session, number, tasks) for number in range(bound))
        for found in session.drive(requests, wanted, self.lag):
            yield from (each for each in found if not isinstance(each, Mapping))
            chains = []
            for task in (dict(each) for each in found if isinstance(each, Mapping)):
                reason, nearest = (
                    ("surplus", None) if kept + len(chains) >= self.rows else pool.refusal(task["instruction"])
                )
                lineage = task["lineage"] | pool.about(nearest)
                if reason is not None:
                    yield Dropped(reason, "instruction", task["instruction"], lineage)
                    continue
                pool.accept(task["instruction"])
                chains.append(self._row(session, len(pool.own), task | {"lineage": lineage}))
            for outcome in session.drive(chains):
                kept += isinstance(outcome, Kept)
                yield outcome
        session.journal["stopped_by_rows" if kept >= self.rows else "stopped_by_requests"] += 1

    def _request(
        self, session: Session, number: int, tasks: Sequence[seed_tasks.SeedTask]
    ) -> Chain[Sequence[Outcome | Mapping[str, Any]]]:
        """Ask for tasks; return those that have all their parts."""
        shown = session.random("request", number).sample(tasks, min(self.seed_examples, len(tasks)))
        lines = [
            json.dumps({"instruction": task.instruction} | task.instances[0].model_dump(), ensure_ascii=False)
            for task in shown
        ]
        text = load("alpaca/tasks").render(examples=lines, count=self.tasks_per_request)
        listed = {"type": "array", "items": _TASK, "minItems": 1, "maxItems": self.tasks_per_request}
        schema = {
            "type": "object",
            "properties": {"tasks": listed},
            "required": ["tasks"],
            "additionalProperties": False,
        }
        (reply,) = yield [
            session.ask(
                "tasks", number, [message("user", text)], model=self.model, schema=schema,
                temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens,
            )
        ]  # fmt: skip
        lineage = self.lineage(session, {"tasks": reply}, request=number, human=[task.id for task in shown])
        found = json_object(reply.text).get("tasks")
        if not isinstance(found, list) or not found:
            if not reply.ok:
                return [Failed(str(reply.error), "tasks", reply.detail, lineage)]
            return [Dropped("no_task", "tasks", reply.text, lineage)]
        return [self._task(task, lineage | {"place": place}) for place, task in enumerate(found)]

    def _task(self, task: Any, lineage: dict[str, Any]) -> Outcome | Mapping[str, Any]:
        if not isinstance(task, dict) or not all(isinstance(task.get(name), str) for name in _TASK["properties"]):
            return Dropped("no_task", "tasks", str(task), lineage)
        given = instances.meant(task["input"])
        example = instances.Example(given, task["output"].strip())
        (judged,) = instances.clean([example], 1, random.Random(0))
        if judged.reason is not None and not (self.answer_model and judged.reason == "empty_output"):
            return Dropped(judged.reason, "tasks", str(task), lineage)
        instruction = sentence_case(" ".join(task["instruction"].split()))
        if not instruction:
            return Dropped("no_task", "tasks", str(task), lineage)
        return {"instruction": instruction, "input": given, "output": example.output, "lineage": lineage}

    def _row(self, session: Session, number: int, task: Mapping[str, Any]) -> Chain[Outcome]:
        """Return the row, with an answer of its own where that is wanted."""
        turn = load("self_instruct/user_turn").render(instruction=task["instruction"], input=task["input"], layout=0)
        lineage, output = task["lineage"] | {"group": text_group(task["instruction"])}, task["output"]
        if self.answer_model is not None:
            (reply,) = yield [
                session.ask(
                    "answer", number, [message("user", turn)], model=self.answer_model, temperature=0.0,
                    max_tokens=self.answer_tokens, seed=None,
                )
            ]  # fmt: skip
            lineage["models"] = lineage["models"] | {"answer": [reply.model, reply.revision]}
            if (refused := _unusable(reply, lineage)) is not None:
                return refused
            output = reply.text.strip()
        return Kept(conversation_row([message("user", turn), message("assistant", output)], session.kind, lineage))


def _unusable(reply: Completion, lineage: dict[str, Any]) -> Outcome | None:
    if not reply.ok:
        return Failed(str(reply.error), "answer", reply.detail, lineage)
    return Dropped("truncated", "answer", reply.text, lineage) if reply.finish_reason == "length" else None
