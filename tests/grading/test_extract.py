import time

import pytest

from benchmark.grading.extract import (
    final_answer,
    last_box,
    last_boxes,
    own_turn,
    stated_answers,
    without_echo,
)

PROMPT = "What is the capital?\n\nPut the answer in a box.\nFor example: \\boxed{Mount Everest}"


@pytest.mark.parametrize(
    ("text", "box"),
    [
        (r"\boxed{4}", "4"), (r"\boxed {4}", "4"), (r"\fbox{4}", "4"), (r"\boxed{ 4 }", "4"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"), (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{7} \boxed{}", "7"), (r"\frac{1 \boxed{7}", "7"),
        (r"\boxed{7} and \boxed{8", "7"), ("no box", None), (r"\boxed", None),
        (r"\boxed{  }", None), (r"\boxed 4", None), ("", None),
    ],
)  # fmt: skip
def test_the_last_balanced_box_counts(text, box):
    assert last_box(text) == box


def test_the_prompts_own_box_is_no_answer():
    assert last_box(without_echo(PROMPT + "\nI don't know", PROMPT)) is None
    assert last_box(without_echo(r"It is \boxed{Mount Everest}", PROMPT)) == "Mount Everest"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is Paris.", "Paris"), ("Answer: **Paris**", "Paris"),
        ("Final answer is: Paris\nmore", "Paris"), ("no statement", None),
        ("the answer is 4. The answer is 5", "5"), ("### Answer\n18", "18"),
        ("The answer is:\n\n18", "18"), ("**Final answer**: 18", "18"), ("Answer: `18`", "18"),
        ("答案：東京", "東京"), ("Die Antwort ist 18.", "18"), ("Respuesta: 18", "18"),
        ("the answer would be 18", "18"), ("The answer to the question is 18.", "18"),
        ("I don't think the answer is 18", None), ("I doubt that the answer is 18", None),
        ("The answer is .5", ".5"),
    ],
)  # fmt: skip
def test_a_stated_answer_is_found(text, answer):
    assert next(iter(stated_answers(text)), None) == answer


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("Answer: 7\n\nQuestion: next?\nAnswer: 8", "Answer: 7"),
        ("#### 7\nQ: next?\n#### 8", "#### 7"),
        (r"\boxed{7}" + "\n\n**Problem 2:** next", r"\boxed{7}"),
        ("So my answer is right.\nQuestion: it?\n" + r"\boxed{7}", None),
        ("I restate.\nQuestion: it?\nAnswer: 8", "I restate.\nQuestion: it?\nAnswer: 8"),
        ("Question: it?\nAnswer: 8", "Question: it?\nAnswer: 8"),
    ],
)
def test_what_a_base_model_asks_itself_next_is_left_out(text, own):
    assert own_turn(text) == (own or text)


def test_the_final_answer_falls_back_to_the_last_line():
    assert final_answer("I think\nParis\n\n", PROMPT) == "Paris"
    assert final_answer("The answer is Rome.\nBye", PROMPT) == "Rome"
    assert final_answer(r"The answer is Rome. \boxed{Oslo}", PROMPT) == "Oslo"
    assert final_answer(" \n\x00\u200f", PROMPT) is None


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 50_000,
        "{" * 10**6,
        r"\boxed{1}" * 50_000,
        "answer is " * 80_000,
        "answer: 1\nQ: 2" * 50_000,
        "\nQ: " * 100_000,
    ],
)
def test_hostile_texts_are_read_fast(text):
    start = time.process_time()
    final_answer(text, PROMPT)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("text", "box"),
    [
        (r"\boxed{1}, \boxed{2}", "1, 2"),
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2"),
        (r"\(\boxed{1}\) or \(\boxed{2}\).", "1, 2"),
        (r"\boxed{1} \quad \text{or} \quad \boxed{2}", "1, 2"),
        (r"$\boxed{1}$, $\boxed{2}$, and $\boxed{3}$", "1, 2, 3"),
        (r"\boxed{5}, \boxed{5}", "5"),
        (r"\boxed{5}" + "\n\n" + r"\boxed{5}", "5"),
        (r"\boxed{3}, no wait, \boxed{4}", "4"),
        (r"x is \boxed{3}. And y is \boxed{4}", "4"),
        (r"\boxed{3}" + "\n\n" + r"\boxed{4}", "4"),
        (r"\boxed{\boxed{5}}", "5"),
        ("none", None),
    ],
)
def test_boxes_that_make_one_list_are_read_together(text, box):
    assert last_boxes(text) == box
