"""Count the occurrences of a word in a sentence."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from windtunnel.trainer.tasks._task import Item, Task, Text, sentences


class Counting(Task):
    """A sentence and one of its words; the answer is its number of occurrences."""

    shortest: int = Field(8, ge=1)  # words of the sentence
    longest: int = Field(40, ge=1)

    gives = "The cat saw the dog, and the dog saw the moon. Then the moon saw nobody at all in the whole of the sky."

    def item(self, texts: Sequence[Text], rng: random.Random) -> Item | None:
        """Return a sentence with a word to count; half of the items prefer a repeated word."""
        candidates = sentences(texts[0].text, self.shortest, self.longest)
        if not candidates:
            return None
        sentence = candidates[rng.randrange(len(candidates))]
        counts = Counter(re.findall(r"[a-z]+", sentence.lower()))
        repeated = sorted(word for word, n in counts.items() if n > 1)
        # About half of the items have the answer 1, so that guessing it is of little use.
        words = repeated if repeated and rng.random() < 0.5 else sorted(counts)
        if not words:
            return None
        word = words[rng.randrange(len(words))]
        prompt = (
            f'How many times does the word "{word}" occur in this sentence, capital letters or not? '
            f"Answer with a number only.\n{sentence}"
        )
        return Item(texts[0].id, prompt, str(counts[word]))

    def score(self, item: Item, reply: str) -> float:
        """Return 1 if the first number of the reply is correct, else 0."""
        number = re.search(r"\d+", reply)
        return float(number is not None and number.group() == item.answer)
