from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from benchmark.errors import ConfigError, DataError
from benchmark.grading import (
    Answer,
    Verdict,
    build_graders,
    disagreements,
    grade_text,
    named_graders,
)
from benchmark.grading import grade as grade_with
from benchmark.grading.basics import Basics
from benchmark.grading.verdict import TextGrader
from benchmark.records import DISAGREEMENT, GRADE, RESPONSE, Question, question_table
from benchmark.store.artifact import Store

QUIET = Console(quiet=True)
AT = "benchmark.grading."
QUESTIONS = question_table(
    [
        Question("sum", "What is 3 + 4?", "3 + 4", ("7",)),
        Question("capital", "What is the capital of Peru?", "Peru", ("Lima",)),
    ]
)


def grade(table, questions, grader=None, name="basics"):
    artifact = Store(Path("unused"), QUIET).artifact("m", "d", "s", "verdicts", {})
    return grade_with(table, questions, name, grader or Basics(), artifact, QUIET)


def responses(*rows):
    """Rows of (question_id, sample_index, text, finish_reason)."""
    return pl.DataFrame(
        [(key, index, text, None, reason, 9, 3, 1, None) for key, index, text, reason in rows],
        schema=RESPONSE,
        orient="row",
    )


def test_each_response_is_graded_against_its_own_question_whatever_the_order():
    table = grade(
        responses(
            ("capital", 1, "7", "stop"), ("sum", 0, "7", "stop"), ("capital", 0, "Lima.", "stop")
        ),
        QUESTIONS.reverse(),
    )
    assert table.schema == GRADE
    assert table.rows() == [
        ("capital", 1, "7", "incorrect", "the first statement", "basics"),
        ("sum", 0, "7", "correct", "the first statement", "basics"),
        ("capital", 0, "Lima", "correct", "the first statement", "basics"),
    ]


def test_no_responses_give_no_grades():
    assert grade(responses(), QUESTIONS).schema == GRADE


def test_equal_responses_are_graded_once():
    seen = []

    class Count(TextGrader):
        def verdict(self, answer):
            seen.append((answer.text, answer.references, answer.finished))
            return Verdict(answer.text, "correct")

    rows = [("sum", i, "7", "stop") for i in range(4)]
    rows += [("sum", 4, "7", "length"), ("capital", 0, "7", "stop")]
    assert len(grade(responses(*rows), QUESTIONS, Count())) == 6
    assert seen == [("7", ("7",), True), ("7", ("7",), False), ("7", ("Lima",), True)]


def test_a_response_to_an_unknown_question_is_refused():
    with pytest.raises(DataError, match="response 2 to 'other': there is no such question"):
        grade(responses(("other", 2, "7", "stop")), QUESTIONS)


@pytest.mark.parametrize(("text", "reason"), [("", "error"), (None, "stop"), ("7", "cancelled")])
def test_a_failed_response_is_refused_instead_of_counted_as_wrong(text, reason):
    with pytest.raises(DataError, match=f"response 0 to 'sum' has finish_reason '{reason}'"):
        grade(responses(("sum", 0, text, reason)), QUESTIONS)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "at least one grader"),
        (
            {"basic": {"_target_": f"{AT}basic.Basic"}},
            r"basic\._target_.*Near names: basics",
        ),
        ({"number": {"_target_": f"{AT}number.Number", "tolerence": 1}}, "number.*tolerence"),
        ({"math": {"_target_": f"{AT}math_verify.MathVerify", "seconds": 0}}, "seconds=0.*above 0"),
        ({"fact": {"_target_": f"{AT}short_fact.ShortFact", "rules": ["fuzzy"]}}, "fuzzy"),
    ],
)
def test_wrong_graders_are_refused_by_name(entries, message):
    with pytest.raises(ConfigError, match=message):
        build_graders(entries)


def test_graders_that_disagree_are_listed_with_their_answers():
    given = responses(
        ("capital", 0, "Lima", "stop"), ("capital", 1, "It is Lima", "stop"),
        ("capital", 2, "It is Lima", "stop"), ("sum", 0, "8", "stop"),
    )  # fmt: skip
    graders = build_graders(named_graders(["basics", "exact"]))
    tables = {name: grade(given, QUESTIONS, grader, name) for name, grader in graders.items()}
    listed = disagreements(tables, QUESTIONS)
    assert listed.schema == DISAGREEMENT
    assert listed.rows() == [
        (
            "capital",
            "Lima",
            "basics: correct (Lima; the first statement); "
            "exact: incorrect (it is lima; the whole response)",
            2,
        )
    ]
    assert disagreements({"basics": tables["basics"]}, QUESTIONS).is_empty()


THOUGHTS = [
    "<think>7</think>8", "8</think>7", "<think>8</think>7<think>9</think>",
    "<thinking>9</thinking>7", "<thought>9</thought>\n7", "[THINK]8[/THINK]7", "<THINK>8</THINK>7",
    "<think>8<think>9</think>8</think>7", "<think>\n\n</think>\n\n7", "7<think>8</think>",
    "<reasoning>8</reasoning>7",
]  # fmt: skip


@pytest.mark.parametrize("text", THOUGHTS)
def test_thoughts_reach_no_grader(text):
    seen = []

    class See(TextGrader):
        def verdict(self, answer):
            seen.append(answer)
            return Verdict(answer.text, "correct")

    grade(responses(("sum", 0, text, "stop")), QUESTIONS, See())
    last = "8" if text == THOUGHTS[0] else "7"
    assert seen == [Answer("What is 3 + 4?", last, True, ("7",))]


def test_a_response_that_ends_in_its_thoughts_is_truncated():
    table = grade(responses(("sum", 0, "<think>7", "stop")), QUESTIONS)
    assert table["outcome"].to_list() == ["truncated"]
    assert grade_text("number", "<think>\\boxed{7}", ["7"]) == Verdict(None, "truncated")


@pytest.mark.parametrize(
    ("grader", "text", "references", "rule"),
    [
        ("number", r"\boxed{7}", ["7"], "the last box with a number"),
        ("letter", "<think>A</think>The answer is B.", ["B"], "the stated answer"),
        ("short_fact", "It is Lima.", ["Quito", "Lima"], "containment"),
        ("basics", "It is Lima.", ["Lima"], "the first statement"),
        ("exact", "lima", ("Lima",), "the whole response"),
        ("math_verify", r"\boxed{\frac{1}{2}}", ["0.5"], None),
    ],
)
def test_a_text_is_graded_as_in_a_run(grader, text, references, rule):
    found = grade_text(grader, text, references)
    assert found.outcome == "correct"
    assert found.answer
    assert found.rule == rule or rule is None


def test_the_prompts_box_is_no_answer_of_a_text():
    prompt = "Put it into \\boxed{7}."
    assert grade_text("number", prompt, ["7"], prompt) == Verdict(None, "unparsed", "no number")
    assert grade_text("number", prompt, ["7"]).outcome == "correct"


@pytest.mark.parametrize(
    ("grader", "references", "message"),
    [("leter", ["A"], "letter"), ("llm_judge", ["A"], "no grader of single texts"),
     ("letter", [], "accepted answers"), ("letter", ["A", " "], "accepted answers"),
     ("letter", "A", "accepted answers")],
)  # fmt: skip
def test_a_wrong_grader_or_reference_is_named(grader, references, message):
    with pytest.raises(ValueError, match=message):
        grade_text(grader, "A", references)


def test_a_grader_whose_rules_changed_has_another_identity():
    for kind in ("basics", "exact", "number", "letter", "short_fact"):
        (grader,) = build_graders(named_graders([kind])).values()
        assert grader.identity["version"] >= 2
