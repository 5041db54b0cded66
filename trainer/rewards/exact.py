"""The row's own answer, and nothing else or among other words."""

from __future__ import annotations

from typing import ClassVar, Literal

from windtunnel.trainer.rewards._reward import Example, Reply, Verifier
from windtunnel.trainer.tasks._task import first_line, tidy


class Exact(Verifier):
    """1 for a reply that is the row's answer, else 0; case, outer quotes and a final full stop do not count.

    `first_line` looks at the first line of the reply, `whole` at all of it, `contains` for the answer's words anywhere.
    """

    primary: ClassVar[str | None] = "match"
    needs_answer: ClassVar[bool] = True
    examples: ClassVar[tuple[Example, ...]] = (
        Example("Paris.", 1.0, "paris"),
        Example("It is Paris.", 0.0, "paris"),
        Example("Paris\nor so", 0.0, "Paris", {"match": "whole"}),
        Example("It is Paris, of course", 1.0, "paris", {"match": "contains"}),
        Example("Comparison", 0.0, "paris", {"match": "contains"}),
    )

    match: Literal["first_line", "whole", "contains"] = "first_line"

    def reward(self, reply: Reply) -> float:
        answer = tidy(reply.answer or "")
        if self.match == "contains":
            words = tidy("".join(c if c.isalnum() else " " for c in reply.text)).split()
            wanted = tidy("".join(c if c.isalnum() else " " for c in answer)).split()
            return float(any(words[k : k + len(wanted)] == wanted for k in range(len(words) - len(wanted) + 1)))
        return float(tidy(first_line(reply.text) if self.match == "first_line" else reply.text) == answer)
