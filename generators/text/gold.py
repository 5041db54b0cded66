"""Answers that can be checked: the final answer of a reply, and its comparison with the known answer.

Right and wrong change places in preference pairs, so a pair that can be read in two ways is not equal. Numbers, units,
money, times and dates are compared exactly, lists and intervals by their elements, words apart from case and articles,
and formulas by math-verify, in a process that can be ended.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from windtunnel.generators.text.answer_text import boxes, plain
from windtunnel.generators.text.collections_in_text import Collection, collection
from windtunnel.generators.text.formulas import Undecided, assignment, equal_formulas
from windtunnel.generators.text.quantities import INTEGER, quantity

MOST_CHARACTERS = 2000  # longer answers must be equal as text
MOST_UNORDERED = 8  # elements of sets, which are compared each with each
MOST_NESTED, MOST_FORMULAS = 3, 64  # collections in one another; formulas in one comparison

_MARKED = re.compile(
    r"(?:^|\n)[^\w\n]*(?:(?:so|thus|therefore|hence|my|the|final|correct|right)\b[ ,]*)*answer\W*[:=](?P<rest>[^\n]*)",
    re.IGNORECASE,
)
_FIGURE = rf"(?<![\w.])[-+−–]?[$€£]?(?:{INTEGER}|\d[\d,]*)(?:\.\d+)?(?:\s*/\s*\d+)?(?:\s*\\?%)?"
_NUMBER = re.compile(_FIGURE)
# what follows a figure in a sentence and belongs to it, up to an end or a word that begins something else:
# in `the answer is 10^5 for all n` it is `^5`
_ENDS = (
    r"[.;!?][*$)\"']*(?:\s|$)|,(?!\s?\d)|\s+\((?!mod)|\s+[-–—=]\s*[a-z]"
    r"|\s+(?:when|as|for|in|which|that|by|after|with|from|on|at(?!\s(?:least|most))|because|since|so|but|where|while|not)\b"
)
_SAID = re.compile(
    rf"answer\s+is\s*:?\s*[*$]*\s*(?P<figure>{_FIGURE})[*$]*(?P<more>(?:(?!{_ENDS})[^\n]){{0,60}})", re.IGNORECASE
)
_GLUED = re.compile(r"[^\s.,;!?*$)]*(?:\s+(?:hundred|thousand|million|billion|trillion|percent|per cent|dozen)\b)?")
_HASHES = re.compile(r"^####[ \t]*([-+−–]?\\?[$€£]?\d[\d,./]*\s?%?)[ \t.]*$", re.MULTILINE)
_REASON = re.compile(
    r"[,;]?(?<!\s)\s+(?:(?:because|since|as we|so that|which is why)|\((?:since|because|as|i\.e\.|note))\s.*", re.DOTALL
)
_SENTENCE = re.compile(r"(?:(?<=\d)|(?<=[^\W\d_]{4})|(?<=[)%}$*]))\.(?:\*\*)?\s+(?=[A-Z][\w']*\s+\S+\s+\S+)")
_EMPHASIS = re.compile(r"^\s*\*[*\s]*|(?:(?<!\s)\s+|(?<!\*))\*+(?=\.?$)")
_INTRODUCTION = re.compile(
    r"(?:so|thus|therefore|hence|it|there|this|that|the|my|our|his|her|their|its)\b[a-z', ]{0,80}?"
    r"\b(?:is|are|was|were|equals|has|have|had)\s+(?:equal to\s+)?(?P<value>\S.*)",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_DOUBT = re.compile(
    r"\b(?:not|no|never|if|unless|\w+n't|than|least|most|about|approximately|nearly|almost)\b", re.IGNORECASE
)


def final_answer(reply: str) -> str | None:
    r"""Return the last answer that is marked as final, else the only number of the reply, else None.

    Marks are `Answer:` with the answer behind it or on the next line, `\boxed{}`, `#### 42`, and `the answer is 42`.
    Explanations after the answer are cut off.
    """
    if (marked := _marked(reply)) is not None:
        return marked
    numbers = list(itertools.islice(_NUMBER.finditer(reply), 2))
    if len(numbers) != 1:
        return None
    glued = _GLUED.match(reply, numbers[0].end())
    return numbers[0][0].lstrip("$€£").strip() + (glued[0] if glued else "")


def known_answer(reference: str) -> str:
    """Return the marked answer of a worked solution, as GSM8K and MATH have them, else the whole reference."""
    return _marked(reference) or reference


def _marked(reply: str) -> str | None:
    found = [(match.start(), _behind(reply, match)) for match in _MARKED.finditer(reply)]
    found += [(start, content.strip()) for start, _, content in boxes(reply)]
    found += [(match.start(), match[1].strip()) for match in _HASHES.finditer(reply)]
    found += [(match.start(), (match["figure"] + match["more"]).strip("*$ ")) for match in _SAID.finditer(reply)]
    return max(((place, answer) for place, answer in found if answer), default=(0, None))[1]


def agrees(answer: str | None, gold: str) -> bool:
    """Return whether the answers are certainly equal; False where it is open, or where one is empty."""
    if answer is None or not answer.strip() or not gold.strip():
        return False
    a, b = (_introduced(plain(text)) if len(text) <= MOST_CHARACTERS else text.strip() for text in (answer, gold))
    if not a or not b:
        return answer.strip() == gold.strip()
    if max(len(a), len(b)) > MOST_CHARACTERS:
        return a == b
    try:
        return _Comparison().same(a, b)
    except Undecided:
        return False


class _Comparison:
    """A comparison with a bounded amount of work: nested collections could ask for any number of formulas."""

    def __init__(self) -> None:
        self.formulas = MOST_FORMULAS

    def same(self, a: str, b: str, depth: int = 0) -> bool:
        """Return whether two plain texts are equal. Raises Undecided."""
        if a == b:
            return True
        one, other = quantity(a), quantity(b)
        if one is not None and other is not None:
            return one.same(other)
        first, second = collection(a), collection(b)
        if first is not None or second is not None:
            return first is not None and second is not None and self.same_elements(first, second, depth + 1)
        if (words := _words(a)) is not None and words == _words(b):
            return True
        (name, value), (other_name, other_value) = assignment(a), assignment(b)
        if name or other_name:
            return (not name or not other_name or name == other_name) and self.same(value, other_value, depth)
        self.formulas -= 1
        if self.formulas < 0:
            raise Undecided
        return equal_formulas(a, b)

    def same_elements(self, a: Collection, b: Collection, depth: int) -> bool:
        """Return whether two collections have equal elements, in order or, if they are sets, each in the other one."""
        if a.kind != b.kind or a.names != b.names:
            return False
        if depth > MOST_NESTED:
            raise Undecided
        if a.ordered:
            pairs = zip(a.elements, b.elements, strict=False)
            return len(a.elements) == len(b.elements) and all(self.same(x, y, depth) for x, y in pairs)
        if max(len(a.elements), len(b.elements)) > MOST_UNORDERED:
            return set(a.elements) == set(b.elements)
        equal = [[self.same(x, y, depth) for y in b.elements] for x in a.elements]
        return all(map(any, equal)) and all(any(row[k] for row in equal) for k in range(len(b.elements)))


def _words(text: str) -> list[str] | None:
    """Return the words in lower case, without articles and full stops; None for what is no text of words."""
    if re.search(r"[=<>^\\*/|{}±≈∪∩]|\d[^\W\d_]|[^\W\d_]\d|[\d)]!", text):
        return None
    words = [word.strip('.,;:?"()') if re.search(r"[^\W\d_]", word) else word for word in text.split()]
    words = [re.sub(r"(?<=[^\W\d_]{2})!+$", "", word) for word in words]
    if len(words) > 1 and words[0].lower() in ("a", "an"):
        words = words[1:]
    kept = [word for place, word in enumerate(words) if word.lower() != "the" or place == len(words) - 1]
    # Co and CO are two substances; NO and No are told apart as well
    return [word if len(word) == 2 and word[0].isupper() else word.casefold() for word in _capitals(kept)]


def _capitals(words: Sequence[str]) -> list[str]:
    return [word.capitalize() if len(word) == 2 and word.isalpha() and word.islower() else word for word in words]


def _introduced(text: str) -> str:
    """Return the quantity in `the total is 5 apples`, and other texts unchanged."""
    match = _INTRODUCTION.fullmatch(text)
    if match is None or _DOUBT.search(text) or quantity(match["value"]) is None:
        return text
    return match["value"]


def _behind(reply: str, mark: re.Match[str]) -> str:
    """Return the answer in the line of a mark, or else in the next line with a letter or digit."""
    line = mark["rest"]
    if not re.search(r"\w", line):
        following = re.compile(r"[^\n]*\w[^\n]*").search(reply, mark.end())
        line = following[0] if following else ""
    if boxed := boxes(line):
        return boxed[-1][2].strip()
    line = _EMPHASIS.sub("", _SENTENCE.split(line.strip(), maxsplit=1)[0])
    return _REASON.sub("", line).strip()
