"""Whatever a model or a judge writes is read in linear time, and never ends in an exception."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmark.engines.reasoning import answer_start, split_reasoning
from benchmark.estimators.verbalized import parse_confidence
from benchmark.grading import Answer, Verdict
from benchmark.grading.basics import Basics
from benchmark.grading.exact import Exact
from benchmark.grading.extract import final_answer, last_box
from benchmark.grading.letter import Letter
from benchmark.grading.llm_judge import LLMJudge, parse_reply
from benchmark.grading.math_verify import MathVerify
from benchmark.grading.mathematics.text import normalise
from benchmark.grading.number import Number
from benchmark.grading.short_fact import ShortFact
from benchmark.records import OUTCOMES
from tests.fuzz import FEW, LONG, TAGS, long_texts, texts, within

SECONDS = 1.5  # for a long text; linear work takes a tenth of it
PROMPT = "What is it?\nPut your answer into \\boxed{}.\nThe answer is one letter."
VERDICTS = {"CORRECT": "correct", "INCORRECT": "incorrect", "NOT_ATTEMPTED": "incorrect"}
JUDGE = LLMJudge(model="m", prompt="{question}{references}{answer}", verdicts=VERDICTS)
GRADERS = [Basics(), Exact(), Letter(), Number(), ShortFact(), MathVerify(), JUDGE]
FORMS = ["none", "think", "harmony"]

references = st.lists(
    st.sampled_from(["A", "3", "1,000.5", "Paris", "New York", "Au", "\\frac{1}{2}"])
    | texts.filter(str.strip),
    min_size=1,
    max_size=3,
).map(tuple)


def verdict(grader, answer: Answer) -> Verdict:
    """Return what a grader says before it compares mathematics or asks a judge."""
    if isinstance(grader, MathVerify):
        return grader._extracted(answer)
    if isinstance(grader, LLMJudge):
        case = grader._case(answer)
        return case if isinstance(case, Verdict) else Verdict(case.answer, "incorrect")
    return grader.verdict(answer)


def is_a_state(found: Verdict) -> bool:
    """Return whether it is an outcome, and one that says so where no answer was found."""
    if found.answer is None:
        return found.outcome in {"unparsed", "truncated"}
    return found.outcome in OUTCOMES and isinstance(found.answer, str)


@given(texts, references, st.booleans())
@example("answer" + " " * 300 + "(" * 300, ("A",), True)
@pytest.mark.parametrize("grader", GRADERS, ids=lambda grader: grader.kind)
def test_every_response_gets_a_verdict(grader, text, references, finished):
    with within(SECONDS):
        found = verdict(grader, Answer(PROMPT, text, finished, references))
    assert is_a_state(found)


@FEW
@given(long_texts(), st.sampled_from([("A",), ("3",), ("Paris", "New York")]))
@example("answer" + " " * 10_000 + "(" * 9_000, ("A",))
@example("3 " + "answer " * 140 + ":" * 900, ("3",))
@pytest.mark.parametrize("grader", GRADERS, ids=lambda grader: grader.kind)
def test_a_long_response_is_read_in_linear_time(grader, text, references):
    with within(SECONDS):
        found = verdict(grader, Answer(PROMPT, text, True, references))
    assert is_a_state(found)


@given(texts)
def test_a_box_is_found_in_anything(text):
    with within(SECONDS):
        final_answer(text, PROMPT)
        box = last_box(text)
    if box is not None:
        assert box == box.strip() != ""
        assert box in text
        assert box.count("{") - box.count("\\{") >= 0


@given(texts, texts)
def test_a_box_without_braces_in_it_comes_back(before, content):
    content = content.translate(str.maketrans("", "", "{}\\")).strip()
    if content:
        assert last_box(f"{before} \\boxed{{{content}}}") == content


@FEW
@given(long_texts(), st.sampled_from(FORMS))
@example("<|channel|>" + "a" * LONG, "harmony")
@example("<|channel|>final<|constrain|>" + " " * LONG, "harmony")
@example("\\boxed{" * (LONG // 7), "none")
def test_a_long_text_is_split_and_searched_in_linear_time(text, form):
    with within(SECONDS):
        split = split_reasoning(text, form)
        final_answer(text, PROMPT)
        confidence = parse_confidence(text)
        outcome, _ = parse_reply(text, VERDICTS)
        normalise(text[:2000])
    assert len(split.text) + len(split.reasoning or "") <= 2 * len(text)
    assert confidence is None or 0 <= confidence <= 1
    assert outcome in {"correct", "incorrect", "unparsed"}


@given(st.lists(st.sampled_from(TAGS) | texts, max_size=20).map("".join), st.sampled_from(FORMS),
       st.booleans())  # fmt: skip
def test_reasoning_is_split_from_anything(text, form, opened):
    with within(SECONDS):
        split = split_reasoning(text, form, opened=opened)
    if not split.ended:
        assert split.text == ""
    assert len(split.text) + len(split.reasoning or "") <= 2 * len(text)


@given(texts, texts)
def test_reasoning_and_answer_come_back(reasoning, answer):
    for tag in ("<", ">"):
        reasoning, answer = reasoning.replace(tag, ""), answer.replace(tag, "")
    expected = (reasoning.strip() or None, answer.strip(), True)
    assert split_reasoning(f"<think>{reasoning}</think>{answer}", "think") == expected
    assert split_reasoning(f"{reasoning}</think>{answer}", "think", opened=True) == expected
    harmony = (
        f"<|channel|>analysis<|message|>{reasoning}<|end|><|start|>assistant"
        f"<|channel|>final<|message|>{answer}<|return|>"
    )
    assert split_reasoning(harmony, "harmony") == expected


@given(st.lists(st.sampled_from(TAGS) | texts, max_size=20), st.sampled_from(FORMS),
       st.booleans(), texts)  # fmt: skip
def test_the_first_answer_token_is_found_or_there_is_none(tokens, form, opened, answer):
    with within(SECONDS):
        start = answer_start(tokens, form, opened=opened, answer=answer)
    if form != "none" and start is not None:
        assert tokens[start].strip()


@given(texts)
def test_a_stated_confidence_is_a_probability_or_nothing(text):
    with within(SECONDS):
        confidence = parse_confidence(text)
    assert confidence is None or 0 <= confidence <= 1


@given(st.floats(0, 1), texts)
def test_a_stated_confidence_comes_back(confidence, before):
    assert parse_confidence(f"{before} \\boxed{{{confidence:.6f}}}") == round(confidence, 6)


@given(texts)
def test_a_judge_s_reply_is_a_verdict_or_not_understood(reply):
    with within(SECONDS):
        outcome, _ = parse_reply(reply, VERDICTS)
    assert outcome in {"correct", "incorrect", "unparsed"}


@given(texts)
def test_mathematics_is_normalised_in_bounded_time(text):
    with within(SECONDS):
        normal = normalise(text)
    assert not {"$", "\x00"} & set(normal)
