"""Instruction, input and output in one request from three seed tasks, as Alpaca (Taori et al. 2023) makes them.

Unlike in the original, tasks are constrained by a schema instead of parsed from a numbered text, inputs such as "None"
are empty, and tasks that need images are refused. With `answer_model`, another model writes the outputs.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from windtunnel.generators.core.generator import Chain, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.origin import Origin
from windtunnel.generators.core.outcome import models_of
from windtunnel.generators.core.prompt import load
from windtunnel.generators.core.rows import conversation_row, message
from windtunnel.generators.core.session import Session
from windtunnel.generators.judging.ratings import json_object, object_schema
from windtunnel.generators.text import instances, seed_tasks
from windtunnel.generators.text.instructions import sentence_case
from windtunnel.generators.text.pool import Pool

_TASK = object_schema({name: {"type": "string"} for name in ("instruction", "input", "output")})


class Alpaca(Generator):
    """Alpaca on one model; `answer_model`, if given, writes the outputs again from instruction and input.

    `lag`: the most requests in flight; fewer are sent where fewer are expected to give the missing rows, by the rows of
    the requests before. `requests_at_most` (default: 4 times the least number that can suffice, at least 32) bounds the
    run.
    """

    version: ClassVar[int] = 3
    primary: ClassVar[str | None] = "model"
    asks: ClassVar[tuple[str, ...]] = ("model", "answer_model")
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

    def requests_per_row(self) -> Sequence[tuple[str, float]]:
        """Return a share of a list of tasks, and the answer of another model."""
        return [(self.model, 1 / self.tasks_per_request), *([(self.answer_model, 1.0)] if self.answer_model else [])]

    def fingerprint(self) -> dict[str, Any]:
        """Add the hash of the seed file."""
        return super().fingerprint() | {"seeds": seed_tasks.digest(self.seeds)}

    def outcomes(self, session: Session) -> Iterator[Outcome]:
        """Yield one outcome per task that the model wrote."""
        tasks = seed_tasks.read(self.seeds)
        pool = Pool(tasks, self.similarity, self.near_duplicate, self.words, self.ascii_start)
        bound = self.requests_at_most or max(32, 4 * self.rows // self.tasks_per_request)

        answered = 0

        def missing() -> int:
            per_request = (session.kept + self.tasks_per_request) / (answered + 1)  # all new, before the first
            return min(self.lag, math.ceil((self.rows - session.kept) / per_request))

        requests = (self._request(session, number, tasks) for number in range(bound))
        for entries in session.drive(requests, missing, self.lag):
            answered += 1
            yield from (entry for entry in entries if isinstance(entry, Outcome))
            chains = []
            for task in (entry for entry in entries if not isinstance(entry, Outcome)):
                text = task["instruction"]
                full = session.kept + len(chains) >= self.rows
                reason, nearest = ("surplus", None) if full else pool.refusal(text)
                lineage = task["lineage"] | pool.about(nearest)
                if reason is not None:
                    yield Dropped(reason, "instruction", text, lineage)
                    continue
                pool.accept(text)
                chains.append(self._row(session, len(pool.own), {**task, "lineage": lineage}))
            yield from session.drive(chains)
        session.journal["stopped_by_rows" if session.kept >= self.rows else "stopped_by_requests"] += 1

    def _request(
        self, session: Session, number: int, tasks: Sequence[seed_tasks.SeedTask]
    ) -> Chain[Sequence[Outcome | Mapping[str, Any]]]:
        """Ask for tasks; return the complete ones as mappings, the others as outcomes."""
        shown = session.random("request", number).sample(tasks, min(self.seed_examples, len(tasks)))
        lines = [
            json.dumps({"instruction": task.instruction} | task.instances[0].model_dump(), ensure_ascii=False)
            for task in shown
        ]
        text = load("alpaca/tasks").render(examples=lines, count=self.tasks_per_request)
        listed = {"type": "array", "items": _TASK, "minItems": 1, "maxItems": self.tasks_per_request}
        schema = object_schema({"tasks": listed})
        (reply,) = yield [session.chat("tasks", number, text, model=self.model, schema=schema, **self.sampling)]
        lineage = self.lineage(session, {"tasks": reply}, request=number, human=[task.id for task in shown])
        written = json_object(reply.text).get("tasks")
        if not isinstance(written, list) or not written:
            if not reply.ok:
                return [Failed.of(reply, "tasks", lineage)]
            return [Dropped("no_task", "tasks", reply.text, lineage)]
        return [self._task(task, lineage | {"place": place}) for place, task in enumerate(written)]

    def _task(self, task: Any, lineage: dict[str, Any]) -> Outcome | Mapping[str, Any]:
        if not isinstance(task, dict) or not all(isinstance(task.get(name), str) for name in _TASK["properties"]):
            return Dropped("no_task", "tasks", str(task), lineage)
        example = instances.Example(instances.meant(task["input"]), task["output"].strip())
        (checked,) = instances.clean([example], 1, random.Random(0))
        if checked.reason is not None and not (self.answer_model and checked.reason == "empty_output"):
            return Dropped(checked.reason, "tasks", str(task), lineage)
        instruction = sentence_case(" ".join(task["instruction"].split()))
        if not instruction:
            return Dropped("no_task", "tasks", str(task), lineage)
        return {"instruction": instruction, "input": example.input, "output": example.output, "lineage": lineage}

    def _row(self, session: Session, number: int, task: Mapping[str, Any]) -> Chain[Outcome]:
        """Return the row, with an answer of `answer_model` if there is one."""
        turn = load("self_instruct/user_turn").render(instruction=task["instruction"], input=task["input"], layout=0)
        lineage, output, parents = task["lineage"], task["output"], [Origin.of_text(task["instruction"])]
        if self.answer_model is not None:
            (reply,) = yield [
                session.greedy("answer", number, turn, model=self.answer_model, max_tokens=self.answer_tokens)
            ]
            lineage = lineage | {"models": lineage["models"] | models_of({"answer": reply})}
            if not reply.ok:
                return Failed.of(reply, "answer", lineage, parents=parents)
            if reply.truncated:
                return Dropped("truncated", "answer", reply.text, lineage, parents=parents)
            output = reply.text.strip()
        row = conversation_row([message("user", turn), message("assistant", output)], session.kind)
        return Kept(row, lineage, parents=parents)
