"""Checks a reward: its examples have the rewards that they say, and odd replies get a number."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from windtunnel.schemas.finding import Finding, finding
from windtunnel.trainer.rewards._reward import Example, Places, Reply, Reward, Verifier, checked

ODD = ("", "\n\n", "\ud800", "a\x00b", "[" * 2000, "\u202e" + "x" * 5000)


def check(cls: type[Reward]) -> Iterator[Finding]:
    """Yield the outcome of the examples, and whether odd replies are scored too."""
    if not cls.examples:
        yield Finding("examples", "no example: set `examples`")
        return
    if cls.server is not None:
        yield finding("examples make a reward", lambda: _made(cls))
        return
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as cache:
        named = {name for example in cls.examples for name in cls(**example.params).models()}
        places = Places({name: Path(name) for name in named}, Path(cache))
        if missing := [name for name in named if not Path(name).is_dir()]:
            yield Finding("examples", skipped=f"they need the model directory {missing[0]}")
            return
        for example in cls.examples:
            what = f"{example.text!r} with {dict(example.params)}"
            yield finding(what, lambda e=example: _gives(cls, e, places))
        yield finding("odd replies are scored", lambda: _odd(cls, cls.examples[0], places))


def _made(cls: type[Reward]) -> None:
    for example in cls.examples:
        cls(**example.params)


def _gives(cls: type[Reward], example: Example, places: Places) -> str | None:
    reward = cls(**example.params)
    (found,) = checked(reward, reward.scorer(places), [example.reply()]).values
    return None if math.isclose(found, example.reward, abs_tol=1e-4) else f"expected {example.reward}, got {found}"


def _odd(cls: type[Reward], example: Example, places: Places) -> str | None:
    reward = cls(**example.params)
    replies = [
        Reply("odd", example.reply().messages, text.encode("utf-8", "replace").decode(), example.answer) for text in ODD
    ]
    failed = checked(reward, reward.scorer(places), replies).failed  # a model may count what it cannot read
    return "a verifier failed" if failed and issubclass(cls, Verifier) else None
