"""Verdicts and grades in the words of a judge that reasons before it decides.

Only explicit statements count, and the last one wins: a judge may weigh both answers before. What it quotes (lines of a
quotation, texts in quotation marks) is not its own statement. A reply without a statement has no verdict; nothing is
guessed from how often an answer is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from windtunnel.generators.client.reasoning import split_reasoning

TIE = "tie"
_FIELDS = ("verdict", "winner", "final_verdict", "better", "better_answer", "preference", "preferred", "choice")
_GRADE_FIELDS = ("grade", "score", "rating", "verdict")
# repetitions are bounded, and runs of space squeezed before: a reply of any length is read in linear time
_QUOTED = re.compile(r"“[^“”]*”|\"[^\"\n]*\"|«[^«»]*»")
_SIDE = (
    r"(?:(?i:the|answer|response|assistant|option|candidate|model)\s+){0,2}"
    r"[(\[]?(?P<side>[AB]|(?i:first|second))\b[)\]]?"
)
_ONE = r"(?:\s+(?i:answer|response|one|option|candidate))?"
_ITSELF = r"(?:\s+(?i:clearly|is|slightly|much|far|overall|still|marginally|significantly|definitely|the|a|bit|by))"
_SAYS = (
    r"(?i:(?:final\s+|overall\s+|my\s+){0,3}"
    r"(?:verdict|winner|decision|judge?ment|preference|preferred|choice|conclusion|result|better|best)"
    r"(?:\s+(?:answer|response|one|option|choice))?)"
)
_TIES = (
    r"(?i:(?:an?\s+)?(?:tie|draw)\b|equal(?:ly\s+good)?\b|(?:both|neither)(?:\s+(?:answers?|responses?|is|are|equally|of"
    r"|them|the|good|same)){0,6}(?!\s*[,:]?\s*[AB]\b)|the\s+same\b|same\b|no\s+preference\b)"
)
_STATEMENTS = [
    # [[A]], [[A>>B]], [[B=A]], [[C]] of the templates that arenas use
    re.compile(r"\[\[\s*(?P<pair>[AB]\s*(?:>+|=+|<+)\s*[AB])\s*\]\]"),
    re.compile(r"\[\[\s*(?:(?P<side>[ABab])|(?P<tie>C|(?i:tie|draw)))\s*\]\]"),
    re.compile(r"\\boxed\{\s*(?:\\text\{)?\s*(?:(?P<side>[AB])|(?P<tie>(?i:tie)))\s*\}?\s*\}"),
    re.compile(r"<(?i:verdict|answer|winner|decision)>\s*(?:" + _SIDE + r"|(?P<tie>(?i:tie)))\s*</"),
    # Verdict: A; the better answer is B; winner - answer A
    re.compile(
        _SAYS + r"\s*(?:(?i:is|was|would\s+be|goes\s+to)\s*:?|[:=—–-]+>?)\s*"
        rf"(?:(?P<both>[(\[]?[AB][)\]]?\s*(?:/|,|\bor\b|\band\b|&)\s*[(\[]?[AB]\b)|(?P<tie>{_TIES})"
        rf"|(?i:for\s+)?(?:{_SIDE}|(?P<small>[ab])(?=\W*(?:\n|$))))"
    ),
    # answer A is better, B wins, the first answer is the stronger one
    re.compile(
        _SIDE
        + _ONE
        + rf"(?:\s+(?i:is|was){_ITSELF}{{0,6}}\s+(?i:better(?!\s+(?:known|off|at|if|when)\b)|best|superior|preferable"
        r"|preferred|stronger|winner|more\s+helpful)\b"
        r"|\s+(?i:(?:\w+ly\s+)?(?:wins|outperforms|beats))\b)"
    ),
    re.compile(
        _SIDE.replace("side", "worse")
        + _ONE
        + rf"\s+(?i:is|was){_ITSELF}{{0,6}}\s+(?i:worse|inferior|weaker)\s+(?i:than)\b"
    ),
    re.compile(
        r"\bI(?:'d|\s+would)?(?:\s+(?i:\w+ly|therefore|thus|also))?\s+(?i:prefer|choose|pick|select|favou?r|(?:vote|go)"
        r"\s+(?:for|with))\s+" + _SIDE
    ),
    re.compile(r"(?:^|[\s:(])(?P<pair>[AB]\s*(?:>+|=+|<+)\s*[AB])(?=[\s.)]*(?:\n|$))"),
    re.compile(
        r"(?P<tie>(?i:\bit(?:'s|\s+is)\s+a\s+(?:tie|draw)\b|\b(?:answers|responses|both)\s+are\s+equally\s+good\b))"
    ),
    # a line of one label
    re.compile(
        r"(?:^|\n)\s*(?i:(?:answer|response|option)\s+)?[(\[\"']?(?:(?P<side>[AB])|(?P<tie>(?i:tie)))[)\]\"']?\s*[.!]?\s*(?=\n|$)"
    ),
]
_NOT = re.compile(r"(?i:\bnot\b|n't\b|\bif\b|\bwhether\b|\bneither\b|\bnor\b)[^.!?;\n]{0,24}$")
_GRADES = [
    re.compile(r"\[\[\s*(\d+)\s*\]\]"),
    re.compile(r"\\boxed\{\s*(\d+)\s*\}"),
    re.compile(
        r"(?i:grade|score|rating|verdict)(?:\s+(?i:of|is|would\s+be|i\s+give(?:\s+is)?))?\s*[:=—–-]?\s*(?i:a\s+)?(\d+)"
        r"(?![\d.]*\s*(?i:to|-|–)\s*\d)(?!\.\d)\b"
    ),
    re.compile(r"(?:^|\n)\s*(\d+)(?:\s*/\s*\d+)?\s*\.?\s*(?=\n|$)"),
]


def verdict(text: str) -> str | None:
    """Return the last verdict that a reply states, `A`, `B` or `tie`; None where it states none or names both."""
    answer = split_reasoning(text)[1]
    if (given := _field(answer, _FIELDS)) is not None:
        return _named(given)
    found = [(match.end(), -match.start(), _meant(match)) for match in _matches(_own_words(answer))]
    return max(found, key=lambda each: each[:2])[2] if found else None


def grade(text: str, labels: Sequence[str]) -> str | None:
    """Return the last grade that a reply states, one of `labels` (digits); None where it states none of them."""
    answer = split_reasoning(text)[1]
    if (given := _field(answer, _GRADE_FIELDS)) is not None:
        said = str(given).strip()
        return said if said in labels else None
    own = _own_words(answer)
    found = [(match.end(), match[1]) for pattern in _GRADES for match in pattern.finditer(own)]
    said = max(found)[1] if found else ""
    return said if said in labels else None


def _own_words(text: str) -> str:
    """Return the text without markup, empty lines, runs of space and what it quotes, beyond labels."""
    plain = re.sub(r"[*`#$]|(?<!\w)_{1,3}|(?<!_)_{1,3}(?!\w)", "", text)
    lines = [" ".join(line.split()) for line in plain.splitlines() if not line.lstrip().startswith(">")]
    plain = "\n".join(filter(None, lines))
    return _QUOTED.sub(lambda match: match[0][1:-1] if len(match[0]) <= len('"Answer A."') else "…", plain)


def _matches(text: str) -> Iterator[re.Match[str]]:
    for pattern in _STATEMENTS:
        for match in pattern.finditer(text):
            if not _NOT.search(text, max(0, match.start() - 40), match.start()):
                yield match


def _meant(match: re.Match[str]) -> str | None:
    groups = match.groupdict()
    if groups.get("both"):
        return None
    if groups.get("tie"):
        return TIE
    if pair := groups.get("pair"):
        left, right = pair[0], pair[-1]
        return None if left == right else TIE if "=" in pair else left if ">" in pair else right
    if worse := groups.get("worse"):
        return {"A": "B", "B": "A"}[_letter(worse)]
    return _letter(groups.get("side") or groups.get("small") or "")


def _letter(said: str) -> str:
    return {"first": "A", "second": "B"}.get(said.lower(), said.upper())


def _field(text: str, names: Sequence[str]) -> Any:
    """Return the value of a verdict in the last JSON object of a reply; None without one."""
    for found in reversed(list(re.finditer(r"\{[^{}]*\}", text))):
        try:
            value = orjson.loads(found[0])  # it refuses deep nesting without recursion
        except ValueError:
            continue
        for name, given in value.items():
            if re.sub(r"\W", "_", name.strip().lower()) in names:
                return given
    return None


def _named(value: Any) -> str | None:
    match = re.fullmatch(
        r"\W*(?:(?:answer|response|assistant|option)[\s_]+)?(?:([ab])|(tie|draw|equal|both|c))\W*", str(value).lower()
    )
    return None if match is None else TIE if match[2] else match[1].upper()
