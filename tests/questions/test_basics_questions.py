from dataclasses import replace

import pytest

from benchmark.config.schema import DatasetConfig
from benchmark.errors import ConfigError, DataError
from benchmark.questions import basics
from benchmark.questions.content import normalised
from tests.questions.mirror import dataset_config


@pytest.fixture(scope="module")
def config() -> DatasetConfig:
    return dataset_config("basics", None)


@pytest.fixture(scope="module")
def splits(config):
    return {split: config.load(split) for split in basics.SPLITS}


def items(family):
    return basics.FAMILIES[family]()


def by_id(questions):
    return {q.question_id: q for q in questions}


def test_splits_are_large_enough_to_train_choose_and_evaluate_a_probe(splits):
    assert len(splits["test"]) >= 240
    assert len(splits["validation"]) >= 150
    assert len(splits["train"]) >= 600


def test_the_generated_datasets_share_out_the_families(config):
    parts = [dataset_config(name, None).prompts for name in ("numbers", "words", "facts")]
    assert sorted(family for part in parts for family in part) == sorted(config.prompts)
    assert sorted(config.prompts) == sorted(basics.FAMILIES)


def test_every_family_of_the_configuration_is_in_every_split(config, splits):
    for questions in splits.values():
        assert {q.metadata["family"] for q in questions} == set(config.prompts)


def test_no_text_occurs_twice_in_one_split_or_across_splits(splits):
    texts = [normalised(q.prompt) for questions in splits.values() for q in questions]
    assert len(set(texts)) == len(texts)


def test_one_fact_never_meets_two_splits():
    split_of_fact = {}
    for family in basics.FAMILIES:
        for item in items(family):
            split = basics._split_of(item.fact)
            assert split_of_fact.setdefault(item.fact, split) == split


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("sum", "4-3"), ("apples", "3-4")),
        (("apples", "3-4"), ("apples", "4-3")),
        (("sum", "4-3"), ("difference", "7-4")),
        (("product", "4-3"), ("quotient", "12-3")),
    ],
)
def test_paraphrases_and_inverses_ask_for_the_same_fact(one, other):
    facts = [
        next(item.fact for item in items(family) if item.slug == slug)
        for family, slug in (one, other)
    ]
    assert facts[0] == facts[1]


def test_opposites_asked_in_either_direction_are_one_fact():
    facts = {item.slug: item.fact for item in items("opposite")}
    assert facts["left"] == facts["right"]


def test_generated_references_are_right(splits):
    for question in (q for questions in splits.values() for q in questions):
        family = question.metadata["family"]
        slug = question.question_id.split("/")[2].removeprefix(f"{family}-")
        expected = {
            "sum": lambda a, b: a + b,
            "two_digit_sum": lambda a, b: a + b,
            "apples": lambda a, b: a + b,
            "difference": lambda a, b: a - b,
            "product": lambda a, b: a * b,
            "quotient": lambda a, b: a / b,
            "larger": max,
            "next": lambda a: a + 1,
        }.get(family)
        if expected:
            numbers = [int(part) for part in slug.split("-")]
            assert float(question.references[0]) == expected(*numbers), question
            assert all(str(number) in question.prompt for number in numbers)


def test_ids_name_split_and_row_and_prompts_carry_the_instruction(config, splits):
    everywhere = {}
    for split, questions in splits.items():
        assert all(q.question_id.startswith(f"basics/{split}/") for q in questions)
        assert all(q.prompt.endswith(config.instruction) for q in questions)
        everywhere |= {q.question_id.split("/")[2]: q for q in questions}
    france = everywhere["capital-france"]
    assert france.prompt == f"What is the capital of France? {config.instruction}"
    assert france.references == ("Paris",)
    assert france.metadata == {"family": "capital"}


def test_leaving_a_family_out_moves_no_other_question(config, splits):
    prompts = {name: text for name, text in config.prompts.items() if name != "capital"}
    fewer = by_id(replace(config, prompts=prompts).load("test"))
    assert fewer == {k: q for k, q in by_id(splits["test"]).items() if "/capital-" not in k}


def test_a_template_that_ignores_a_field_is_refused_with_two_ids(config):
    collapsed = replace(config, prompts=dict(config.prompts, sum="What is {a} + 1?"))
    with pytest.raises(
        DataError, match=r"'basics/\w+/sum-.*' and 'basics/\w+/sum-.*' ask the same"
    ):
        collapsed.load("test")


@pytest.mark.parametrize(
    "template", ["What is {a} + {c}?", "What is {a} + {}?", "What is {a + {b}?"]
)
def test_a_template_that_cannot_be_filled_is_refused(config, template):
    with pytest.raises(ConfigError, match=r"dataset\.prompts\.sum: .*fields are \['a', 'b'\]"):
        replace(config, prompts={"sum": template}).load("test")


def test_an_unknown_family_is_refused_by_name(config):
    with pytest.raises(ConfigError, match="capitol"):
        replace(config, prompts={"capitol": "{country}?"}).load("test")


def test_an_unknown_split_is_refused_with_the_known_ones(config):
    with pytest.raises(ConfigError, match=r"no split 'dev'.*test.*validation.*train"):
        config.load("dev")
