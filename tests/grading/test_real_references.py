"""The graders on the real datasets' own answers: each is accepted, other questions' aren't."""

import random

import polars as pl
import pytest

from benchmark.grading.letter import Letter
from benchmark.grading.number import Number
from benchmark.grading.short_fact import ShortFact, matching_rule
from benchmark.grading.spelling import same
from benchmark.grading.verdict import Answer
from tests.questions.mirror import REAL, needs_real_rows

pytestmark = needs_real_rows
QUESTIONS = 300  # of each dataset


def rows(folder):
    tables = [pl.read_parquet(path) for path in sorted((REAL / folder).rglob("*.parquet"))]
    return pl.concat(tables).sample(QUESTIONS, seed=0).to_dicts()


def facts(folder):
    """Accepted answers of each question, without symbols and those with line breaks."""
    found = []
    for row in rows(folder):
        answer = row["answer"]
        every = [answer] if isinstance(answer, str) else [answer["value"], *answer["aliases"]]
        found.append(tuple(a for a in every if any(c.isalpha() for c in a) and "\n" not in a))
    return [references for references in found if references]


def accepted(grader, text, references):
    return grader.verdict(Answer("", text, True, references)).outcome == "correct"


@pytest.mark.parametrize("folder", ["mandarjoshi/trivia_qa", "basicv8vc/SimpleQA"])
def test_every_accepted_answer_is_correct_in_a_box_and_in_a_sentence(folder):
    refused = [
        form % name
        for references in facts(folder)
        for name in references
        for form in ("\\boxed{%s}", "The answer is %s.", "It is %s.")
        if not accepted(ShortFact(), form % name, references)
    ]
    assert len(refused) <= 3, refused


@pytest.mark.parametrize("folder", ["mandarjoshi/trivia_qa", "basicv8vc/SimpleQA"])
def test_answers_to_other_questions_are_incorrect(folder):
    every, draw = facts(folder), random.Random(0)
    taken = []
    for references in every * 10:
        other = draw.choice(draw.choice(every))
        if not any(same(other, r) for r in references):
            rule = matching_rule(other, references)
            taken += [(other, references[0], rule)] if rule else []
    assert len(taken) <= len(every) * 10 * 0.002, taken


def test_every_answer_of_gsm8k_is_read_in_five_forms():
    forms = ("\\boxed{%s}", "#### %s", "The answer is %s.", "So she has %s apples.", "Answer: $%s")
    for row in rows("openai/gsm8k"):
        number = row["answer"].split("####")[-1].strip()
        for form in forms:
            assert accepted(Number(), form % number, (number.replace(",", ""),)), form % number


def test_a_choice_of_mmlu_is_read_with_its_text_and_never_from_its_text():
    forms = (
        "\\boxed{%s. %s}",
        "The answer is %s. %s",
        "**Answer: %s** %s",
        "\\boxed{\\text{%s) %s}}",
    )
    misread = []
    for row in rows("cais/mmlu"):
        for letter, choice in zip("ABCD", row["choices"], strict=True):
            texts = [form % (letter, choice) for form in forms]
            misread += [text for text in texts if not accepted(Letter(), text, (letter,))]
            alone = Letter().verdict(Answer("", f"The answer is {choice}.", True, (letter,)))
            misread += [choice] if alone.answer and len(choice) > 2 else []
    assert len(misread) <= QUESTIONS * 4 * len(forms) * 0.003, misread
