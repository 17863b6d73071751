import time

import pytest

from benchmark.grading.basics import Basics
from benchmark.grading.verdict import Answer, Verdict


def verdict(text, *references, finished=True):
    return Basics().verdict(Answer("", text, finished, references))


@pytest.mark.parametrize(
    "text",
    [
        "8", "8.", " 8 \n", "**8**", "eight", "Eight.", "8 apples", "The answer is 8.",
        'The answer is "8".',
        "3 + 5 = 8", "3 + 5 = 8.", "3 + 5 equals 8.", "Three + five equals eight.", "8.0",
        "It's 8.",
        "The answer to 3 + 5 is 8.", "The sum of 3 and 5 is 8, which is 5 + 3.", "1. 8",
        "Answer: 8",
        "To add 3 and 5, you simply add them together: 3 + 5 = 8.", "3 + 5 = 8. It takes 2 steps.",
        "Tom has 3 + 5 = 8 apples.", "Tom has 8 apples.", "There are 8 apples in total.",
        "8 is the answer.", "8 is larger than 5.", "The number 8 is larger than the number 5.",
        "The larger number is 8.", "8 is larger.", "To add them, add 3 and 5.\n3 + 5 = 8",
        "5 is smaller than 8.", "The answer is 8, because 5 + 3 is 8 and not 7.", "8\u200f",
        "The answer is: 8",
    ],
)  # fmt: skip
def test_a_stated_number_is_read(text):
    assert verdict(text, "8").outcome == "correct"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("5 is larger than 8.", "5"),
        ("8 is less than 5.", "5"),
        ("3 + 8 = 12", "12"),
        ("The answer is 11. In binary it is 8.", "11"),
        ("8 is 9.", "9"),
        ("The answer is 8.5.", "8.5"),
        ("It is -8.", "-8"),
        ("1,008", "1,008"),
        ("Tom has 18 apples.", "18"),
        ("seventy-eight", "78"),
    ],
)
def test_another_number_is_incorrect_although_the_right_one_may_occur(text, answer):
    assert verdict(text, "8") == Verdict(answer, "incorrect", "the first statement")


def test_numbers_are_compared_by_value():
    assert verdict("It is 1,234,567.50.", "1234567.5").outcome == "correct"
    assert verdict("−4", "-4").outcome == "correct"
    assert verdict("9-4=5", "5").outcome == "correct"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "the",
        "e",
        "I don't know the answer to this one.",
        "8 + 9 = ",
        "A8",
        "You need to multiply 8 x 1.",
    ],
)
def test_no_number_is_unparsed(text):
    assert verdict(text, "8") == Verdict(None, "unparsed", "no answer")


@pytest.mark.parametrize(
    "text",
    [
        "Oslo", "oslo.", "OSLO!", '"Oslo"', "**Oslo**", "The capital of Norway is Oslo.",
        "Oslo, Norway",
        "The capital of Norway is Oslo, which lies in the south.", "Oslo is the capital of Norway.",
        "The capital of Norway is the city of Oslo.", 'Its capital is "Oslo" in Norwegian.',
        "It's Oslo.", "Norway's capital is Oslo (formerly Christiania).",
        "The capital city of Norway is indeed called Oslo.", "Answer: Oslo", "Norway -> Oslo",
        "The answer is Oslo.",
    ],
)  # fmt: skip
def test_a_stated_name_is_read(text):
    assert verdict(text, "Oslo").outcome == "correct"


@pytest.mark.parametrize(
    "text",
    [
        "Bergen", '"Bergen" is better known than "Oslo".',
        "The capital of Norway is Bergen, not Oslo.", "Oslofjord", "Oslo Bergen",
        "The capital of Norway is Bergen. Oslo is larger.", "os", "o", "The capital is not Oslo.",
    ],
)  # fmt: skip
def test_a_name_that_only_occurs_is_no_match(text):
    assert verdict(text, "Oslo").outcome == "incorrect"


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("The capital of Brazil is Brasilia.", ("Brasília",)),
        ("Port au Prince", ("Port-au-Prince",)),
        ("The capital of Chad is N’Djamena.", ("N'Djamena",)),
        ("Washington, D.C.", ("Washington", "Washington DC")),
        ("It is Washington DC.", ("Washington", "Washington DC")),
        ("The opposite of big is little.", ("small", "little")),
    ],
)
def test_accents_punctuation_and_other_names_match(text, references):
    assert verdict(text, *references).outcome == "correct"


def test_a_panama_city_is_no_panama():
    assert verdict("The capital of Panama is Panama.", "Panama City").outcome == "incorrect"


@pytest.mark.parametrize(
    "text",
    [
        "K",
        "The chemical symbol for potassium is K.",
        'It is "K".',
        "K is the symbol for potassium.",
        "Potassium is an element with the symbol K.",
    ],
)
def test_a_symbol_is_read(text):
    assert verdict(text, "K") == Verdict("K", "correct", "the first statement")


@pytest.mark.parametrize(
    "text",
    ["k", "KO", "Potassium is a metal called K2O.", "Knowledge", "OK.", "The symbol is Po, not K."],
)
def test_a_symbol_is_compared_exactly(text):
    assert verdict(text, "K").outcome == "incorrect"


def test_a_letter_matches_in_both_cases_but_not_inside_a_word():
    assert verdict('The first letter of "table" is "T."', "t", "T").outcome == "correct"
    assert verdict("It is the letter t.", "t", "T").outcome == "correct"
    assert verdict('The first letter of "table" is a table.', "t", "T").outcome == "incorrect"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("8 or 9", "8"), ("9 or 8", "8"), ("The answer is 8 or 9.", "8"), ("It is 8/9.", "8"),
        ("8 to 10", "8"), ("8 million", "8"), ("It is 8 thousand.", "8"), ("–8", "8"),
        ("It isn't 8.", "8"), ("The answer is not 8.", "8"), ("Oslo or Bergen", "Oslo"),
        ("The answer is Oslo or Bergen.", "Oslo"), ("It isn't Oslo.", "Oslo"), ("K or Na", "K"),
        ("anything but Oslo", "Oslo"), ("New Oslo", "Oslo"),
    ],
)  # fmt: skip
def test_one_of_two_and_what_is_denied_are_not_correct(text, reference):
    assert verdict(text, reference).outcome != "correct"


@pytest.mark.parametrize(
    ("text", "reference"),
    [(r"\boxed{8}", "8"), (r"\boxed{\text{Oslo}}", "Oslo"), ("–8", "-8"),
     ("The sum is 8, not 9.", "8"), ("It is 12 – 4 = 8", "8"), ("Malmo\u0308", "Malmö")],
)  # fmt: skip
def test_boxes_and_dashes_are_read(text, reference):
    assert verdict(text, reference).outcome == "correct"


def test_a_pronoun_is_no_symbol():
    assert verdict("I'm sorry, but I can't help you with that.", "I").outcome != "correct"
    assert verdict("I don't know the symbol of that.", "I").outcome == "unparsed"


def test_an_answer_that_was_complete_before_the_cut_counts():
    rambling = "3 + 5 = 8. This is a simple operation that"
    assert verdict(rambling, "8", finished=False)[:2] == ("8", "correct")
    assert verdict(rambling, "9", finished=False)[:2] == ("8", "incorrect")
    assert verdict("Oslo\nNorway is", "Oslo", finished=False).outcome == "correct"
    assert (
        verdict("The capital is Oslo, which is in the", "Oslo", finished=False).outcome == "correct"
    )


@pytest.mark.parametrize(
    "text", ["3 + 5 = 8", "The answer is 8.", "To add them, we", "", "3 + 5 = 8, so 8 + "]
)
def test_an_answer_that_the_cut_may_have_changed_is_truncated(text):
    assert verdict(text, "8", finished=False) == Verdict(None, "truncated")


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10**6, "1" * 10**6, "1," * 500_000, " " * 10**6, "\x00" * 10**6,
        "\u202e\u200f" * 500_000,
        "(" * 10**6, "is " * 300_000, '"' * 10**6, "." * 10**6, "=" * 10**6, "- " * 500_000,
        "answer " * 150_000,
        "the " * 250_000, "a an the is: 'x\" " * 60_000, "9 x " * 250_000, "e\u0301" * 500_000,
        "\ud800" * 1000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("references", [("8",), ("Oslo",), ("K",)])
def test_hostile_texts_are_graded_fast(text, references):
    start = time.process_time()
    for finished in (True, False):
        assert verdict(text, *references, finished=finished).outcome != "correct"
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("one", "correct"), ("One.", "correct"), ("The answer is one.", "correct"),
     ("**Answer:** one", "correct"), ("This one", "unparsed"),
     ("It is one of them", "unparsed"), ("one or two", "incorrect"), ("The one.", "unparsed")],
)  # fmt: skip
def test_one_is_a_number_where_it_stands_alone(text, outcome):
    assert verdict(text, "1").outcome == outcome
