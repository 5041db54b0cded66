"""Checks a family: every task makes questions from its text, in every wording, with answers that are confirmed."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

from windtunnel.generators.families._family import FEWEST_TEMPLATES, Family, FamilyTask, Item
from windtunnel.schemas.finding import Finding, finding

DRAWS = 20  # questions of a task from its text
LONGEST = 60
ODD = ("", "\n\n", "\ud800", "{text}", "a\x00b", "1,2,3", "Yes. No? " * 50, "\u202e" + "x" * 5000)
MOST_WORDS = 20  # of an answer


def check(cls: type[Family]) -> Iterator[Finding]:
    """Yield the outcome of every task on the family's own text, on odd texts, and of a wrong answer."""
    if not getattr(cls, "tasks", None) or not getattr(cls, "gives", ""):
        yield Finding("tasks", "no tasks, or no text to make questions from: set `tasks` and `gives`")
        return
    for name, task in cls.tasks.items():
        yield finding(f"{name}: wordings", lambda task=task: _worded(task, cls.gives))
        yield finding(f"{name}: answers", lambda task=task: _answered(task, cls.gives))
        yield finding(f"{name}: odd texts", lambda task=task: _odd(task))


def _items(task: FamilyTask, text: str) -> list[Item]:
    made = (task.make(text, random.Random(seed), LONGEST) for seed in range(DRAWS))
    return [item for item in made if item is not None]


def _worded(task: FamilyTask, text: str) -> str | None:
    if len(set(task.templates)) < FEWEST_TEMPLATES:
        return f"{len(set(task.templates))} different templates, and {FEWEST_TEMPLATES} are the fewest"
    items = _items(task, text)
    if not items:
        return "the text in `gives` gives no question"
    for template in task.templates:
        named = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        if missing := sorted(set(items[0].fields) - named):
            return f"the template {template[:40]!r} does not show {missing[0]!r}"
        if template.format_map(items[0].fields) != template.format_map(dict(items[0].fields)).strip():
            return f"the template {template[:40]!r} begins or ends with white space"
    return None


def _answered(task: FamilyTask, text: str) -> str | None:
    for item in _items(task, text):
        if not 1 <= len(item.answer.split()) <= MOST_WORDS:
            return f"the answer {item.answer[:60]!r} does not have 1 to {MOST_WORDS} words"
        if not task.verify(item.fields, item.answer):
            return f"`verify` refuses {item.answer[:60]!r} for {dict(item.fields)}"
        if task.verify(item.fields, f"{item.answer} x") or task.verify(item.fields, ""):
            return f"`verify` takes a wrong answer for {dict(item.fields)}"
    return None


def _odd(task: FamilyTask) -> str | None:
    for text in ODD:
        for item in _items(task, text):
            if not task.verify(item.fields, item.answer):
                return f"`verify` refuses {item.answer[:60]!r} for {str(dict(item.fields))[:200]!r}"
    return None
