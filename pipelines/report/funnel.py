"""The funnel of a corpus: documents in, kept, dropped by rule set and reason, and unreadable by error."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl

from windtunnel.pipelines.filters._rule import reasons_of
from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.examples import Example, examples
from windtunnel.pipelines.report.results import Results
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record


class Drop(Record):
    """One reason."""

    reason: str
    count: int
    share: str  # of the documents that came in
    width: float  # of the bar, in per cent of the largest reason
    examples: list[Example]


class Group(Record):
    """All reasons of one rule set or method."""

    name: str
    step: str
    count: int
    share: str
    at: float  # place in the corpus's bar, in per cent of the documents that came in
    width: float
    drops: list[Drop]
    inherited: str  # the corpus that dropped these before; empty when this one did


class Funnel(Record):
    """One corpus."""

    name: str
    made_of: str
    how: list[str]
    seen: int
    kept: int
    kept_share: float
    kept_bytes: str
    unreadable: dict[str, int]
    groups: list[Group]


def funnels(results: Results) -> list[Funnel]:
    """Return the funnel of every corpus, in the order of the plan."""
    rows: list[Funnel] = []
    known: dict[tuple[str, str], str] = {}  # (step, rule set) -> the first corpus that dropped by it
    for name, artifact in results.of_kind("corpus").items():
        funnel = _funnel(results, name, artifact, known)
        for group in funnel.groups:
            known.setdefault((group.step, group.name), name)
        rows.append(funnel)
    return rows


def _funnel(results: Results, name: str, artifact: Artifact, known: dict[tuple[str, str], str]) -> Funnel:
    counts = artifact.manifest.counts
    files = artifact.files("dropped")
    dropped = _dropped(artifact)
    fresh = {key for key in dropped if (key[0], rule_set(key[1])) not in known}
    texts = examples(results, files, fresh) if fresh else {}
    seen = int(counts["seen"])
    config: dict[str, Any] = (results.recipe.get("corpora") or {}).get(name) or {}
    read = results.named("read", name)
    return Funnel(
        name=name,
        made_of=_made_of(config),
        how=_how(config),
        seen=seen,
        kept=int(counts["kept"]),
        kept_share=round(100 * counts["kept"] / seen, 3) if seen else 0.0,
        kept_bytes=units.size(counts.get("bytes") or 0),
        unreadable=dict(read.manifest.counts.get("unreadable") or {}) if read else {},
        groups=_groups(results, dropped, texts, known, seen, int(counts["kept"])),
    )


def _dropped(artifact: Artifact) -> Counter[tuple[str, str]]:
    """Return documents by (step, reason) of a corpus."""
    files = artifact.files("dropped")
    if not files:
        return Counter()
    table = pl.scan_parquet(files).group_by("step", "reason").len().collect()
    return Counter({(row[0] or "", row[1]): row[2] for row in table.iter_rows()})


def _groups(
    results: Results,
    dropped: Counter[tuple[str, str]],
    texts: dict[tuple[str, str], list[Example]],
    known: dict[tuple[str, str], str],
    seen: int,
    kept: int,
) -> list[Group]:
    largest = max(dropped.values(), default=1)
    order = _order(results)
    keys = sorted({(step, rule_set(reason)) for step, reason in dropped}, key=lambda k: (order.get(k, len(order)), k))
    groups, at = [], 100 * kept / seen if seen else 0.0
    for step, name in keys:
        own = {reason: n for (s, reason), n in dropped.items() if s == step and rule_set(reason) == name}
        drops = [
            Drop(
                reason=one_line(reason.partition(".")[2] or "examples", 60),
                count=n,
                share=units.share(n, seen),
                width=round(100 * n / largest, 3),
                examples=texts.get((step, reason), []),
            )
            for reason, n in sorted(own.items(), key=lambda item: (-item[1], item[0]))
        ]
        count = sum(own.values())
        width = 100 * count / seen
        groups.append(
            Group(
                name=one_line(name, 60),
                step=step,
                count=count,
                share=units.share(count, seen),
                at=round(at, 3),
                width=round(width, 3),
                drops=drops,
                inherited=known.get((step, name), ""),
            )
        )
        at += width
    return groups


def rule_set(reason: str) -> str:
    """Return the rule set or method of a reason such as `gopher_quality.gopher_short_doc`."""
    return reason.partition(".")[0]


def _order(results: Results) -> dict[tuple[str, str], int]:
    """Return the order in which rule sets decided, by (step, rule set); methods of dedup come after."""
    keys: list[tuple[str, str]] = []
    for artifact in results.of_kind("decide").values():
        config = artifact.manifest.config
        keys += [(config.get("step", ""), rule_set(name)) for name, _ in reasons_of(config.get("rules") or ())]
    return {key: number for number, key in enumerate(dict.fromkeys(keys))}


def _made_of(config: dict[str, Any]) -> str:
    if "from" in config:
        parents = config["from"] if isinstance(config["from"], list) else [config["from"]]
        return "from " + " and ".join(one_line(p, 40) for p in parents)
    source = config.get("source")
    if isinstance(source, dict) and len(source) == 1:
        ((kind, params),) = source.items()
        where = params if isinstance(params, (str, list)) else next(iter(params.values()), "") if params else ""
        listed = ", ".join(map(str, where)) if isinstance(where, list) else where
        return f"read from {kind}: {one_line(listed, 160)}"
    return f"read from {one_line(source, 80)}" if source else ""


def _how(config: dict[str, Any]) -> list[str]:
    """Return the recipe's rules and methods as short texts."""
    methods = config.get("dedup") or []
    specs = [*(config.get("rules") or []), *(methods if isinstance(methods, list) else [methods])]
    if config.get("decontaminate"):
        specs.append("decontaminate")
    return [_spec(spec) for spec in specs]


def _spec(spec: Any) -> str:
    if isinstance(spec, str):
        return spec
    ((name, params),) = spec.items()
    is_dict = isinstance(params, dict)
    text = ", ".join(f"{key} {_value(value)}" for key, value in params.items()) if is_dict else _value(params)
    return one_line(f"{name} ({text})" if text or not is_dict else name, 120)


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
