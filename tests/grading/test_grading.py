import polars as pl
import pytest

from benchmark.errors import ConfigError, DataError
from benchmark.grading import GRADERS, Verdict, grade
from benchmark.records import GRADE, RESPONSE, Question, question_table

QUESTIONS = question_table(
    [
        Question("sum", "What is 3 + 4?", ("7",)),
        Question("capital", "What is the capital of Peru?", ("Lima",)),
    ]
)


def responses(*rows):
    """Rows of (question_id, sample_index, text, finish_reason)."""
    return pl.DataFrame(
        [(key, index, text, None, reason, 9, 3, 1) for key, index, text, reason in rows],
        schema=RESPONSE,
        orient="row",
    )


def test_each_response_is_graded_against_its_own_question_whatever_the_order():
    table = grade(
        responses(
            ("capital", 1, "7", "stop"), ("sum", 0, "7", "stop"), ("capital", 0, "Lima.", "stop")
        ),
        QUESTIONS.reverse(),
        "basics",
    )
    assert table.schema == GRADE
    assert table.rows() == [
        ("capital", 1, "7", "incorrect", "basics"),
        ("sum", 0, "7", "correct", "basics"),
        ("capital", 0, "Lima", "correct", "basics"),
    ]


def test_no_responses_give_no_grades():
    assert grade(responses(), QUESTIONS, "basics").schema == GRADE


def test_equal_responses_are_graded_once(monkeypatch):
    seen = []

    def count(text, references, *, finished):
        seen.append((text, references, finished))
        return Verdict(text, "correct")

    monkeypatch.setitem(GRADERS, "count", count)
    rows = [("sum", i, "7", "stop") for i in range(4)]
    rows += [("sum", 4, "7", "length"), ("capital", 0, "7", "stop")]
    assert len(grade(responses(*rows), QUESTIONS, "count")) == 6
    assert seen == [("7", ("7",), True), ("7", ("7",), False), ("7", ("Lima",), True)]


def test_a_response_to_an_unknown_question_is_refused():
    with pytest.raises(DataError, match="response 2 to 'other': there is no such question"):
        grade(responses(("other", 2, "7", "stop")), QUESTIONS, "basics")


@pytest.mark.parametrize(("text", "reason"), [("", "error"), (None, "stop"), ("7", "cancelled")])
def test_a_failed_response_is_refused_instead_of_counted_as_wrong(text, reason):
    with pytest.raises(DataError, match=f"response 0 to 'sum' has finish_reason '{reason}'"):
        grade(responses(("sum", 0, text, reason)), QUESTIONS, "basics")


def test_an_unknown_grader_is_refused_with_the_near_names():
    with pytest.raises(ConfigError, match=r"no 'basic'; choose one of \['basics'\]"):
        grade(responses(), QUESTIONS, "basic")
