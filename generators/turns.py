"""Turns of a dialogue: what gives a simulated user away, how politeness is taken off, how a dialogue is cut.

The detectors read English phrases, since that is what the models fall back to when they lose their role; on other
languages they find nothing and drop nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

Message = dict[str, str]
ECHO = 0.7  # ROUGE-L F from which a turn repeats another one

_ASSISTANT = re.compile(
    r"(?:^|[.!?]\s+)(?:as an? (?:ai|artificial|language model|virtual assistant)"
    r"|i(?:'m| am) (?:here to (?:help|assist)|an? (?:ai|assistant|language model)|happy to (?:help|assist))"
    r"|i(?:'d| would) be (?:happy|glad|delighted) to (?:help|assist|explain|provide)"
    r"|how (?:can|may) i (?:help|assist) you|what can i (?:help|assist) you with"
    r"|(?:is there )?anything else (?:i can|you(?:'d| would) like)|let me know if you (?:have|need|want)"
    r"|feel free to (?:ask|reach)|i hope this helps|you(?:'re| are) (?:very |most )?welcome"
    r"|great question|that(?:'s| is) an? (?:great|good|excellent|interesting) question)",
    re.IGNORECASE,
)
_ANSWERING = re.compile(
    r"^(?:sure|certainly|of course|absolutely|definitely)\s*[,!.:]\s*(?:here|i can|i'll|i will|let me|let's|the )"
    r"|^here (?:is|are) (?:the|a|an|some|your|\d+|one|two|three|four|five|six|seven|ten)\b[^?]*:",
    re.IGNORECASE,
)
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
PRAISE_WORDS = 6  # a sentence that praises and then goes on for longer has something to say
_SIDE = re.compile(r"\n[ \t]*(?:assistant|ai|bot|user|human|you)[ \t]*:", re.IGNORECASE)
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
    """Return why a simulated user's turn is not a user's: it talks as an assistant, or repeats what was said.

    `history` is the dialogue before the turn. Codes: `speaks_as_assistant`, `echoes_assistant`, `repeats_itself`.
    """
    if _ASSISTANT.search(turn) or _ANSWERING.search(turn):
        return "speaks_as_assistant"
    from generators.novelty import rouge_l

    for message in history:
        if rouge_l(turn, message["content"], "unicode") > ECHO:
            return "echoes_assistant" if message["role"] == "assistant" else "repeats_itself"
    return None


def without_politeness(turn: str) -> str:
    """Return the turn without the sentences that only thank, praise or take leave; empty when nothing else is there."""
    text = "".join(s for s in _sentences(turn) if not _only_polite(s.strip())).strip()
    return text if re.search(r"\w", text) else ""


def disclaims(reply: str) -> bool:
    """Say whether an assistant's reply speaks of itself as a model without emotions or opinions."""
    return bool(_DISCLAIMER.search(reply))


def rounds(messages: Sequence[Message]) -> list[list[Message]]:
    """Return the dialogue as rounds: each begins with a user's turn; what stands before the first one joins it."""
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
    """Return the dialogue cut between rounds into parts of at most `limit` (characters, by default).

    Every round is in exactly one part, the last one included; no part is empty; a round longer than the limit is a
    part by itself, which the caller may refuse.
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
    """Return the first turn of a text in which a model may have gone on and played the other side as well."""
    text = _SIDE.split(text.strip(), maxsplit=1)[0]
    text = re.sub(rf"^(?:{'|'.join(names)})[ \t]*:\s*", "", text, flags=re.IGNORECASE).strip()
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def transcript(messages: Sequence[Message], names: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the turns with the names under which a prompt shows them."""
    known = names or {"user": "You", "assistant": "Assistant"}
    return [{"name": known[m["role"]], "content": m["content"]} for m in messages if m["role"] in known]


def _sentences(text: str) -> list[str]:
    return [match[0] for match in _SENTENCE.finditer(text) if match[0]]


def _only_polite(sentence: str) -> bool:
    for pattern, most in ((_THANKS, None), (_PRAISE, PRAISE_WORDS)):
        if match := pattern.match(sentence):
            rest = sentence[match.end() :]
            return not _ASKS.search(rest) and (most is None or len(rest.split()) <= most)
    return False
