"""Answers in one notation: without the marks of LaTeX and Markdown that change nothing of what is said."""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUPERSCRIPT = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_THIN_SPACE = re.compile(r"(?<=\d)(?:[\u2009\u202f\u00a0]|\\[,!]|\{,\})(?=\d{3}(?!\d))")
_COMMANDS = {
    "times": "*", "cdot": "*", "ast": "*", "div": "/", "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=",
    "geq": ">=", "geqslant": ">=", "ne": "!=", "neq": "!=", "lt": "<", "gt": ">", "infty": "inf ", "pm": "±",
    "cup": "∪", "cap": "∩", "emptyset": "{}", "varnothing": "{}", "degree": "°", "dfrac": "\\frac", "tfrac": "\\frac",
    "left": "", "right": "", "quad": " ", "qquad": " ", "lbrace": "{", "rbrace": "}", "langle": "⟨", "rangle": "⟩",
    "approx": "≈", "lor": " or ", "land": " and ", "displaystyle": "", "limits": "", "in": "∈",
}  # fmt: skip
_COMMAND = re.compile(rf"\\({'|'.join(sorted(_COMMANDS, key=len, reverse=True))})(?![a-zA-Z])")
_SIGNS = {
    "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "⁄": "/", "∕": "/", "≤": "<=", "⩽": "<=", "≥": ">=", "⩾": ">=",
    "≠": "!=", "−": "-", "‐": "-", "‑": "-", "–": "-", "—": "-", "∞": "inf", "π": "\\pi", "√": "\\sqrt", "∅": "{}",
    "∨": " or ", "∧": " and ", "’": "'", "‘": "'", "“": '"', "”": '"', "\\{": "{", "\\}": "}", "\\%": "%",
    "\\$": "$", "\\#": "#", "\\&": "&", "\\_": "_", "\\,": " ", "\\;": " ", "\\:": " ", "\\!": "", "\\ ": " ",
    "\\\\": "\\\\",
}  # fmt: skip
_SIGN = re.compile("|".join(map(re.escape, sorted(_SIGNS, key=len, reverse=True))))
_WORDS_OF_LATEX = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_DEGREES = re.compile(r"\^\s*(?:\{\s*)?\\circ(?:\s*\})?")
_WRAPPED = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\$\$([^$]*)\$\$", r"\$([^$]+)\$", r"\\\(((?:(?!\\[()]).)*)\\\)", r"\\\[((?:(?!\\[\[\]]).)*)\\\]",
        r"\*\*([^*]*)\*\*", r"__([^_]*)__", r"`([^`]*)`", r'"([^"]*)"', r"'([^']*)'",
    )
)  # fmt: skip
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")


def plain(text: str) -> str:
    """Return the answer in plain signs: no mark-up around it, one sign per operator, single spaces, no full stop."""
    text = _SUPERSCRIPT.sub(lambda match: "^{" + "".join(_SUPERSCRIPTS[c] for c in match[0]) + "}", text)
    text = _THIN_SPACE.sub(",", _VULGAR.sub(lambda match: f" {unicodedata.normalize('NFKC', match[0])} ", text))
    text = _unwrapped(unicodedata.normalize("NFKC", text))
    text = _SIGN.sub(lambda match: _SIGNS[match[0]], _WORDS_OF_LATEX.sub(r"\1", _DEGREES.sub("°", text)))
    text = _COMMAND.sub(lambda match: _COMMANDS[match[1]], text).replace("**", "^")
    return _unwrapped(" ".join(text.split()))


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""Return (start, end, content) of each `\boxed{...}` with balanced braces that is in no other one."""
    found, position = [], 0
    while match := _BOXED.search(text, position):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0) if text[end - 1] != "\\" else 0
            end += 1
        position = end
        if not depth:
            found.append((match.start(), end, text[match.end() : end - 1]))
    return found


def _unwrapped(text: str) -> str:
    for _ in range(8):  # wrappers in one another
        before, text = text, text.strip()
        if not text.endswith(".."):
            text = text.rstrip(".,;:").rstrip()
        for pattern in _WRAPPED:
            if match := pattern.fullmatch(text):
                text = match[1]
        whole = [content for start, end, content in boxes(text) if start == 0 and end == len(text)]
        text = whole[0] if whole else text
        if text == before:
            break
    return text
