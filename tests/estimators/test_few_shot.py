"""Few-shot prompts: which training questions are shown, with which confidence, and to whom."""

import re

import pytest
from planted_cell import planted_cell

from benchmark.errors import ConfigError
from benchmark.estimators import build_estimators
from benchmark.estimators.verbalized import Example, Verbalized, choose_examples
from benchmark.questions import order_key
from tests.config.test_conf import composed


def pool(*counts, n=12):
    return [Example(f"q{i}", f"Question {i}?", n, c) for i, c in enumerate(counts)]


def chosen(*counts, count=3, n=12):
    return [example.question_id for example in choose_examples(pool(*counts, n=n), count)]


def test_one_is_taken_from_each_third_the_first_of_the_pool():
    assert chosen(12, 11, 6, 0, 5, 1) == ["q3", "q2", "q0"]


def test_a_part_has_its_lower_end_but_not_its_upper():
    assert chosen(4, 3, 8) == ["q1", "q0", "q2"]  # 4 / 12 is middle, 8 / 12 high
    assert chosen(2, 4, 0, n=6) == ["q2", "q0", "q1"]


def test_an_empty_third_takes_what_is_nearest_to_its_middle_and_nothing_twice():
    assert chosen(12, 10, 9, 12) == ["q2", "q1", "q0"]
    assert chosen(12, 12, 12) == ["q0", "q1", "q2"]


def test_parts_are_of_expected_accuracy_however_many_responses_there_are():
    mixed = [Example(*row) for row in (("a", "", 100, 30), ("b", "", 2, 1), ("c", "", 4, 4))]
    assert [example.question_id for example in choose_examples(mixed, 3)] == ["a", "b", "c"]
    assert [e.question_id for e in choose_examples(mixed[::-1], 2)] == ["a", "c"]


def test_of_equals_in_a_part_the_first_of_the_pool_is_taken():
    assert chosen(5, 6, 0, 1, 11, 10) == ["q2", "q0", "q4"]
    assert chosen(6, 5, 1, 0, 10, 11) == ["q2", "q0", "q4"]


def test_too_few_training_questions_are_refused():
    with pytest.raises(ConfigError, match="only 2 other training questions"):
        chosen(1, 2)


def test_too_few_training_questions_are_refused_before_anything_is_asked(tmp_path):
    cell = planted_cell(tmp_path, lambda p: p, "dataset.train_limit=2")
    entries = composed("estimator=[verbalized_few_shot]").estimator
    (few_shot,) = build_estimators(entries, cell.config.sampling).values()
    with pytest.raises(ConfigError, match="only 2 other training questions"):
        few_shot.check(cell)
    assert not cell.engine.asked


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    return planted_cell(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def few_shot(cell):
    entries = composed("estimator=[verbalized_few_shot]").estimator
    (estimator,) = build_estimators(entries, cell.config.sampling).values()
    return estimator


def prompts(cell, estimator, role):
    cell.engine.prompts.clear()
    estimate = estimator.estimate(cell, role)
    return estimate.confidences, list(cell.engine.prompts)


def test_examples_show_the_measured_expected_accuracy(cell, few_shot):
    _, asked = prompts(cell, few_shot, "evaluation")
    assert few_shot.roles == ("train",)
    train = cell.split("train")
    measured = train.capability.join(train.questions, on="question_id").select(
        "question_id", "question", "n", "c"
    )
    seed = cell.config.dataset.seed
    in_order = sorted(
        (Example(*r) for r in measured["question_id", "question", "n", "c"].iter_rows()),
        key=lambda example: order_key(seed, example.question_id),
    )
    expected = [
        next(e for e in in_order if low <= e.c / e.n * 3 < high)
        for low, high in ((0, 1), (1, 2), (2, 3.1))
    ]
    shown = re.findall(r"Question: (.*)\nConfidence: \\boxed\{(\d\.\d\d)\}", asked[0])
    assert shown == [(e.question, f"{e.c / e.n:.2f}") for e in expected]
    assert len(set(asked)) == 60
    own = cell.questions["evaluation"]["question"]
    assert sorted(p.split("another question:\n\n")[1].split("\n\nDo not")[0] for p in asked) == (
        own.sort().to_list()
    )


def test_a_reply_that_goes_on_with_another_example_is_read_up_to_there(few_shot):
    first = "Confidence: \\boxed{0.80}"
    assert few_shot._own_part(f"{first}\n\nQuestion: 1 + 1?\n\\boxed{{0.1}}").strip() == first
    for whole in (f"Question: 1 + 1?\n{first}", f"The Question: no\n{first}", first, ""):
        assert few_shot._own_part(whole) == whole


def test_prompts_with_examples_cost_their_tokens(cell, few_shot):
    table = few_shot.estimate(cell).confidences
    zero = Verbalized(prompt="{question} boxed", max_new_tokens=9).estimate(cell).confidences
    assert (table["prompt_tokens"] - zero["prompt_tokens"]).min() > 50
    assert set(table["completion_tokens"]) == {3}


def test_a_training_question_never_sees_itself(cell, few_shot):
    confidences, asked = prompts(cell, few_shot, "train")
    assert confidences.height == 150
    for prompt in asked:
        before, after = prompt.split("another question:\n\n")
        question = after.split("\n\nDo not")[0]
        assert f"Question: {question}\n" not in before
        assert before.count("Confidence:") == 3
    assert len({prompt.split("another question:")[0] for prompt in asked}) == 4


def test_more_training_questions_keep_the_examples(tmp_path, few_shot):
    small = planted_cell(tmp_path / "small", lambda p: p, "dataset.train_limit=60")
    _, few = prompts(small, few_shot, "evaluation")
    _, many = prompts(planted_cell(tmp_path / "large"), few_shot, "evaluation")
    assert few == many


def test_what_is_shown_is_not_filled_in_again(cell):
    estimator = Verbalized(
        prompt="{examples} | {question} boxed", max_new_tokens=9, examples=1,
        example="{question} {confidence} {examples}",
    )  # fmt: skip
    cell.engine.prompts.clear()
    estimator.estimate(cell)
    assert all(" {examples} | " in prompt for prompt in cell.engine.prompts)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"examples": 3}, "examples=3"),
        ({"prompt": "{examples} {question}"}, "examples=0"),
        ({"prompt": "{examples} {question}", "examples": -1}, "examples=-1"),
        ({"prompt": "{examples} {question}", "examples": 2, "example": "{question}"}, "confidence"),
        ({"prompt": "{examples} {question}", "examples": 2}, "example has no '{question}'"),
    ],
)  # fmt: skip
def test_examples_without_their_places_are_refused(settings, named):
    with pytest.raises(ConfigError, match=re.escape(named)):
        Verbalized(**{"prompt": "{question}", "max_new_tokens": 9, **settings})
