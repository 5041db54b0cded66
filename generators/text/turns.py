"""Turns of a dialogue: detection of a simulated user out of role, removal of politeness, splitting between rounds.

The detectors match English phrases, to which models revert out of role; in other languages they match nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from windtunnel.generators.text.novelty import rouge_l

Message = dict[str, str]
ECHO = 0.7  # ROUGE-L F from which a turn repeats another one

_AN_AI = r"an? (?:ai(?=\s*[.,!;]|\s*$|\s+(?:language|model|assistant|i|that|so|and|without|created|designed|trained)\b)"
_AN_AI += r"|artificial intelligence\b|(?:large )?language model\b|(?:virtual |digital )?assistant(?=\s*[.,!;]|\s*$))"
_ASSISTANT = re.compile(  # phrases of assistants only; "an AI student" and "an assistant cook" are people
    r"(?:^|[.!?]\s+|\bbut )(?:(?:as|i am|i'm) " + _AN_AI + r"|how (?:can|may) i (?:help|assist) you\b"
    r"|what can i (?:help|assist) you with\b"
    r"|(?:is there )?anything else (?:i can (?:help|assist|answer|clarify|explain)|i can do for you"
    r"|you(?:'d| would) like(?=\s*\?| to (?:know|ask|discuss|explore|learn|talk)\b| me to\b| help\b))"
    r"|you(?:'re| are) (?:very |most )?welcome\b(?! to\b))",
    re.IGNORECASE,
)
_SERVICE = re.compile(  # phrases that people use as well, but about their own affairs: "to help my mother"
    r"(?:^|[.!?]\s+)(?:i(?:'m| am) (?:here|(?:always )?(?:happy|glad)) to (?:help|assist)"
    r"(?=\s*[.,!]|\s*$| you\b| with (?:any|that|this|your|whatever)\b)"
    r"|i(?: can|'ll| will|'d love to) (?:certainly |definitely |gladly )?(?:help|assist) you\b"
    r"|i(?:'d| would) be (?:(?:more than )?happy|glad|delighted) to (?:help|assist|explain|provide)\b"
    r"|let me know if (?:you(?:'d| would) like|you want|you have (?:any |more |other |further )*questions"
    r"|you need (?:any |more |further |additional |some )*(?:help|assistance|clarification|information|examples))\b"
    r"|feel free to (?:ask|reach)\b|i hope (?:this|that) helps\b)(?![^.!?]*\b(?:my|our|mine)\b)",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[*_#>\s]*(?:(assistant)|ai|(?:chat)?bot)[*_]*[ \t]*:[*_]*\s*", re.IGNORECASE)
_AGREES = re.compile(
    r"(?:yes[,!.]?\s+)?(?:sure(?: thing)?|certainly|of course|absolutely|definitely|gladly)\b\s*[,!.:;–—-]+\s*",
    re.IGNORECASE,
)
_FLATTERS = re.compile(
    r"(?:(?:what|that(?:'s| is)) an? )?(?:great|good|excellent|interesting|wonderful) question\s*[,!.:;–—-]+\s*",
    re.IGNORECASE,
)
_HANDS_OVER = re.compile(
    r"here(?:'s| is| are)\s+(?!(?:the|another|a|an) (?:\w+ )?(?:thing|problem|catch|issue|situation|deal|question)\b)"
    r"(?:the|a|an|some|your|another|how|what|why|\d+|one|two|three|four|five|six|seven|ten|several)\b",
    re.IGNORECASE,
)
_PROMISES = re.compile(
    r"(?:let me|allow me to|i can|i could|i'll|i will|i'd (?:be (?:happy|glad) to|love to|suggest|recommend)"
    r"|i (?:would )?(?:suggest|recommend)) ?(?:certainly |gladly |try to )?",
    re.IGNORECASE,
)
_REACTS = re.compile(
    r"(?:but|and|though|although|except|not|only|if|as long as|why not|no problem|sounds|makes sense|both|either|any"
    r"|let's (?!break|look|explore|dive|examine)|the (?:first|second|third|last|other|former|latter|longer|shorter)"
    r"|(?:that|this)(?:'d| would| will)? (?:sounds?|seems?|works?|helps?|makes? sense|looks?|do)"
    r"|(?:that|this|it)(?:'s| is) (?:fine|good|ok|okay|great|right|fair|true|enough|better|not|what|possible))\b",
    re.IGNORECASE,
)
_OWN = re.compile(
    r"\b(?:i|i'm|i've|me|my|mine|we|our|ours|us)\b", re.IGNORECASE
)  # a person who speaks about themselves
_OFFERS = re.compile(
    r"\b(?:would you like|do you want|shall (?:i|we)|can i (?:help|assist|explain)|should i (?:explain|go on|continue)"
    r"|(?:any|have) (?:other |more |further )*questions|anything else)\b",
    re.IGNORECASE,
)
_REQUESTS = re.compile(
    r"\bplease\b(?! (?:let me know|note|feel free|remember|keep in mind|be aware))"
    r"|\b(?:could|can|would|will) you\b(?! like\b)|\b(?:it|they|that|this|the \w+) should\b"
    r"|(?:^|[.!?;:,]\s+)(?:(?:now|then|just|but|and|next|also|instead|maybe),? )*(?:tell|show|give|explain|describe"
    r"|list|write|rewrite|rephrase|shorten|summari[sz]e|translate|compare|elaborate|expand|mention|suggest|continue|swap"
    r"|leave out|go (?:on|ahead)|make (?:it|this|that|them)|keep (?:it|this|that)|turn (?:it|this|that)"
    r"|do (?:it|that)|drop the|cut the|focus on|add (?:(?:a|an|one|two|another|some|more) )+(?:\w+ )?"
    r"(?:line|verse|sentence|example|paragraph|title)s?)\b",
    re.IGNORECASE,
)
STATEMENT_WORDS = 5  # "Sure! In the morning." answers a question; a longer turn that asks nothing explains
_QUESTION = re.compile(r"(?<![^.!?\n])[^.!?\n]*\?")  # anchored at a sentence's start: otherwise quadratic
_LEAD = r"(?:(?:oh|ah|okay|ok|yes|well|great|wow)[,!.]?\s+)?"
_THANKS = re.compile(
    _LEAD + r"(?:(?:many )?thanks?\b|i (?:really |truly |greatly )?appreciate\b|(?:good ?)?bye\b"
    r"|have a (?:great|good|nice|wonderful)\b|you(?:'ve| have) been (?:very |so |really )?helpful)",
    re.IGNORECASE,
)
_PRAISE = re.compile(
    _LEAD + r"(?:(?:that|this|it)(?:'s| is| was| sounds)\s+(?:(?:so|very|really|super|quite|all|truly|absolutely)\s+)*"
    r"(?:helpful|great|good|perfect|wonderful|amazing|fascinating|interesting|informative|useful|awesome)\b"
    r"|(?:great|perfect|wonderful|awesome|excellent|amazing|fascinating|got it|okay|ok|wow|i see)\b(?=\s*[,.!]|\s*$))",
    re.IGNORECASE,
)
PRAISE_WORDS = 6  # a longer sentence after praise has content
_SIDE = re.compile(  # at the start of a line or after a sentence; entries of a list of openings are one line each
    r"\n[*_#>\t\r ]*(?:assistant|ai|bot|user|human|you)[*_]*[ \t]*:|(?<=[.!?\"])\s+[*_]*(?:assistant|user|human)[*_]*:",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?]+|\n|$)\s*")
_ASKS = re.compile(
    r"\?|\b(?:could|can|would|will) you\b|\bplease\b|\b(?:how|what|why|when|where|which|who|but)\b", re.IGNORECASE
)
_DISCLAIMER = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\bi (?:do not|don't|cannot|can't) (?:have|hold|feel|experience) (?:any )?(?:personal |human )?"
    r"(?:emotions?|opinions?|feelings?|beliefs?|preferences?)",
    re.IGNORECASE,
)


def role_flip(turn: str, history: Sequence[Message]) -> str | None:
    """Return why a simulated user's turn is out of role, or None.

    `history` is the dialogue before the turn. Codes: `speaks_as_assistant`, `echoes_assistant`, `repeats_itself`.
    """
    if _speaks_as_assistant(turn, history[-1]["content"] if history else ""):
        return "speaks_as_assistant"
    for message in history:
        if rouge_l(turn, message["content"], "unicode") > ECHO:
            return "echoes_assistant" if message["role"] == "assistant" else "repeats_itself"
    return None


def without_politeness(turn: str) -> str:
    """Return the turn without sentences that only thank, praise or take leave; "" when there are no others."""
    text = "".join(s for s in _sentences(turn) if not _only_polite(s.strip())).strip()
    return text if re.search(r"\w", text) else ""


def disclaims(reply: str) -> bool:
    """Return whether an assistant's reply describes itself as a model without emotions or opinions."""
    return bool(_DISCLAIMER.search(reply))


def rounds(messages: Sequence[Message]) -> list[list[Message]]:
    """Return the dialogue as rounds, each from one user's turn to the next; earlier messages join the first one."""
    result: list[list[Message]] = []
    for message in messages:
        if message["role"] == "user" and not (len(result) == 1 and all(m["role"] == "system" for m in result[0])):
            result.append([message])
        elif result:
            result[-1].append(message)
        else:
            result.append([message])
    return result


def split_rounds(
    messages: Sequence[Message], limit: int, length: Callable[[Message], int] | None = None
) -> list[list[Message]]:
    """Return the dialogue split between rounds into parts of at most `limit` (characters, by default).

    Every round is in exactly one part, and no part is empty. A round longer than the limit is a part by itself.
    """
    measure = length or (lambda message: len(message["content"]))
    parts: list[list[Message]] = []
    size = 0
    for part in rounds(messages):
        own = sum(measure(message) for message in part)
        if not parts or size + own > limit:
            parts.append([])
            size = 0
        parts[-1].extend(part)
        size += own
    return parts


def one_turn(text: str, names: Sequence[str] = ("user", "human", "you", "person")) -> str:
    """Return the first turn of a text in which a model may have continued with the other side.

    A label of the user in front is removed; that of the assistant stays for `role_flip`.
    """
    text = _SIDE.split(text.strip(), maxsplit=1)[0]
    text = re.sub(rf"^[*_#>\s]*(?:{'|'.join(names)})[*_]*[ \t]*:[*_]*\s*", "", text, flags=re.IGNORECASE).strip()
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def transcript(messages: Sequence[Message], names: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the turns with the names that a prompt shows."""
    known = names or {"user": "You", "assistant": "Assistant"}
    return [{"name": known[m["role"]], "content": m["content"]} for m in messages if m["role"] in known]


def _speaks_as_assistant(turn: str, before: str) -> bool:
    """Return whether a turn is an assistant's; `before` is the message that it answers.

    People use agreements and introductions too ("Sure!", "Here's a list"), so these count only where the turn asks for
    nothing and says nothing about the speaker.
    """
    turn, before = turn.replace("’", "'"), before.replace("’", "'")
    if label := _LABEL.match(turn):
        if label[1] or not turn.rstrip().endswith("?"):  # "AI: friend or foe?" is a question about it
            return True
        turn = turn[label.end() :]
    agrees = _AGREES.match(turn)
    begins = agrees or _FLATTERS.match(turn)
    rest = turn[begins.end() :] if begins else turn
    if any(pattern.search(text) for pattern in (_ASSISTANT, _SERVICE) for text in (turn, rest)):
        return True
    if _asks(rest):
        return False
    promises = _PROMISES.match(rest) if begins else None
    own = bool(_OWN.search(rest[promises.end() :] if promises else rest))
    if _HANDS_OVER.match(rest) and (begins or ":" in rest):
        return not own or bool(re.search(r"\bfor you\b", rest))
    if begins is None or own or _REACTS.match(rest):
        return False
    fewest = STATEMENT_WORDS if agrees else 1
    answers = agrees is not None and _asks("".join(_sentences(before)[-1:]))
    return promises is not None or (len(rest.split()) >= fewest and not answers)


def _asks(text: str) -> bool:
    """Return whether a text asks or requests something; an assistant's offers do not count."""
    questions = (match[0] for match in _QUESTION.finditer(text))
    return any(not _OFFERS.search(question) for question in questions) or bool(_REQUESTS.search(text))


def _sentences(text: str) -> list[str]:
    return [match[0] for match in _SENTENCE.finditer(text) if match[0]]


def _only_polite(sentence: str) -> bool:
    for pattern, most in ((_THANKS, None), (_PRAISE, PRAISE_WORDS)):
        if match := pattern.match(sentence):
            rest = sentence[match.end() :]
            return not _ASKS.search(rest) and (most is None or len(rest.split()) <= most)
    return False
