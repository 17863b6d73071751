"""What is told of work while it goes on: each response once, whoever drew it and when."""

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from benchmark.cell.asked import Asked
from benchmark.cell.watching import Curves, Drawn
from benchmark.records import GRADE, STORED_RESPONSE
from benchmark.sampling.responses import RESPONSES
from benchmark.store.artifact import Artifact, prompt_hash

PROMPTS = {f"d/test/{i}": f"What is {i}?" for i in range(4)}
K = 5


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    artifact = Artifact(tmp_path / "m/d/test/responses-1", {}, Console(quiet=True))
    artifact.folder.mkdir(parents=True)
    return Asked("responses", artifact, RESPONSES, PROMPTS, K, 8)


def row(question: int, sample: int, text: str = "right", **other: Any) -> dict[str, Any]:
    key = f"d/test/{question}"
    return {
        "question_id": key, "sample_index": sample, "text": text, "reasoning": "x" * 99,
        "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 10, "seed": 0,
        "error": None, "prompt_hash": prompt_hash(PROMPTS.get(key, "?")), **other,
    }  # fmt: skip


def failed(question: int, sample: int) -> dict[str, Any]:
    return row(question, sample, "", finish_reason="error", error="overloaded")


def append(asked: Asked, *rows: dict[str, Any]) -> Path:
    return asked.artifact.append_table(pl.DataFrame([*rows], STORED_RESPONSE))


def grade(responses: pl.DataFrame) -> pl.DataFrame:
    """Every text that says "right" is; no failed response may come here."""
    assert set(responses["finish_reason"]) <= {"stop", "length"}
    outcome = pl.when(pl.col("text") == "right").then(pl.lit("correct")).otherwise(
        pl.lit("incorrect")
    )  # fmt: skip
    graded = responses.select("question_id", "sample_index", outcome=outcome)
    missing = [pl.lit(None, GRADE[name]).alias(name) for name in GRADE if name not in graded]
    return graded.with_columns(missing).select(list(GRADE))


def told(drawn: Drawn) -> dict[str, float]:
    (point,) = drawn.look()
    return dict(point)


def counts(drawn: Drawn) -> tuple[float, float, float]:
    point = told(drawn)
    return point["drawn"], point["failed"], point["accuracy"]


def test_responses_failures_and_accuracy_are_told_as_parts_come(asked: Asked) -> None:
    drawn = Drawn(asked, grade)
    assert not [*drawn.look()]
    append(asked, row(0, 0), row(0, 1, "wrong"), failed(1, 0))
    assert counts(drawn) == (2, 1, 0.5)
    assert not [*drawn.look()]
    append(asked, row(1, 1), row(2, 0))
    assert counts(drawn) == (4, 1, 0.75)


def test_a_response_counts_once_in_whatever_parts_it_is(asked: Asked) -> None:
    drawn = Drawn(asked, grade)
    append(asked, row(0, 0), row(0, 1, "wrong"))
    append(asked, row(0, 1, "wrong"), row(0, 2))  # as if two jobs had drawn it
    assert counts(drawn) == (3, 0, pytest.approx(2 / 3))
    parts = [pl.read_parquet(path) for path in asked.artifact.folder.glob("part-*")]
    whole = pl.concat(parts).unique(["question_id", "sample_index"])
    kept = asked.artifact.append_table(whole)  # the parts become one
    for part in {*asked.artifact.folder.glob("part-*")} - {kept}:
        part.unlink()
    append(asked, row(3, 0))
    assert counts(drawn) == (4, 0, 0.75)


def test_two_jobs_that_fill_a_split_tell_the_same(asked: Asked) -> None:
    first, second = Drawn(asked, grade), Drawn(asked, grade)
    append(asked, row(0, 0))  # by the first
    append(asked, row(1, 0, "wrong"), failed(2, 0))  # by the second
    assert counts(first) == counts(second) == (2, 1, 0.5)


def test_a_request_that_was_repeated_with_success_has_not_failed(asked: Asked) -> None:
    drawn = Drawn(asked, grade)
    append(asked, failed(0, 0), failed(0, 1))
    assert [point["failed"] for point in drawn.look()] == [2]
    append(asked, row(0, 0), failed(0, 1))
    assert counts(drawn) == (1, 1, 1.0)
    append(asked, failed(0, 0))  # a late one
    assert counts(drawn) == (1, 1, 1.0)


def test_only_what_is_asked_for_counts(asked: Asked) -> None:
    drawn = Drawn(asked, grade)
    append(asked, row(0, K), row(9, 0), row(0, 1, prompt_hash="of another prompt"), row(0, 0))
    assert counts(drawn) == (1, 0, 1.0)


def test_a_run_that_goes_on_counts_on_and_its_rate_is_its_own(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 100.0, 102.0, 106.0])
    monkeypatch.setattr("benchmark.cell.watching.time.monotonic", lambda: next(clock))
    append(asked, row(0, 0), row(0, 1))
    drawn = Drawn(asked, grade)
    assert not [*drawn.look()]  # nothing is new
    append(asked, row(0, 2), row(0, 3, "wrong"))
    point = told(drawn)
    assert (point["drawn"], point["accuracy"]) == (4, 0.75)
    assert point["tokens_per_second"] == 20 / 2
    append(asked, row(1, 0))
    assert told(drawn)["tokens_per_second"] == 10 / 4


def test_the_share_that_was_cut_off_is_told(asked: Asked) -> None:
    drawn = Drawn(asked, grade)
    append(asked, row(0, 0), row(0, 1, finish_reason="length"), failed(0, 2))
    assert told(drawn)["truncated"] == 0.5


def test_servers_that_tell_no_tokens_have_no_rate(asked: Asked) -> None:
    drawn = Drawn(asked, grade)
    append(asked, row(0, 0, completion_tokens=None))
    assert told(drawn)["tokens_per_second"] == 0


def test_without_a_grade_no_accuracy_is_told(asked: Asked) -> None:
    drawn = Drawn(asked, None)
    append(asked, row(0, 0))
    assert "accuracy" not in told(drawn)


def test_many_new_responses_are_judged_by_some_of_them(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.cell.watching._GRADED", 4)
    graded: list[int] = []

    def counting(responses: pl.DataFrame) -> pl.DataFrame:
        graded.append(responses.height)
        return grade(responses)

    drawn = Drawn(asked, counting)
    append(asked, *(row(q, k) for q in (0, 1) for k in range(K)))  # all right
    append(asked, *(row(q, k, "wrong") for q in (2, 3) for k in range(K)))
    assert counts(drawn) == (20, 0, 0.5)
    assert graded == [2, 2]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no table at all", os.urandom(200)])
def test_a_damaged_part_is_left_to_its_reader(asked: Asked, content: bytes) -> None:
    drawn = Drawn(asked, grade)
    (asked.artifact.folder / "part-0.parquet").write_bytes(content)
    assert not [*drawn.look()]
    append(asked, row(0, 0))
    assert counts(drawn) == (1, 0, 1.0)
    assert not [*drawn.look()]


def test_parts_of_other_columns_are_left_to_their_reader(asked: Asked) -> None:
    drawn = Drawn(asked, grade)
    asked.artifact.append_table(pl.DataFrame({"question_id": ["d/test/0"], "sample_index": [0]}))
    append(asked, row(0, 0))
    assert counts(drawn) == (1, 0, 1.0)


def line(**point: float) -> str:
    return json.dumps(point) + "\n"


def test_curves_tell_each_line_once_and_only_whole_ones(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    curves = Curves(path)
    assert not [*curves.look()]
    path.write_text(line(epoch=0, loss=2.0) + line(epoch=0, brier=0.3) + '{"epoch": 1, "lo')
    assert [*curves.look()] == [{"epoch": 0, "loss": 2.0}, {"epoch": 0, "brier": 0.3}]
    path.write_text(line(epoch=0, loss=2.0) + line(epoch=0, brier=0.3) + line(epoch=1, loss=1.0))
    assert [*curves.look()] == [{"epoch": 1, "loss": 1.0}]
    assert not [*curves.look()]


def test_an_epoch_that_was_trained_again_counts_as_it_came_out_last(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    path.write_text("".join(line(epoch=e, loss=value) for e, value in ((0, 3), (1, 9), (1, 2))))
    assert [*Curves(path).look()] == [{"epoch": 0, "loss": 3}, {"epoch": 1, "loss": 2}]
