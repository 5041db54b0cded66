"""The step that asks a trained model held-out conversations and compares its replies with their answers.

The plan runs it once per training run. Questions have the sources of their rows, by which effects are shown.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, canonical_json, write_parquet, write_text
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.eval.task_scores import ITEMS, summary
from windtunnel.trainer.tasks._task import first_line

if TYPE_CHECKING:
    from windtunnel.trainer.eval.replies import Replier

# of the questions; only rows of a split have `group`
COLUMNS = ("id", "source", "group", "messages", "extras", "label")
MINUS = "-\u2212"
SOURCES = "sources.json"


class Question(NamedTuple):
    """A conversation up to its last turn of the user, and the answer that follows."""

    id: str
    source: str
    group: str
    prompt: list[dict[str, str]]
    answer: str


class ExactAnswers(Work):
    """Writes `items.parquet`, `sources.json`. Inputs: `run` with `model/`, `questions` with conversations in `rows/`.

    At most `questions` are asked, of each source as many where it has them, those with the lowest hashes of their ids:
    which ones does not depend on the model. A reply is right if it equals the answer but for case, white space and
    outer punctuation; of a reply to a question whose answer is one line, the first line counts. `chance` is the share
    of its source's questions that the most frequent answer among them gets right. The nats of an answer are those
    without the token that ends it.

    Not asked, by SOURCE:REASON: `special_token` and `too_long`, as of the model's template and context, and
    `answer_too_long`, an answer of more than `max_tokens` tokens, which no reply could equal.
    """

    version: ClassVar[int] = 2
    questions: int = Field(default=200, gt=0)
    max_tokens: int = Field(default=32, gt=0)  # of a reply
    batch_tokens: int = Field(default=4096, gt=0)
    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.trainer.eval.replies import Replier
        from windtunnel.trainer.runtime.numerics import numerics

        found, counts = _questions(inputs["questions"])
        chosen = _balanced(found, self.questions)
        with numerics(self.threads, 0, self.device):
            replier = Replier(inputs["run"].path / "model", self.batch_tokens, self.device)
            reasons = [self._refusal(replier, question) for question in chosen]
            asked = [question for question, reason in zip(chosen, reasons, strict=True) if reason is None]
            if not asked:
                raise InputError(
                    f"none of {counts.seen:,} rows of {inputs['questions'].path.name} can be asked: "
                    f"{', '.join(sorted({reason for reason in reasons if reason} | set(counts.dropped)))}; raise the "
                    "`context` of the model or `evaluate.answers.max_tokens`"
                )
            prompts, answers = [one.prompt for one in asked], [one.answer for one in asked]
            replies = replier.free_replies(prompts, self.max_tokens)
            nats = replier.answer_nats(prompts, answers, ended=False)
        lines = _lines(asked, replies, nats.tolist())
        write_parquet(out / "items.parquet", pa.Table.from_pylist(lines, ITEMS))
        refused = Counter(f"{q.source}:{why}" for q, why in zip(chosen, reasons, strict=True) if why is not None)
        write_text(out / SOURCES, canonical_json(summary(lines, refused)))
        counts.kept = len(asked)
        counts.dropped |= {"beyond_the_number": len(found) - len(chosen), **dict(sorted(refused.items()))}
        return counts.check("exact answers")

    def _refusal(self, replier: Replier, question: Question) -> str | None:
        length = replier.length(question.answer)
        if length > self.max_tokens:
            return "answer_too_long"
        return replier.refusal(question.prompt, self.max_tokens, question.answer)


def right(reply: str, answer: str) -> bool:
    """Return whether a reply equals an answer but for case, white space and outer punctuation."""
    said = reply if len(answer.strip().splitlines()) > 1 else first_line(reply)
    return _compared(said) == _compared(answer)


def _compared(text: str) -> str:
    """Return a text folded, with single spaces, without outer punctuation; a sign before a digit stays."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    marks = [unicodedata.category(c)[0] in "PSZ" for c in folded]
    if all(marks):
        return folded
    start, end = marks.index(False), len(marks) - marks[::-1].index(False)
    signed = start > 0 and folded[start - 1] in MINUS and folded[start].isdigit()
    return ("-" if signed else "") + folded[start:end]


def _questions(artifact: Artifact) -> tuple[list[Question], Counts]:
    """Return the conversations that end in an answer, each prompt once, and the counts of all."""
    found: dict[str, Question] = {}
    counts, dropped = Counts(), Counter[str]()
    for file in artifact.files("rows"):
        names = pq.read_schema(file).names
        for row in pq.read_table(file, columns=[name for name in COLUMNS if name in names]).to_pylist():
            counts.seen += 1
            *prompt, last = row["messages"] or [{}]
            if row.get("extras"):
                dropped["tools_or_reasoning"] += 1
            elif (
                not prompt or prompt[-1]["role"] != "user" or last["role"] != "assistant" or not last["content"].strip()
            ):
                dropped["no_answer"] += 1
            elif row.get("label") is False:
                dropped["undesirable_answer"] += 1
            elif (key := canonical_json(prompt)) in found:
                dropped["asked_twice"] += 1
            else:
                group = row.get("group") or row["id"]
                found[key] = Question(row["id"], row["source"], group, prompt, last["content"].strip())
    counts.dropped = dict(sorted(dropped.items()))
    return list(found.values()), counts


def _balanced(questions: Sequence[Question], number: int) -> list[Question]:
    """Return so many questions, taken from the sources in turn, by the hash of their ids."""
    hashed = sorted((blake3(question.id.encode()).digest(), question) for question in questions)
    place, ranked = Counter[str](), []
    for digest, question in hashed:
        ranked.append((place[question.source], digest, question))
        place[question.source] += 1
    return [question for _, _, question in sorted(ranked)[:number]]


def _lines(asked: Sequence[Question], replies: Sequence[str], nats: Sequence[float]) -> list[dict[str, Any]]:
    answers: dict[str, Counter[str]] = {}
    for question in asked:
        answers.setdefault(question.source, Counter())[_compared(question.answer)] += 1
    chance = {source: max(found.values()) / found.total() for source, found in answers.items()}
    return [
        {
            "task": question.source,
            "document": question.id,
            "source": question.source,
            "group": question.group,
            "prompt": question.prompt[-1]["content"],
            "answer": question.answer,
            "reply": reply.encode("utf-8", "replace").decode(),
            "correct": float(right(reply, question.answer)),
            "chance": chance[question.source],
            "metrics": [],
            "bytes": len(question.answer.encode()),
            "nats": value,
            "tokens": None,
        }
        for question, reply, value in zip(asked, replies, nats, strict=True)
    ]
