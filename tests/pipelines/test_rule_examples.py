"""Every rule file's own examples: what it keeps and what it drops, and for which reason."""

from pathlib import Path

import pyarrow as pa
import pytest

from windtunnel.pipelines.filters._chain import chain, judge
from windtunnel.pipelines.filters._rule import Example, Rule
from windtunnel.schemas.plugin import find, names


@pytest.fixture(autouse=True)
def _beside_a_model(bigrams: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where the examples of `perplexity` find their model."""
    monkeypatch.chdir(bigrams.parent)


def _cases(kind: str) -> list[tuple[str, Example]]:
    return [(name, example) for name in names("rule") for example in getattr(find(Rule, name), kind)]


def _judged(name: str, example: Example) -> str | None:
    batch = pa.record_batch(
        {"text": pa.array([example.text], pa.large_string()), "url": pa.array([example.url], pa.string())}
    )
    return judge(batch, chain([{name: dict(example.params)}])).reasons.to_list()[0]


@pytest.mark.parametrize("name", names("rule"))
def test_every_rule_shows_what_it_keeps_and_drops(name: str) -> None:
    rule = find(Rule, name)
    assert issubclass(rule, Rule)
    assert rule.keeps, f"{name} has no example of what it keeps"
    assert rule.drops or rule().edits, f"{name} has no example of what it drops"


@pytest.mark.parametrize(("name", "example"), _cases("keeps"))
def test_keeps(name: str, example: Example) -> None:
    assert _judged(name, example) is None


@pytest.mark.parametrize(("name", "example"), _cases("drops"))
def test_drops(name: str, example: Example) -> None:
    assert _judged(name, example) == f"{name}.{example.reason}"
