"""The row's own answer, and nothing else or among other words."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from windtunnel.trainer.rewards._reward import Example, Reply, Verifier
from windtunnel.trainer.tasks._task import first_line, tidy

# a number with its sign, decimals and unit, a word with the marks that end names such as C++ and C#, another symbol
TOKEN = re.compile(
    r"(?<![\w.,])-?\d+(?:[.,]\d+)*(?:%|[^\W_]+)?|[^\W_]+(?:['’][^\W_]+)*(?:\+\+|#)?|[^\w\s.,;:!?\"'“”‘’()\[\]{}…–—-]"
)
SIGNS = str.maketrans({"\u2212": "-"})


class Exact(Verifier):
    """1 for a reply that is the row's answer, else 0; case, outer quotes and a final full stop do not count.

    `first_line` looks at the first line of the reply, `whole` at all of it, `contains` for the answer's words and
    numbers anywhere, whatever punctuation stands between them; -5, 0.5 and 5 are different numbers.
    """

    primary: ClassVar[str | None] = "match"
    needs_answer: ClassVar[bool] = True
    examples: ClassVar[tuple[Example, ...]] = (
        Example("Paris.", 1.0, "paris"),
        Example("It is Paris.", 0.0, "paris"),
        Example("Paris\nor so", 0.0, "Paris", {"match": "whole"}),
        Example("It is Paris, of course", 1.0, "paris", {"match": "contains"}),
        Example("Comparison", 0.0, "paris", {"match": "contains"}),
        Example("It is -5", 0.0, "5", {"match": "contains"}),
    )

    match: Literal["first_line", "whole", "contains"] = "first_line"

    def reward(self, reply: Reply) -> float:
        answer = tidy(reply.answer or "")
        if not answer:  # an answer of full stops or quotes
            return float(reply.text.strip() == (reply.answer or "").strip())
        if self.match == "contains" and (wanted := TOKEN.findall(answer.translate(SIGNS))):
            told = TOKEN.findall(tidy(reply.text).translate(SIGNS))
            return float(any(told[k : k + len(wanted)] == wanted for k in range(len(told) - len(wanted) + 1)))
        return float(tidy(first_line(reply.text) if self.match == "first_line" else reply.text) == answer)
