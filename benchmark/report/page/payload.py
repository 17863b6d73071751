"""Stage 8: what the page of a grid holds of a cell's questions and responses, packed as text.

A block is JSON, compressed and in base 64: letters, digits, ``+``, ``/`` and ``=``, so that nothing
that a model or a dataset wrote stands in the page as such. Responses come in blocks of
``BLOCK`` questions, which the page unpacks when one of them is opened.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl

from benchmark.capability.counts import count_outcomes
from benchmark.records import OUTCOMES, CellResult
from benchmark.report.plotted import ID

BLOCK = 100  # questions whose responses are unpacked together
MOST_CHARACTERS = 2000  # of one text
TEXT_LENGTHS = (MOST_CHARACTERS, 500, 120, 30)  # of a question's texts: the first that fits
SHOWN_RESPONSES = (  # per question, and the length of their texts: the first that fits
    (16, MOST_CHARACTERS), (8, MOST_CHARACTERS), (4, MOST_CHARACTERS), (2, MOST_CHARACTERS),
    (2, 500), (1, 500), (1, 120), (1, 30), (0, 0),
)  # fmt: skip
_LONGEST_ID = 300  # characters of a question's id or family
DECIMALS = 4  # digits after the point of a confidence
_QUESTION_TEXTS = ("question", "prompt", "references")
_RESPONSE_TEXTS = ("answer", "reason", "text", "reasoning")


class Payload(NamedTuple):
    """The packed blocks of one cell.

    Attributes:
        points: block of the questions' ids, counts, outcomes and confidences.
        texts: block of what was asked, and of the accepted answers.
        responses: blocks of responses with their grades, each of ``BLOCK`` questions.
        shown: most responses of a question.
    """

    points: str
    texts: str
    responses: list[str]
    shown: int


def pack(value: Any) -> str:
    """Return a JSON-like value, without NaN, as compressed text."""
    data = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(data.encode(), compresslevel=6, mtime=0)).decode()


def pack_cells(cells: Sequence[CellResult], most: int) -> list[Payload]:
    """Return the blocks of each cell, with as many responses per question as there is room for.

    What small cells leave of their share goes to the larger ones. Questions and confidences are
    always there. Texts are cut: those of very many or very long questions to what half of the room
    holds, and those of responses rather than that none is shown.

    Args:
        cells: in any order.
        most: bytes of all texts before they are compressed; questions that cells share count once.
    """
    questions = [cell.questions.sort(ID) for cell in cells]
    asked = pl.concat(questions).unique(ID).with_columns(pl.col("references").list.join("; "))
    sizes = {length: _size(asked, _QUESTION_TEXTS, length) for length in TEXT_LENGTHS}
    length = next((step for step, size in sizes.items() if size <= most // 2), TEXT_LENGTHS[-1])
    room = most - sizes[length]
    payloads = {}
    smallest_first = sorted(range(len(cells)), key=lambda i: len(questions[i]))
    for done, i in enumerate(smallest_first):
        rows = _responses(cells[i], SHOWN_RESPONSES[0][0])
        for step in SHOWN_RESPONSES:
            size = _size(rows.filter(pl.col("turn") < step[0]), _RESPONSE_TEXTS, step[1])
            if size <= room // (len(cells) - done):
                break
        room -= size
        payloads[i] = Payload(
            pack(_points(cells[i], questions[i])),
            pack(_texts(questions[i], length)),
            [*map(pack, _blocks(rows, questions[i][ID].to_list(), step))],
            step[0],
        )
    return [payloads[i] for i in range(len(cells))]


def clip(text: str, most: int) -> str:
    """Return the text, cut after ``most`` characters with a note of what is missing."""
    cut = len(text) - most
    return text if cut <= 0 else f"{text[:most]} … [{cut:,} more characters]"


def family_of(questions: pl.DataFrame) -> pl.DataFrame:
    """Return question_id and family of the questions whose metadata has one."""
    return (
        questions.select(ID, "metadata")
        .explode("metadata")
        .unnest("metadata")
        .filter(pl.col("key") == "family")
        .select(ID, family="value")
    )


def _size(table: pl.DataFrame, columns: Sequence[str], length: int) -> int:
    """Return the bytes of these columns' texts, each cut after ``length`` characters."""
    cut = table.select(pl.col(columns).str.slice(0, length).str.len_bytes().sum())
    return sum(cut.row(0))


def _points(cell: CellResult, questions: pl.DataFrame) -> dict[str, Any]:
    """Return the numbers of each question, in the order of ``questions``."""
    ids = questions.select(ID)

    def counts(skip: int) -> dict[str, list[int]]:
        found = ids.join(
            count_outcomes(cell.grades, skip), on=ID, how="left", maintain_order="left"
        )
        return {name: found[name].fill_null(0).to_list() for name in ("n", "c")}

    every = pl.concat([cell.grades, cell.left_out])
    outcomes = every.group_by(ID).agg(
        (pl.col("outcome") == outcome).sum().alias(outcome) for outcome in OUTCOMES
    )
    outcomes = ids.join(outcomes, on=ID, how="left", maintain_order="left").fill_null(0)
    confidences, statuses = {}, {}
    for name, estimate in cell.estimates.items():
        first = estimate.confidences.sort("sample_index").unique(ID, keep="first")
        rows = ids.join(first, on=ID, how="left", maintain_order="left")
        confidences[name] = rows["confidence"].fill_nan(None).round(DECIMALS).to_list()
        lacking = rows.with_row_index().filter(pl.col("confidence").is_null())
        statuses[name] = dict(
            lacking.select(pl.col("index").cast(str), "status").drop_nulls().rows()
        )
    return {
        "ids": [clip(key, _LONGEST_ID) for key in questions[ID]],
        **counts(0),
        "outcomes": outcomes.select(OUTCOMES).rows(),
        "confidences": confidences,
        "statuses": statuses,
        "targets": {
            name: counts(estimate.samples_used)
            for name, estimate in cell.estimates.items()
            if estimate.samples_used
        },
    }


def _texts(questions: pl.DataFrame, most: int) -> dict[str, Any]:
    family = questions.select(ID).join(
        family_of(questions), on=ID, how="left", maintain_order="left"
    )
    return {
        "question": [clip(text, most) for text in questions["question"]],
        "prompt": [clip(text, most) for text in questions["prompt"]],
        "references": [clip("; ".join(accepted), most) for accepted in questions["references"]],
        "group": [name and clip(name, _LONGEST_ID) for name in family["family"]],
    }


def _responses(cell: CellResult, most: int) -> pl.DataFrame:
    """Return up to ``most`` responses of each question with their grades, and their ``turn``.

    Of a question's responses the first of each outcome is taken, then the second of each, and so
    on: so what happens rarely is among the first.
    """
    return (
        pl.concat([cell.grades, cell.left_out])
        .sort("sample_index")
        .with_columns(nth=pl.int_range(pl.len()).over(ID, "outcome"))
        .sort("nth", "sample_index")
        .with_columns(turn=pl.int_range(pl.len()).over(ID))
        .filter(pl.col("turn") < most)
        .lazy()
        .join(cell.responses, on=[ID, "sample_index"])
        .sort(ID, "sample_index")
        .select(
            ID, "turn", "sample_index", pl.col("outcome").replace_strict(_OUTCOME_NUMBER),
            "completion_tokens", *_RESPONSE_TEXTS,
        )
        .collect()
    )  # fmt: skip


def _blocks(rows: pl.DataFrame, ids: Sequence[str], step: tuple[int, int]) -> Iterator[list[Any]]:
    """Yield blocks of the questions' responses, each question's a list of rows."""
    shown, length = step
    by_question: dict[str, list[Any]] = {}
    for key, _, *known in rows.filter(pl.col("turn") < shown).iter_rows():
        texts = [part and clip(part, length) for part in known[3:]]
        by_question.setdefault(key, []).append([*known[:3], *texts])
    for start in range(0, len(ids), BLOCK):
        yield [by_question.get(key, []) for key in ids[start : start + BLOCK]]


_OUTCOME_NUMBER = {outcome: number for number, outcome in enumerate(OUTCOMES)}
