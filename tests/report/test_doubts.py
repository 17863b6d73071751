"""More than half without an answer is told: on the terminal, and on the page."""

import re
from dataclasses import replace

import polars as pl
import pytest
from rich.console import Console

from benchmark.grading.unread import judge_doubt
from benchmark.records import GRADE
from benchmark.report.doubts import doubts
from benchmark.report.grid import make_grid
from benchmark.report.report import write_report
from benchmark.report.tables.cell import metric_table
from benchmark.runs import report_command


def with_outcomes(cell, **shares):
    """Return the cell with these shares of outcomes; the others are correct."""
    rows = len(cell.grades)
    found = [name for name, share in shares.items() for _ in range(round(rows * share))]
    outcomes = pl.Series("outcome", found + ["correct"] * (rows - len(found)))
    return replace(cell, grades=cell.grades.with_columns(outcomes))


def without_confidences(cell, name, share, status="unparsed"):
    """Return the cell with a share of an estimator's confidences missing."""
    estimate = cell.estimates[name]
    lacking = pl.int_range(pl.len()) < round(len(estimate.confidences) * share)
    table = estimate.confidences.with_columns(
        status=pl.when(lacking).then(pl.lit(status)).otherwise(pl.lit("ok")),
        confidence=pl.when(~lacking).then(pl.lit(0.5)),
    )
    return replace(cell, estimates=cell.estimates | {name: replace(estimate, confidences=table)})


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({}, []),
        ({"truncated": 0.5}, []),
        ({"unparsed": 0.25, "truncated": 0.25}, []),
        ({"incorrect": 1}, []),
        ({"truncated": 0.6}, ["720 of 1,200", "720 truncated", "model.decoding.max_new_tokens"]),
        ({"unparsed": 0.6}, ["0 truncated, 720 unparsed", "grader"]),
        ({"truncated": 0.3, "unparsed": 0.21}, ["612 of 1,200", "max_new_tokens"]),
        ({"truncated": 0.21, "unparsed": 0.3}, ["612 of 1,200", "grader"]),
        ({"truncated": 1}, ["1,200 of 1,200"]),
        ({"unparsed": 1}, ["1,200 of 1,200"]),
    ],
)
def test_responses_without_an_answer_are_told_where_they_are_the_most(cell, shares, words):
    told = doubts(with_outcomes(cell, **shares))
    assert len(told) == bool(words)
    assert all(word in told[0] for word in words)


def test_responses_that_are_left_out_count_among_them(cell):
    cut = with_outcomes(cell, truncated=0.6)
    kept = cut.grades["outcome"] == "correct"
    left = replace(cut, grades=cut.grades.filter(kept), left_out=cut.grades.filter(~kept))
    assert doubts(left) == doubts(cut) != []


@pytest.mark.parametrize(
    ("share", "status", "told"),
    [(0, "unparsed", False), (0.5, "unparsed", False), (0.52, "unparsed", True),
     (1, "unparsed", True), (0.8, "error", True)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["verbalized", "p_true"])
def test_missing_confidences_are_told_by_their_estimator(cell, name, share, status, told):
    base = without_confidences(with_outcomes(cell), "verbalized", 0)
    found = doubts(without_confidences(base, name, share, status))
    assert len(found) == told
    if told:
        assert f"({100 * share:.0f} %)" in found[0]
        assert ("Verbalized" if name == "verbalized" else "P(True)") in found[0]
        assert "max_new_tokens" in found[0]


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (["judge: CORRECT"] * 3, False),
        (["judge: CORRECT", "judge's reply not understood"], False),
        (["judge: CORRECT"] + ["judge's reply not understood"] * 2, True),
        (["exact"] * 9 + ["judge: INCORRECT"] + ["judge's reply not understood"] * 2, True),
        ([None] * 3, False),
        (["no answer", "containment"], False),
        (["no answer", "judge's reply not understood"], True),
    ],
)
def test_a_judge_that_is_mostly_not_understood_is_told(reasons, told):
    rows = [("q", index, "a", "incorrect", reason, "g") for index, reason in enumerate(reasons)]
    columns = ["question_id", "sample_index", "answer", "outcome", "reason", "grader"]
    grades = pl.DataFrame(rows, {name: GRADE[name] for name in columns}, orient="row")
    said = judge_doubt(grades)
    assert (said is not None) == told
    assert not told or "grading.llm_judge.verdicts" in said


def test_the_page_and_the_terminal_tell_it(cell, tmp_path, capsys):
    doubtful = without_confidences(with_outcomes(cell, truncated=0.6), "verbalized", 0.9)
    page = write_report(make_grid([doubtful]), tmp_path, {}).read_text()
    report_command._tell(make_grid([doubtful]), Console(width=1000))
    printed = capsys.readouterr().out
    for sentence in doubts(doubtful):
        assert sentence in page.replace("&#39;", "'")
        assert sentence in printed
    assert (
        "More than half"
        not in write_report(make_grid([with_outcomes(cell)]), tmp_path, {}).read_text()
    )


def test_few_answers_stand_out_in_the_table_at_the_end(cell):
    few = cell.metrics.with_columns(
        answered=pl.when(estimator="verbalized").then(29).otherwise("answered")
    )
    console = Console(record=True, width=200, force_terminal=True)
    console.print(metric_table(replace(cell, metrics=few)), soft_wrap=True)
    styled = console.export_text(styles=True)
    assert re.search(r"\x1b\[1;31m *29/60", styled)
    assert styled.count("\x1b[1;31m") == 1
