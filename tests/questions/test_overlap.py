import pytest

from benchmark.errors import DataError
from benchmark.questions.overlap import normalised, refuse_overlap
from benchmark.records import Question, question_table


def table(*prompts, split):
    return question_table(
        [
            Question(f"basics/{split}/{i}", prompt, prompt, ("1",))
            for i, prompt in enumerate(prompts)
        ]
    )


def test_case_white_space_and_encoding_do_not_make_another_question():
    assert normalised("  What is\n\u00a02 + 2? ") == normalised("what IS 2 + 2?")
    assert normalised("What is 2 + 2?") != normalised("What is 2 + 3?")


def test_disjoint_tables_are_accepted():
    train, test = table("What is 1 + 1?", split="train"), table("What is 1 + 2?", split="test")
    assert refuse_overlap(train, test, ("a", "b")) is None


def test_overlap_is_refused_with_both_tables_and_both_ids_named():
    train = table("What is 1 + 1?", "What is 5 + 1?", split="train")
    test = table("What is 1 + 2?", "what is  1 + 1?", split="test")
    with pytest.raises(
        DataError, match=r"train and evaluation share 1 .*'basics/train/0' = 'basics/test/1'"
    ):
        refuse_overlap(train, test, ("train", "evaluation"))


def test_a_large_overlap_names_some_ids_and_counts_the_rest():
    prompts = [f"What is {i} + 1?" for i in range(9)]
    with pytest.raises(DataError, match=r"share 9 .* and 4 more"):
        refuse_overlap(table(*prompts, split="a"), table(*prompts, split="b"), ("a", "b"))
