"""The graders for numbers, letters and short facts."""

from fractions import Fraction

import pytest

from benchmark.errors import ConfigError
from benchmark.grading.letter import Letter
from benchmark.grading.number import Number, parse_number
from benchmark.grading.short_fact import ShortFact, matching_rule, normalise
from benchmark.grading.verdict import Answer, Verdict

PROMPT = "Question?\n\nPut the final answer inside \\boxed{}."


def verdict(grader, text, *references, finished=True):
    return grader.verdict(Answer(PROMPT, text, finished, references))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42), ("-3", -3), ("−3", -3), ("1,234", 1234), ("1{,}234", 1234), (r"\$5", 5),
        ("$5", 5), ("5.50", Fraction(11, 2)), (".5", Fraction(1, 2)), ("42.", 42), ("073", 73),
        (r"42\text{ dollars}", 42), ("42 dollars", 42), (r"50\%", 50), ("x = 7", 7),
        (r"\frac{1}{2}", Fraction(1, 2)), (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        ("3/4", Fraction(3, 4)), (r"90^\circ", 90), ("12 cm^2", 12),
    ],
)  # fmt: skip
def test_numbers_are_read_exactly(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "seven", "3 or 4", "3, 4", "12,34", "1.2.3", r"2\sqrt{3}", "3 + 4", "1/0", "9" * 100,
     r"3\pi", "x", "(3,4)"],
)  # fmt: skip
def test_what_is_no_single_number_is_not_read(text):
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{18}", Verdict("18", "correct", "box")),
        (r"first \boxed{3}, so \boxed{18.0}", Verdict("18.0", "correct", "box")),
        (r"\boxed{19}", Verdict("19", "incorrect", "box")),
        ("work\n#### 18", Verdict("18", "correct", "####")),
        ("The answer is 18 dollars.", Verdict("18 dollars", "correct", "answer is")),
        (r"\boxed{eighteen}. The answer is 18", Verdict("18", "correct", "answer is")),
        ("18", Verdict(None, "unparsed", "no number")),
        (r"\boxed{}", Verdict(None, "unparsed", "no number")),
    ],
)
def test_the_number_grader_names_its_rule(text, expected):
    assert verdict(Number(), text, "18") == expected


def test_a_cut_off_response_is_truncated_whatever_it_says():
    for grader, reference in ((Number(), "1"), (Letter(), "A"), (ShortFact(), "x")):
        cut = verdict(grader, f"\\boxed{{{reference}}}", reference, finished=False)
        assert cut == Verdict(None, "truncated")


def test_the_tolerance_bounds_the_difference():
    assert verdict(Number(), r"\boxed{0.3333333}", "0.33333333").outcome == "correct"
    assert verdict(Number(), r"\boxed{0.333}", "0.33333333").outcome == "incorrect"
    assert verdict(Number(tolerance=0.01), r"\boxed{0.333}", "0.33333333").outcome == "correct"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{B}", Verdict("B", "correct", "box")),
        (r"\boxed{\text{B}}", Verdict("B", "correct", "box")),
        (r"\boxed{(b)}", Verdict("B", "correct", "box")),
        (r"\boxed{B. Paris}", Verdict("B", "correct", "box")),
        (r"\boxed{B) Paris}", Verdict("B", "correct", "box")),
        (r"\boxed{A} no, \boxed{B}", Verdict("B", "correct", "box")),
        (r"\boxed{AB}. The answer is B", Verdict("B", "correct", "answer is")),
        ("Answer: B", Verdict("B", "correct", "answer is")),
        ("the correct choice is (B).", Verdict("B", "correct", "answer is")),
        ("I pick B.", Verdict("B", "correct", "alone")),
        ("A robe is not B", Verdict("B", "correct", "alone")),
        ("A robe takes two bolts.", Verdict(None, "unparsed", "no letter")),
        ("Both.", Verdict(None, "unparsed", "no letter")),
        (r"\boxed{C}", Verdict("C", "incorrect", "box")),
        ("", Verdict(None, "unparsed", "no letter")),
    ],
)
def test_the_letter_grader_names_its_rule(text, expected):
    assert verdict(Letter(), text, "B") == expected


REFERENCES = ("Jóhanna Sigurðardóttir", "The Beatles", "NG-NI", "7")


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("Jóhanna Sigurðardóttir", "exact"), ("jóhanna sigurðardóttir.", "exact"),
        ("Beatles", "alias"), ("the beatles!", "alias"), ("NG NI", "alias"), ("7", "alias"),
        ("It was the Beatles in 1964", "containment"), ("7 people", "containment"),
        ("17", None), ("e", None), ("the", None), ("", None), ("Beatlesque", None),
        ("not the Beatles", None), ("the Beatles or the Stones", None), ("word " * 60 + "7", None),
    ],
)  # fmt: skip
def test_the_rules_for_short_facts_stay_apart(answer, rule):
    assert matching_rule(answer, REFERENCES) == rule


def test_settings_say_which_rules_are_correct():
    text = r"\boxed{It was the Beatles}"
    assert verdict(ShortFact(), text, *REFERENCES) == Verdict(
        "It was the Beatles", "correct", "containment"
    )
    strict = ShortFact(rules=["exact", "alias"])
    assert verdict(strict, text, *REFERENCES) == Verdict(
        "It was the Beatles", "incorrect", "containment"
    )
    with pytest.raises(ConfigError, match="fuzzy"):
        ShortFact(rules=["fuzzy"])


def test_an_empty_answer_is_unparsed_not_wrong():
    for text in ("", r"\boxed{the}", r"\boxed{\text{}}", "...", "\x00"):
        assert verdict(ShortFact(), text, "The").outcome == "unparsed"


@pytest.mark.parametrize(
    ("text", "normal"),
    [("The  Beatles!", "beatles"), ("a-b_c", "b c"), ("An apple, the pear", "apple pear")],
)
def test_normalisation_is_triviaqas(text, normal):
    assert normalise(text) == normal
