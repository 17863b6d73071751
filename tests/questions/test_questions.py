from dataclasses import replace

import pytest

from benchmark.errors import ConfigError
from benchmark.questions import load_questions
from benchmark.questions.basics import Basics
from benchmark.records import QUESTION, check_table

CONFIG = Basics(
    name="basics", instruction="Be brief.",
    splits={"evaluation": "test"},
    prompts={"capital": "What is the capital of {country}?", "sum": "What is {a} + {b}?"},
)  # fmt: skip


def ids(limit=None, seed=0):
    return load_questions(replace(CONFIG, seed=seed), "test", limit)["question_id"].to_list()


def test_questions_come_in_the_schema_and_are_the_same_each_time():
    table = load_questions(CONFIG, "test")
    assert check_table(table, QUESTION, "questions").equals(load_questions(CONFIG, "test"))


def test_a_larger_limit_begins_with_the_questions_of_a_smaller_one():
    everything = ids()
    assert ids(5) == everything[:5]
    assert ids(len(everything)) == everything


def test_the_order_mixes_families_and_follows_the_seed():
    assert {key.split("/")[2].split("-")[0] for key in ids(12)} == {"capital", "sum"}
    assert ids(seed=1) != ids()
    assert sorted(ids(seed=1)) == sorted(ids())


def test_leaving_questions_out_keeps_the_order_of_the_others():
    fewer = replace(CONFIG, prompts={"capital": CONFIG.prompts["capital"]})
    kept = load_questions(fewer, "test")["question_id"].to_list()
    assert kept == [key for key in ids() if "/capital-" in key]


@pytest.mark.parametrize("limit", [0, -1, 100_000])
def test_a_limit_out_of_range_is_refused_with_the_size(limit):
    with pytest.raises(ConfigError, match=rf"limit of {limit} .*choose 1 to {len(ids())}"):
        ids(limit)
