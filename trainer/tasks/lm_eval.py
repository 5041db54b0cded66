"""Score a model on a task file of lm-eval, the harness of EleutherAI."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import errors_of
from windtunnel.trainer.tasks._evaluation import Asker, Measured, Row, Text
from windtunnel.trainer.tasks._file_task import FileTask, Question
from windtunnel.trainer.tasks._lm_eval_file import files_of, read_config

EXTRA = "lm-eval is not installed: pip install 'windtunnel[lm-eval]'"
PRIMARY = ("exact_match", "acc_norm", "acc")  # the metric that runs are compared by: the first that a task has


class LmEval(FileTask):
    """A task of lm-eval (`task:`, `doc_to_text:`, ...) whose data are local files, scored through its interface `LM`.

    The dataset is given as `dataset_path: json` (or csv, parquet, arrow, text) and `dataset_kwargs: {data_files: ...}`,
    with paths relative to the working directory; nothing is downloaded. Runs are compared by the first of
    `exact_match`, `acc_norm` and `acc`, or the metric given. Of several filters the first counts. Functions that the
    file names (`!function`) are run, as lm-eval runs them.
    """

    metric: str | None = None  # of those that the task computes for each item, from 0 to 1
    limit: int | None = Field(None, ge=1)  # items, the first of the data; all by default

    asks_by: ClassVar[tuple[str, ...]] = ("file", "name", "limit")
    likelihoods: ClassVar[bool] = False
    gives: ClassVar[str] = (
        "task: mills\ndataset_path: json\ndataset_kwargs: {data_files: {test: mills.jsonl}}\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: '{{question}}'\ndoc_to_choice: '{{choices}}'\n"
        "doc_to_target: '{{answer}}'\n"
    )
    refuses: ClassVar[tuple[tuple[str, str], ...]] = (
        ("task: mills\ndataset_path: allenai/ai2_arc\n", "is a set on the hub"),
        ("task: mills\ndataset_path: json\n", "names no files: dataset_kwargs"),
        ("task: [mills\n", "is not YAML"),
        ("- mills\n", "has no `task:`"),
        ("group: mills\ntask: [a, b]\n", "a group of tasks"),
    )

    @property
    def title(self) -> str:
        return self.name or str(self.config()["task"])

    @property
    def compared_by(self) -> str:
        return "" if self.metric is None or self.metric in PRIMARY else re.sub(r"[^\w.-]+", "_", self.metric)

    def files(self) -> list[Path]:
        """Return the task file, those it includes, the modules of its functions, and the data."""
        return files_of(Path(self.file))

    def config(self) -> dict[str, Any]:
        """Return the task's configuration with what it includes. Raises InputError for one that is not local."""
        return read_config(Path(self.file))

    def whole(self) -> bool:
        """Return whether the file is a task of local data; see FileTask."""
        return bool(self.config())

    def parse(self, row: Mapping[str, Any]) -> tuple[str, Any]:
        raise NotImplementedError  # lm-eval reads the rows

    def questions(self) -> list[Question]:
        """Return the prompts of the task's items, as lm-eval words them without examples."""
        task = self._task()
        found = [Question(str(k), str(task.doc_to_text(doc)), None) for k, doc in enumerate(task.eval_docs)]
        return found[: self.limit]

    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Let lm-eval ask its questions; see Evaluation."""
        harness, task = _harness(), self._task()
        with harness.alone(), errors_of(self, self.title):
            found = harness.evaluate(asker.harness_model(), task, self.limit)
        if not found:
            raise InputError(f"{self.file}: the task has no items")
        first = [sample for sample in found if sample["filter"] == found[0]["filter"]]  # of several filters
        return Measured([self._row(sample) for sample in sorted(first, key=lambda sample: sample["doc_id"])], {})

    def _row(self, sample: Mapping[str, Any]) -> Row:
        scores = {name: value for name in sample["metrics"] if (value := _number(sample[name])) is not None}
        name = self.metric or next((name for name in PRIMARY if name in scores), None)
        if name is None or name not in scores:
            wanted = f"has no metric {self.metric!r} for each item" if self.metric else "names none of acc, exact_match"
            raise InputError(f"{self.file} {wanted}; it has {', '.join(scores) or 'none'}: set `metric:`")
        if not 0 <= scores[name] <= 1:
            raise InputError(f"{self.file}: {name} of item {sample['doc_id']} is {scores[name]:g}, not from 0 to 1")
        replies = [str(reply) for reply in sample["filtered_resps"]]
        return Row(
            id=str(sample["doc_id"]),
            prompt=str(sample["arguments"][0][0]),
            answer=str(sample["target"]),
            reply="\n".join(replies),
            correct=scores[name],
            metrics=scores,
        )

    def _task(self) -> Any:
        return _harness().task_of(self.config(), Path(self.file))


def _harness() -> Any:
    """Return the module that drives lm-eval, which is an optional package. Raises InputError without it."""
    try:
        from windtunnel.trainer.tasks import _harness as module
    except ImportError as error:
        raise InputError(f"{EXTRA} ({error})") from error
    return module


def _number(value: Any) -> float | None:
    """Return a metric of an item as a number; None for one that only makes sense over all items."""
    return float(value) if isinstance(value, bool | int | float) and math.isfinite(value) else None
