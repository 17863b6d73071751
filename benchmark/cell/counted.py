"""Stages 1 to 4 for counts that were sampled elsewhere: a CSV file becomes a cell without a model.

A row is a question: its id, n responses of which c were correct, one confidence per source::

    question_id,n,c,my_probe,asked
    q1,100,93,0.91,0.8
    q2,100,4,0.22,

Grades are expanded from the counts, n of each question with c of them correct, in an order that a
fixed seed draws, so that everything downstream works unchanged.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from benchmark.capability.counts import count_outcomes
from benchmark.cell.cell import Cell, KnownModel, Split, Stages
from benchmark.cell.csv_file import NAMED, SHOWN, read_csv
from benchmark.config.schema import Config
from benchmark.errors import DataError
from benchmark.questions.counts import ColumnsConfig, CountedDataset
from benchmark.records import (
    CONFIDENCE,
    COUNTED,
    DISAGREEMENT,
    GRADE,
    QUESTION,
    RESPONSE,
    Estimate,
)
from benchmark.statistics.inputs import FloatArray
from benchmark.store.artifact import Store

MOST_RESPONSES = 100_000_000  # responses that a file may count; each becomes a row
_SEED = 0  # seed of the order of a question's grades


class Counts(NamedTuple):
    """What a file of counts holds, sorted by question.

    Attributes:
        questions: of schema ``QUESTION``; without references.
        grades: of schema ``GRADE``; without answers.
        estimates: by column; a confidence that is missing has status ``unparsed``.
    """

    questions: pl.DataFrame
    grades: pl.DataFrame
    estimates: dict[str, Estimate]


def counted_cell(config: Config, counts: Counts, store: Store, console: Console) -> Cell:
    """Return the cell whose only split was read from a file, of a model that isn't asked."""
    split = Split(
        counts.questions, RESPONSE.to_frame(), counts.grades, GRADE.to_frame(),
        DISAGREEMENT.to_frame(), count_outcomes(counts.grades), {},
    )  # fmt: skip
    stages = Stages(_nothing, lambda _, role: {"evaluation": split}[role], _nothing)
    return Cell(
        config, {"evaluation": counts.questions}, KnownModel({}, {}), store, console, stages
    )


def _nothing(*_: object) -> Any:
    raise TypeError("A file of counts holds neither other questions nor hidden states.")


def read_counts(config: CountedDataset, console: Console) -> Counts:
    """Return what the file at ``config.path`` holds.

    Args:
        config: ``columns`` says how the file's columns are called.
        console: told which columns are not read.

    Raises:
        ConfigError: there is no such file.
        DataError: it is no CSV file, lacks a column, or a value breaks its rule.
    """
    path = Path(config.path).expanduser()
    table, columns = read_csv(path), config.columns
    for column in (columns.question_id, columns.n, columns.c, *(columns.confidences or [])):
        if column not in table.columns:
            raise DataError(
                f"{path} has no column '{column}'; it has {table.columns[:NAMED]}. Say what its "
                f"columns are called with dataset.columns.question_id=..., .n=..., .c=..., "
                f".confidences=[...]."
            )
    _refuse_ids(table[columns.question_id], path)
    table = table.sort(columns.question_id)
    ids = table[columns.question_id]
    n = _numbers(table[columns.n], ids, path, _is_count, "must be a whole number of at least 1.")
    c = _numbers(
        table[columns.c], ids, path, lambda x: (x == 0) | _is_count(x),
        "must be a whole number of at least 0.",
    )  # fmt: skip
    if np.any(c > n):
        row = int(np.flatnonzero(c > n)[0])
        raise DataError(
            f"{path}, question {ids[row][:SHOWN]!r}: '{columns.c}' is {c[row]:.0f}, but "
            f"'{columns.n}' only {n[row]:.0f}."
        )
    if n.sum() > MOST_RESPONSES:
        raise DataError(
            f"{path} counts {n.sum():,.0f} responses; at most {MOST_RESPONSES:,} can be expanded."
        )
    texts = table[columns.question] if columns.question in table.columns else ids
    texts = texts.str.strip_chars()
    return Counts(
        _questions(ids, texts.set(texts == "", None).fill_null(ids)),
        _grades(ids, n.astype(np.int64), c.astype(np.int64)),
        {
            name: _estimate(ids, _confidences(table[name], ids, path))
            for name in _sources(table, columns, path, console)
        },
    )


def _refuse_ids(ids: pl.Series, path: Path) -> None:
    for row, empty in enumerate(ids.str.strip_chars() == "", start=1):
        if empty:
            raise DataError(f"{path}, row {row} below the header has no question id.")
    for value in ids.filter(ids.str.contains(r"\p{Cc}")):
        raise DataError(f"{path}: question {value[:SHOWN]!a} has control characters in its id.")
    for value in ids.filter(ids.is_duplicated()):
        raise DataError(f"{path}: question {value[:SHOWN]!r} occurs twice; ids must be unique.")


def _sources(
    table: pl.DataFrame, columns: ColumnsConfig, path: Path, console: Console
) -> list[str]:
    """Return the columns that hold confidences.

    A column that is numbers for the most part is one: a value that is no number is then refused.
    """
    if columns.confidences is not None:
        return list(dict.fromkeys(columns.confidences))
    known = {columns.question_id, columns.n, columns.c, columns.question}
    texts = table.drop(known, strict=False).select(pl.all().str.strip_chars().replace("", None))
    numbers = texts.select(pl.all().cast(pl.Float64, strict=False))
    found = [
        name
        for name in texts.columns
        if texts[name].count() and 2 * numbers[name].count() >= texts[name].count()
    ]
    if others := [name for name in texts.columns if name not in found]:
        console.print(f"{path}: columns that hold no numbers are not read: {_listed(others)}.")
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _confidences(values: pl.Series, ids: pl.Series, path: Path) -> FloatArray:
    """Return confidences in [0, 1], NaN where the value is empty, [N]."""
    empty = (values.str.strip_chars() == "").to_numpy()
    return _numbers(
        values, ids, path, lambda x: empty | ((x >= 0) & (x <= 1)),
        "is no confidence in [0, 1]; leave it empty where there is none. If the column holds "
        "something else, name those with confidences: dataset.columns.confidences=[...].",
    )  # fmt: skip


def _numbers(
    values: pl.Series,
    ids: pl.Series,
    path: Path,
    allowed: Callable[[FloatArray], NDArray[np.bool_]],
    must: str,
) -> FloatArray:
    """Return a column's numbers, NaN where there is none, [N]; ``must`` ends the refusal."""
    name = f"{path}, column '{values.name}'"
    parsed = values.str.strip_chars().cast(pl.Float64, strict=False)
    numbers: FloatArray = parsed.fill_null(np.nan).to_numpy()
    for row in np.flatnonzero(~allowed(numbers)).tolist():
        raise DataError(f"{name}, question {ids[row][:SHOWN]!r}: {values[row][:SHOWN]!r} {must}")
    return numbers


def _is_count(numbers: FloatArray) -> NDArray[np.bool_]:
    whole: NDArray[np.bool_] = np.isfinite(numbers) & (np.floor(numbers) == numbers)
    return whole & (numbers >= 1)


def _questions(ids: pl.Series, texts: pl.Series) -> pl.DataFrame:
    none = [pl.lit([], QUESTION[name]).alias(name) for name in ("references", "metadata")]
    table = pl.DataFrame({"question_id": ids, "prompt": texts, "question": texts})
    return table.with_columns(none).select(list(QUESTION))


def _grades(ids: pl.Series, n: np.ndarray, c: np.ndarray) -> pl.DataFrame:
    """Return n grades of each question, c of them correct, in random order."""
    question = np.repeat(np.arange(len(ids)), n)
    index = np.arange(len(question)) - np.repeat(np.cumsum(n) - n, n)
    shuffled = np.lexsort((np.random.default_rng(_SEED).random(len(question)), question))
    correct = np.empty(len(question), dtype=np.bool_)
    correct[shuffled] = index < np.repeat(c, n)
    return pl.DataFrame(
        {"question_id": ids.gather(question), "sample_index": index, "right": correct}
    ).select(
        "question_id",
        "sample_index",
        answer=pl.lit(None, pl.String),
        outcome=pl.when("right").then(pl.lit("correct")).otherwise(pl.lit("incorrect")),
        reason=pl.lit(None, pl.String),
        grader=pl.lit(COUNTED),
    ).cast(GRADE)  # fmt: skip


def _estimate(ids: pl.Series, confidences: FloatArray) -> Estimate:
    """Return one confidence per question; what it cost is not known."""
    unknown = pl.lit(None, pl.Int64)
    table = pl.DataFrame({"question_id": ids, "confidence": pl.Series(confidences).fill_nan(None)})
    given = pl.col("confidence").is_not_null()
    return Estimate(
        table.select(
            "question_id",
            "confidence",
            sample_index=pl.lit(0, pl.Int64),
            status=pl.when(given).then(pl.lit("ok")).otherwise(pl.lit("unparsed")),
            prompt_tokens=unknown,
            completion_tokens=unknown,
        ).select(list(CONFIDENCE))
    )
