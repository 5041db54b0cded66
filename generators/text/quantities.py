"""Exact quantities in answers: numbers, percentages, units, money, times of day and dates.

Values are fractions, so that neither long numbers nor decimals are rounded. What can be read in two ways is no
quantity.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

INTEGER = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{INTEGER}(?:\.\d*)?|\.\d+)"
_POWER_OF_TEN = r"(?:[eE](?P<e>[-+]?\d{1,4})|\s*\*\s*10\s*\^\s*(?:\{(?P<b>[-+]?\d{1,4})\}|(?P<p>[-+]?\d{1,4})))"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:"
    rf"(?:(?P<whole>{INTEGER})\s*)?\\frac\s*(?:\{{\s*(?P<n1>-?{INTEGER})\s*\}}\s*\{{\s*(?P<d1>{INTEGER})\s*\}}|(?P<n2>\d)\s*(?P<d2>\d))"
    rf"|(?:(?P<whole2>{INTEGER})\s+)?(?P<n3>{INTEGER})\s*/\s*(?P<d3>{INTEGER})"
    rf"|(?P<base>\d{{1,3}})\s*\^\s*(?:\{{(?P<x1>\d{{1,3}})\}}|(?P<x2>\d{{1,3}}))"
    rf"|(?P<decimal>{_DECIMAL}){_POWER_OF_TEN}?"
    rf")(?![\d.]|,\d|\s*[/^*!]|\s*\d)"
)
_CURRENCIES = {"us$": "usd", "$": "usd", "€": "eur", "£": "gbp", "¥": "jpy", "₹": "inr"}
_CURRENCY = re.compile(r"(?P<sign>[-+]?)\s*(?P<symbol>us\$|[$€£¥₹])\s*(?P<rest>.+)", re.IGNORECASE | re.DOTALL)
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_MONEY_SCALES = {"k": 3, "m": 6, "mn": 6, "b": 9, "bn": 9}
# words after a number that are no unit: they change the value or leave it open
_NO_UNITS = frozenset((
    "or", "and", "to", "more", "less", "fewer", "most", "least", "over", "under", "above", "below", "about",
    "approximately", "roughly", "than", "plus", "minus", "times", "squared", "cubed", "factorial", "root",
    "power", "mod", "modulo", "choose", "cross", "dot", "pi", "sin", "cos", "tan", "log", "ln", "exp", "sqrt",
    "bc", "bce", "ad", "ce", "am", "pm", "th", "st", "nd", "rd", "half", "halves", "third", "thirds", "quarter",
    "quarters", "fourths", "fifths", "sixths", "sevenths", "eighths", "ninths", "tenths", "hundredths",
    "thousandths", "pair", "pairs", "score", "if", "not", "no", "is", "are", "because", "since", "per", "true",
    "false", "nor", "but", "except", "inf", "i", "e",
))  # fmt: skip
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = (
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip

_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})",
        r"(?P<month>[a-z]{3,9})\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?,? (?P<year>\d{4})",
        r"(?P<day>\d{1,2})(?:st|nd|rd|th)?(?: of)? (?P<month>[a-z]{3,9})\.?,? (?P<year>\d{4})",
    )
)
_UNIT = re.compile(r"(?:(square|sq|cubic|cu)\.? )?(\S*?[^\W\d_]|\D)(?:\^\{?([23])\}?)?\.?", re.IGNORECASE)
# base unit: names = factor
_UNITS = """\
m: m meter metre = 1; km kilometer kilometre = 1000; cm centimeter centimetre = 1/100; mm millimeter millimetre = 1/1000
m: mi mile = 1609.344; ft foot feet = 0.3048; inch inches = 0.0254; yd yard = 0.9144
g: g gram = 1; kg kilogram = 1000; mg milligram = 1/1000; tonne = 1000000
g: lb lbs pound = 453.59237; oz ounce = 28.349523125
s: s sec second = 1; ms millisecond = 1/1000; min mins minute = 60; h hr hrs hour = 3600; day = 86400; week wk = 604800
month: month = 1; year yr yrs = 12; decade = 120; century centuries = 1200
L: L l liter litre = 1; mL ml milliliter millilitre = 1/1000
usd: USD usd dollar $ = 1; cent ¢ = 1/100
eur: EUR eur euro € = 1
gbp: GBP gbp £ = 1; pence = 1/100
jpy: JPY yen ¥ = 1
inr: INR rupee ₹ = 1
°: ° degree = 1
°C: °C celsius = 1
°F: °F fahrenheit = 1
byte: B byte = 1
N: N newton = 1
J: J joule = 1; kJ kilojoule = 1000
W: W watt = 1; kW kilowatt = 1000
V: V volt = 1
Hz: Hz hertz = 1; kHz = 1000; MHz = 1000000"""


@dataclass(frozen=True)
class Quantity:
    """A number with its unit, or another exact kind of value; `unit` is empty for bare numbers.

    `written` is the number before its conversion to the base unit. `optional` units may be missing on one side.
    """

    value: Fraction | str
    unit: str = ""
    written: Fraction | str = ""
    optional: bool = False

    def same(self, other: Quantity) -> bool:
        """Return whether the values are equal, in any unit of one kind, or with the unit left out on one side."""
        if self.unit == other.unit:
            return self.value == other.value
        if not self.unit or not other.unit:
            return (self.optional or other.optional) and self.written == other.written
        return False


def quantity(text: str) -> Quantity | None:
    """Return the quantity that the plain text is, or None if it is something else."""
    try:
        return _clock(text) or _date(text) or _measured(_digits(text)) or _compound(text)
    except (ValueError, ZeroDivisionError):  # a number of more digits than Python converts; 5/0
        return None


def _number(match: re.Match[str]) -> Fraction:
    groups = {name: text.replace(",", "") for name, text in match.groupdict().items() if text is not None}

    def first(*names: str) -> str | None:
        return next((groups[name] for name in names if name in groups), None)

    numerator, denominator = first("n1", "n2", "n3"), first("d1", "d2", "d3")
    if numerator is not None and denominator is not None:
        value = Fraction(int(numerator), int(denominator))
        if whole := first("whole", "whole2"):
            if not 0 < value < 1:
                raise ValueError("not a mixed number")
            value += int(whole)
    elif "base" in groups:
        value = Fraction(int(groups["base"]) ** int(first("x1", "x2") or 0))
    else:
        value = Fraction(groups["decimal"].rstrip(".") or "0") * Fraction(10) ** int(first("e", "b", "p") or 0)
    return -value if groups["sign"] == "-" else value


def _digits(text: str) -> str:
    """Return the text with a number word in front, zero to ninety-nine, as digits."""
    match = re.match(r"(minus |negative )?([a-z]+)(?:[- ]([a-z]+))?(?![\w'])", text, re.IGNORECASE)
    if match is None:
        return text
    sign, word, second = "-" if match[1] else "", match[2].lower(), (match[3] or "").lower()
    if word in _TENS:
        value, end = 20 + 10 * _TENS.index(word), match.end(2)
        if second in _ONES[1:10]:
            value, end = value + _ONES.index(second), match.end(3)
        return f"{sign}{value}{text[end:]}"
    return f"{sign}{_ONES.index(word)}{text[match.end(2) :]}" if word in _ONES else text


def _measured(text: str) -> Quantity | None:
    """Return a number with what stands around it: a currency, a percent sign, a scale, a unit."""
    currency, sign = "", 1
    if match := _CURRENCY.fullmatch(text):
        currency, text = _CURRENCIES[match["symbol"].lower()], match["rest"]
        sign = -1 if match["sign"] == "-" else 1
    match = _NUMBER.match(text)
    if match is None or (match["sign"] and sign < 0):
        return None
    number, rest = sign * _number(match), text[match.end() :]
    phrase = rest.strip()
    spaced = rest[:1].isspace()
    if re.fullmatch(r"%|percent|per cent", phrase, re.IGNORECASE):
        return None if currency else Quantity(number / 100)
    head, _, tail = phrase.partition(" ")
    if head.lower() in _SCALES or (currency and head.lower() in _MONEY_SCALES):
        number *= 10 ** {**_MONEY_SCALES, **_SCALES}[head.lower()]
        phrase, spaced = tail.strip(), True
    elif head.lower() == "dozen":
        number, phrase = number * 12, tail.strip()
    if currency:
        known = unit(phrase) if phrase else (Fraction(1), currency)
        return Quantity(number, currency, number, True) if known == (Fraction(1), currency) else None
    return _with_unit(number, phrase, spaced)


def _with_unit(number: Fraction, phrase: str, spaced: bool) -> Quantity | None:
    if not phrase:
        return Quantity(number, "", number)
    if (known := unit(phrase)) is not None:
        factor, name = known
        single = len(phrase) == 1 and phrase.isalpha()
        if single and not spaced:  # 5m may be five metres and five times m
            return None
        return Quantity(number * factor, name, number, not single)
    words = phrase.split()
    if not spaced or len(words) > 4 or not all(re.fullmatch(r"[^\W\d_][\w'-]*", word) for word in words):
        return None
    if len(words[0]) < 3 or _NO_UNITS.intersection(word.lower() for word in words):
        return None
    return Quantity(number, " ".join(_singular(word) for word in words), number, True)


def _compound(text: str) -> Quantity | None:
    """Return the sum of parts in known units of one kind, as in `1 hour 30 minutes`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)\.?(?:,?\s+(?:and\s+)?|$)", text, re.IGNORECASE)
    joined = re.fullmatch(r"(?:\d+(?:\.\d+)?\s*[a-zA-Z]+\.?(?:,?\s+(?:and\s+)?|$)){2,6}", text)
    if not joined:
        return None
    known = [(Fraction(number), unit(word)) for number, word in parts]
    names = {found[1] for _, found in known if found is not None}
    if any(found is None for _, found in known) or len(names) != 1:
        return None
    factors = [found[0] for _, found in known if found is not None]
    if factors != sorted(set(factors), reverse=True):
        return None
    terms = (number * factor for (number, _), factor in zip(known, factors, strict=True))
    return Quantity(sum(terms, Fraction(0)), names.pop())


def _clock(text: str) -> Quantity | None:
    folded = re.sub(r"\s*([ap])\.?\s?m\b\.?$", r" \1m", text.lower())
    folded = {"noon": "12 pm", "12 noon": "12 pm", "midnight": "12 am", "12 midnight": "12 am"}.get(folded, folded)
    match = re.fullmatch(r"(\d{1,2})(?::([0-5]\d))?(?::([0-5]\d))?( [ap]m| o'clock)?", folded)
    if match is None or not (match[2] or match[4]) or int(match[1]) > 23:
        return None
    hour, half = int(match[1]), (match[4] or "").strip()
    if half in ("am", "pm"):
        if not 1 <= hour <= 12:
            return None
        hour, half = hour % 12 + 12 * (half == "pm"), "day"
    else:
        half = "day" if hour >= 13 or hour == 0 else "either half"
    return Quantity(f"{hour}:{match[2] or '00'}:{match[3] or '00'}", f"time of {half}")


def _date(text: str) -> Quantity | None:
    match = next((match for form in _DATES if (match := form.fullmatch(text.lower()))), None)
    if match is None:
        return None
    name = match["month"]
    months = [
        k for k, month in enumerate(_MONTHS, 1) if name in (month, month[:3], "sept" if k == 9 else "", f"{k:02}")
    ]
    if not months:
        return None
    return Quantity(datetime.date(int(match["year"]), months[0], int(match["day"])).isoformat(), "date")


@cache
def _units() -> dict[str, tuple[Fraction, str]]:
    """Return (factor, base unit) by name; abbreviations keep their case, names are in lower case and singular."""
    table: dict[str, tuple[Fraction, str]] = {}
    for line in _UNITS.split("\n"):
        base, _, rest = line.partition(": ")
        for group in rest.split("; "):
            names, _, factor = group.partition(" = ")
            table |= {name: (Fraction(factor), base) for name in names.split()}
    return table


def unit(phrase: str) -> tuple[Fraction, str] | None:
    """Return (factor, base unit) of a known unit, such as `km/h`, `square meters` or `cm^2`; None for other words."""
    phrase = {"mph": "miles per hour", "kph": "km/h", "degrees celsius": "°C", "degrees fahrenheit": "°F"}.get(
        phrase.lower(), phrase
    )
    factor, names = Fraction(1), []
    parts = re.split(r"\s*/\s*|\s+per\s+", phrase)
    for place, part in enumerate(parts):
        match = _UNIT.fullmatch(part)
        known = match and (_units().get(match[2]) or _units().get(_singular(match[2])))
        if match is None or not known or (match[1] and match[3]):
            return None
        power = int(match[3] or {"s": 2, "c": 3}.get((match[1] or " ")[0].lower(), 1))
        factor *= known[0] ** (power if place == 0 else -power)
        names.append(f"{known[1]}^{power}" if power > 1 else known[1])
    return (factor, "/".join(names)) if len(parts) <= 2 else None


def _singular(word: str) -> str:
    if len(word) <= 3:  # abbreviations: Mb and MB differ
        return word
    folded = word.lower()
    return folded[:-1] if folded.endswith("s") and not folded.endswith("ss") else folded
