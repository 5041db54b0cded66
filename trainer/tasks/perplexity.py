"""Score the texts of files by how likely a model finds them, by source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.tasks._evaluation import Asker, Measured, Row, Text
from windtunnel.trainer.tasks._file_task import FileTask, rows_of, text_of
from windtunnel.trainer.tasks.minimal_pairs import part_of

SUFFIXES = (".jsonl", ".parquet")
SHOWN = 200  # characters of a text in the table of items


class Perplexity(FileTask):
    """Texts of a JSON Lines or Parquet file, or of a directory of them: bits per byte and perplexity by source.

    A row has `text` and, optionally, `source`, the part by which scores are shown (Paloma's domains, Magnusson et al.
    2023, arXiv 2312.10523). Bits per byte are comparable across tokenizers, the perplexity by token is not. Every token
    of a text is scored once, the first after end-of-text, long texts in windows that do not overlap (lm-eval fills the
    last one with tokens that are scored already). Runs are compared by the share of tokens than which the model finds
    no other likelier.
    """

    column: str = "text"
    source: str = "source"  # the column of the parts

    asks_by: ClassVar[tuple[str, ...]] = ("file", "name", "column", "source")
    gives: ClassVar[str] = (
        '{"text": "The old mill stands beside a narrow river.", "source": "mills"}\n{"text": "It rains.", "id": 7}\n'
    )
    refuses: ClassVar[tuple[tuple[str, str], ...]] = (
        ('{"words": "It rains."}', "line 1: there is no 'text'; its columns: words"),
        ('{"text": "It rains."}\n{"text": " "}', "line 2: 'text' must be a text that is not blank"),
        ('{"text": "It rains.", "source": [1]}', "'source' must be a text or a whole number"),
        ('{"text": "It rains."}\n{"text": "It rains."}', "lines 1 and 2"),
    )

    @property
    def compared_by(self) -> str:
        return "token_accuracy"

    def files(self) -> list[Path]:
        """Return the file, or the files below the directory. Raises InputError for a directory without any."""
        path = Path(self.file)
        if not path.is_dir():
            return [path]
        found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        if not found:
            raise InputError(f"{path} has no files of texts ({', '.join(SUFFIXES)})")
        return found

    def parse(self, row: Mapping[str, Any]) -> tuple[str, str]:
        return text_of(row, self.column), part_of(row, self.source)

    def _rows(self) -> Iterator[tuple[Path, int, dict[str, Any]]]:
        for path in self.files():
            rows = enumerate(_table(path), start=1) if path.suffix == ".parquet" else rows_of(path)
            yield from ((path, number, row) for number, row in rows)

    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Score every text; see Evaluation."""
        questions = self.questions()
        found = asker.pieces([()] * len(questions), [(question.text,) for question in questions])
        rows = []
        for question, one in zip(questions, found, strict=True):
            tokens, hits = int(one.tokens.sum()), int(one.hits.sum())
            rows.append(
                Row(
                    id=question.id,
                    prompt="",
                    answer=question.text[:SHOWN],
                    reply="",
                    correct=hits / tokens,
                    group=question.group,
                    bytes=len(question.text.encode()),
                    nats=float(one.nats.sum()),
                    metrics={"token_accuracy": hits / tokens},
                    tokens=tokens,
                    part=question.about,
                )
            )
        return Measured(rows, {})


def _table(path: Path) -> list[dict[str, Any]]:
    import polars as pl

    try:
        return pl.read_parquet(path).to_dicts()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}") from error
