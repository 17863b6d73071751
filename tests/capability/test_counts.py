import polars as pl
import pytest

from benchmark.capability.counts import count_outcomes, counted_grades
from benchmark.errors import DataError
from benchmark.records import CAPABILITY, GRADE


def grade_table(*rows):
    """Rows of (question_id, sample_index, outcome)."""
    return pl.DataFrame(
        [(question, sample, None, outcome, None, "exact") for question, sample, outcome in rows],
        schema=GRADE,
        orient="row",
    )


MIXED = grade_table(
    ("b", 1, "truncated"),
    ("b", 0, "correct"),
    ("a", 0, "incorrect"),
    ("b", 2, "unparsed"),
    ("a", 1, "correct"),
    ("b", 3, "correct"),
)


def test_counts_by_question_sorted_with_truncated_and_unparsed_not_correct():
    counts = count_outcomes(MIXED)
    assert counts.schema == CAPABILITY
    assert counts.rows() == [("a", 2, 1, 0, 0), ("b", 4, 2, 1, 1)]


def test_skipped_samples_are_left_out():
    assert count_outcomes(MIXED, skip_samples=1).rows() == [("a", 1, 1, 0, 0), ("b", 3, 1, 1, 1)]


def test_question_without_a_response_left_has_no_row():
    assert count_outcomes(MIXED, skip_samples=2)["question_id"].to_list() == ["b"]
    assert count_outcomes(MIXED.clear()).is_empty()


@pytest.mark.parametrize("outcome", ["wrong", None])
def test_unknown_outcome_is_refused_by_name(outcome):
    table = grade_table(("a", 0, "correct"), ("q7", 3, outcome))
    with pytest.raises(DataError, match=rf"outcome {outcome!r} of question 'q7', sample 3"):
        count_outcomes(table)


@pytest.mark.parametrize(
    ("treatment", "counts"),
    [
        ({"unparsed": "incorrect", "truncated": "incorrect"}, ("b", 4, 2, 1, 1)),
        ({"unparsed": "left_out", "truncated": "incorrect"}, ("b", 3, 2, 1, 0)),
        ({"unparsed": "left_out", "truncated": "left_out"}, ("b", 2, 2, 0, 0)),
    ],
)
def test_the_treatment_says_which_responses_count(treatment, counts):
    assert count_outcomes(counted_grades(MIXED, treatment)).rows() == [("a", 2, 1, 0, 0), counts]


def test_leaving_everything_out_is_refused():
    cut = grade_table(("a", 0, "truncated"), ("a", 1, "truncated"))
    with pytest.raises(DataError, match=r"All 2 responses are truncated.*max_new_tokens"):
        counted_grades(cut, {"truncated": "left_out"})
