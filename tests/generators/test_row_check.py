"""Rows of generators that do not fit their schema are refused, with the generator and the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from windtunnel.generators.core.generator import Dropped, Generator, Kept
from windtunnel.generators.core.rows import RowWriter, conversation_row, message, preference_row
from windtunnel.generators.core.scripted import session
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.records import PREFERENCE

ROW = conversation_row([message("user", "Why?"), message("assistant", "So.")], "s")
PAIR = preference_row([message("user", "Why?")], "So.", "No.", (1.0, None), None, "s")


class Talker(Generator):
    """A kind with a further table."""

    tables: ClassVar[Any] = {"notes": pa.schema([pa.field("note", pa.string(), nullable=False)])}


class Judge(Generator):
    """A kind of preferences."""

    output: ClassVar[pa.Schema] = PREFERENCE


def take(kind: Generator, folder: Path, *outcomes: Any) -> None:
    with RowWriter(kind, folder, 0) as writer:
        for outcome in outcomes:
            writer.take(outcome)


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        (Talker, without(ROW, "messages"), "without 'messages'"),
        (Talker, without(ROW, "id"), "without 'id'"),
        (Talker, ROW | {"source": None}, "without 'source'"),
        (Talker, ROW | {"messages": []}, "'messages' holds no message"),
        (Talker, ROW | {"messages": [{"role": "user", "content": 3}]}, "'content' is a int, not text"),
        (Talker, ROW | {"messages": [{"role": "user"}]}, "'messages' holds something else"),
        (Talker, ROW | {"messages": [message("user", "\ud800")]}, "'content' holds half of a surrogate pair"),
        (Talker, ROW | {"mesages": 1}, "unknown field 'mesages': did you mean 'messages'"),
        (Judge, without(PAIR, "rejected"), "without 'rejected'"),
        (Judge, PAIR | {"chosen": []}, "'chosen' holds no message"),
        (Judge, PAIR | {"rating_chosen": "high"}, "'rating_chosen' is a str, not a number"),
        (Judge, PAIR | {"rating": 1.0}, "unknown field 'rating'"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(tmp_path: Path, kind: Any, row: dict[str, Any], said: str) -> None:
    with pytest.raises(WindtunnelError, match=f"generator 'test_row_check' .*{said}"):
        take(kind(), tmp_path, Kept(row))
    assert not list(tmp_path.rglob("*.parquet"))


def test_an_id_names_one_row_and_equal_rows_may_come_twice(tmp_path: Path) -> None:
    take(Talker(), tmp_path, Kept(ROW), Kept(dict(ROW)))
    with pytest.raises(WindtunnelError, match="two different rows with the id 'a'"):
        take(Talker(), tmp_path, Kept(ROW | {"id": "a"}), Kept(ROW | {"id": "a", "source": "t"}))


def test_further_tables_and_drops_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(WindtunnelError, match="no table 'note': did you mean 'notes'"):
        take(Talker(), tmp_path, Kept(ROW, extra={"note": [{"note": "x"}]}))
    with pytest.raises(WindtunnelError, match="a row of 'notes' without 'note'"):
        take(Talker(), tmp_path, Kept(ROW, extra={"notes": [{}]}))
    with pytest.raises(WindtunnelError, match="NoneType for its reason"):
        take(Talker(), tmp_path, Dropped(None, "s", "raw"))  # pyright: ignore[reportArgumentType]
    with pytest.raises(WindtunnelError, match="lineage that no JSON can hold"):
        take(Talker(), tmp_path, Dropped("odd", "s", "raw", {"x": float("nan")}))


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (ROW, "failed in `outcomes`: TypeError: Kept, Dropped or Failed is expected, not dict"),
        (Kept("text", parents=()), "gives a str for a row"),  # pyright: ignore[reportArgumentType]
        (Kept(ROW, {"x": object()}, parents=()), "gives a lineage that no JSON can hold"),
    ],
)
def test_what_is_no_outcome_is_refused(outcome: Any, said: str) -> None:
    class Odd(Talker):
        """A kind that yields one thing."""

        def outcomes(self, session: Any) -> Any:
            yield outcome

    kind = Odd()
    with pytest.raises(WindtunnelError, match=f"generator '.*' {said}"):
        list(kind.generate(session("odd", kind, {}, {})))
