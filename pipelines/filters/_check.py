"""Checks a rule by its examples: `keeps` and `drops`, with the reason of every drop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from windtunnel.pipelines.filters._chain import chain, judge
from windtunnel.pipelines.filters._rule import Example, Rule
from windtunnel.schemas.finding import Finding, differs, finding
from windtunnel.schemas.plugin import label


def check(cls: type[Rule]) -> Iterator[Finding]:
    """Yield the outcome of every example; a rule shows what it keeps and, unless it rewrites text, what it drops."""
    if not cls.keeps:
        yield Finding("keeps", "no example of a document that it keeps")
    for example in cls.keeps:
        yield finding(f"keeps {example.shown}", lambda example=example: _kept(cls, example), example.needs)
    edits = any(cls(**example.params).edits for example in cls.keeps if not example.needs)
    if not cls.drops and not edits:
        yield Finding("drops", "no example of a document that it drops")
    for example in cls.drops:
        what = f"drops {example.shown} for {example.reason!r}"
        yield finding(what, lambda example=example: _dropped(cls, example), example.needs)
    yield finding("several documents at once", lambda: _together(cls))


def _kept(cls: type[Rule], example: Example) -> str | None:
    reason, text = _judged(cls, example)
    if reason is not None:
        return f"dropped for {reason!r}"
    return None if example.becomes is None else differs(example.becomes, text)


def _dropped(cls: type[Rule], example: Example) -> str | None:
    reason, _ = _judged(cls, example)
    return "kept" if reason is None else differs(f"{label(cls)}.{example.reason}", reason)


def _judged(cls: type[Rule], example: Example) -> tuple[str | None, str]:
    """Return (reason or None, the text afterwards) of one document."""
    return _batch(cls, [example])[0]


def _batch(cls: type[Rule], examples: Sequence[Example]) -> list[tuple[str | None, str]]:
    """Return the same of several documents in one batch; they have the parameters of the first."""
    columns = {
        "text": pa.array([example.text for example in examples], pa.large_string()),
        "url": pa.array([example.url for example in examples], pa.string()),
    }
    outcome = judge(pa.record_batch(columns), chain([cls(**examples[0].params)]))
    return list(zip(outcome.reasons.to_list(), outcome.batch.column("text").to_pylist(), strict=True))


def _together(cls: type[Rule]) -> str | None:
    """Return what is wrong where examples of the same parameters stand in one batch, as documents of a corpus do."""
    groups: dict[str, list[Example]] = {}
    for example in (*cls.keeps, *cls.drops):
        if not example.needs:
            groups.setdefault(repr(sorted(example.params.items())), []).append(example)
    for examples in groups.values():
        alone = [_judged(cls, example) for example in examples]
        for (reason, text), (own, own_text), example in zip(
            _batch(cls, examples * 2), alone * 2, examples * 2, strict=True
        ):
            if (reason, text) != (own, own_text):
                return f"{example.shown}: {differs(own, reason) or differs(own_text, text)}, beside other documents"
    return None
