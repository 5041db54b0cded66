"""Answer a question about the first sentences of encyclopedia articles."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from pydantic import Field

from windtunnel.trainer.tasks._task import Item, Task, Text

# "Subject (remark) is a definition."; the subject begins with a capital and contains no clause.
LEAD = re.compile(
    r"(?P<subject>[A-Z][^,.;:()\n]{1,60}?)(?: \([^()\n]{0,120}\))? "
    r"(?P<verb>is|was|are|were) (?P<definition>(?:a|an|the|one of) [^.;\n]{12,160})\.(?=\s|$)"
)
PRONOUNS = frozenset({"It", "This", "That", "There", "He", "She", "They", "These", "Those", "What", "Here", "One"})


class QuestionAnswering(Task):
    """Choose the subject of a definition among several; the accuracy of guessing is 1 / `choices`.

    With `open_book` the prompt contains the defining sentences; otherwise the model must know the answer.
    """

    choices: int = Field(3, ge=2)
    open_book: bool = True

    gives = "The Otter Mill (1843) is a stone mill on a narrow river. It stands empty."
    gives_none = "It stands empty, and nobody knows why."

    def item(self, texts: Sequence[Text], rng: random.Random) -> Item | None:
        """Return a question about the first text, with the subjects of other texts as distractors."""
        leads = [lead for text in texts if (lead := _lead(text.text))]
        if not leads or _lead(texts[0].text) is None:
            return None
        target = leads[0]
        others: dict[str, re.Match[str]] = {}
        for lead in leads[1:]:
            if lead["subject"] not in (target["subject"], *others) and lead["definition"] != target["definition"]:
                others[lead["subject"]] = lead
        if len(others) < self.choices - 1:
            return None
        shown = [target, *list(others.values())[: self.choices - 1]]
        rng.shuffle(shown)
        question = f"Which of these {target['verb']} {target['definition']}: {', '.join(s['subject'] for s in shown)}?"
        prompt = f"{question} Answer with the name only."
        if self.open_book:
            prompt = "\n".join(lead.group() for lead in shown) + "\n\n" + prompt
        return Item(texts[0].id, prompt, target["subject"])


def _lead(text: str) -> re.Match[str] | None:
    """Return the match of the first sentence if it defines a named subject."""
    match = LEAD.match(text.strip())
    return match if match and match["subject"].split()[0] not in PRONOUNS else None
