"""The graders for numbers, letters and short facts."""

import csv
import time
from fractions import Fraction
from pathlib import Path

import pytest

from benchmark.errors import ConfigError
from benchmark.grading.letter import Letter
from benchmark.grading.number import Number
from benchmark.grading.numerals import parse_number
from benchmark.grading.short_fact import ShortFact, matching_rule
from benchmark.grading.verdict import Answer, Verdict

PROMPT = "Question?\n\nPut the final answer inside \\boxed{}."


HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "cases"
KINDS = {"letters": Letter(), "numbers": Number(), "short_facts": ShortFact()}


def verdict(grader, text, *references, finished=True):
    return grader.verdict(Answer(PROMPT, text, finished, references))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42), ("-3", -3), ("−3", -3), ("1,234", 1234), ("1{,}234", 1234), (r"\$5", 5),
        ("$5", 5), ("5.50", Fraction(11, 2)), (".5", Fraction(1, 2)), ("42.", 42), ("073", 73),
        (r"42\text{ dollars}", 42), ("42 dollars", 42), (r"50\%", 50), ("x = 7", 7),
        (r"\frac{1}{2}", Fraction(1, 2)), (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        ("3/4", Fraction(3, 4)), (r"90^\circ", 90), ("12 cm^2", 12), ("seven", 7), ("3 + 4", 7),
        ("1e5", 100_000), ("73rd", 73), (r"73 \pmod{100}", 73), ("3 Million", 3_000_000),
    ],
)  # fmt: skip
def test_numbers_are_read_exactly(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "3 or 4", "3, 4", "12,34", "1.2.3", r"2\sqrt{3}", "1/0", "9" * 100, r"3\pi", "x", "(3,4)",
     "9^64^64", "(" * 300 + "1", "3 +", "one or two", "5'3\""],
)  # fmt: skip
def test_what_is_no_single_number_is_not_read(text):
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{18}", Verdict("18", "correct", "the last box with a number")),
        (
            r"first \boxed{3}, so \boxed{18.0}",
            Verdict("18.0", "correct", "the last box with a number"),
        ),
        (r"\boxed{19}", Verdict("19", "incorrect", "the last box with a number")),
        ("work\n#### 18", Verdict("18", "correct", "the text after ####")),
        ("The answer is 18 dollars.", Verdict("18 dollars", "correct", "the stated answer")),
        (r"\boxed{yes}. The answer is 18", Verdict("18", "correct", "the stated answer")),
        ("so\n18", Verdict("18", "correct", "the last line")),
        (r"\boxed{18x}. The answer is 18", Verdict("18x", "incorrect", "more than a number")),
        ("#### Step 3\nThe answer is 18.", Verdict("18", "correct", "the stated answer")),
        ("#### 2. Adding up\nThe answer is 18.", Verdict("18", "correct", "the stated answer")),
        (r"\boxed{18, 19}", Verdict(None, "unparsed", "several numbers")),
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


BOXED = "the last box with a letter"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{B}", Verdict("B", "correct", BOXED)),
        (r"\boxed{\text{B}}", Verdict("B", "correct", BOXED)),
        (r"\boxed{(b)}", Verdict("B", "correct", BOXED)),
        (r"\boxed{B. Paris}", Verdict("B", "correct", BOXED)),
        (r"\boxed{B) Paris}", Verdict("B", "correct", BOXED)),
        (r"\boxed{A} no, \boxed{B}", Verdict("B", "correct", BOXED)),
        (r"\boxed{AB}. The answer is B", Verdict("A, B", "incorrect", BOXED)),
        ("Answer: B", Verdict("B", "correct", "the stated answer")),
        ("the correct choice is (B).", Verdict("B", "correct", "the choice that is named")),
        ("I pick B.", Verdict("B", "correct", "the choice that is named")),
        ("A robe is not B", Verdict(None, "unparsed", "no letter")),
        ("So:\n**B**", Verdict("B", "correct", "a line of its own")),
        (r"The answer is B, \boxed{12}", Verdict(None, "unparsed", "no letter in a box")),
        ("A robe takes two bolts.", Verdict(None, "unparsed", "no letter")),
        ("Both.", Verdict(None, "unparsed", "no letter")),
        (r"\boxed{C}", Verdict("C", "incorrect", BOXED)),
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
    for text in ("", r"\boxed{\text{}}", "...", "\x00"):
        assert verdict(ShortFact(), text, "The").outcome == "unparsed"
    assert verdict(ShortFact(), r"\boxed{the}", "The").outcome == "correct"


def cases(folder, name):
    """Rows of kind, response, accepted answers and expected outcome."""
    with (folder / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            yield (
                row["kind"],
                row["response"].replace("\\n", "\n"),
                row["accepted"],
                row["expected"],
            )


def misread(folder, name):
    return [
        (kind, text, accepted, expected, found)
        for kind, text, accepted, expected in cases(folder, name)
        if (found := verdict(KINDS[name], text, *accepted.split(" | "))).outcome != expected
    ]


@pytest.mark.parametrize("name", KINDS)
def test_answers_are_read_as_a_careful_reader_would(name):
    assert len(list(cases(HERE, name))) > 100
    assert misread(HERE, name) == []


@pytest.mark.parametrize("name", KINDS)
def test_answers_of_public_bug_reports_are_read(name):
    if not SHARED.is_dir():
        pytest.skip(f"no cases of public bug reports at {SHARED}")
    assert misread(SHARED, name) == []


def test_dozens_are_a_unit_where_the_question_asks_for_them():
    asked = Answer("How many dozens of eggs?", r"\boxed{7\text{ dozen}}", True, ("7",))
    assert Number().verdict(asked).outcome == "correct"
    assert Number().verdict(asked._replace(prompt="How many eggs?")).outcome == "incorrect"
    assert Number().verdict(asked._replace(prompt="", references=("84",))).outcome == "correct"


@pytest.mark.parametrize(
    "text", ["A, ", "A or ", "actually, it is ", "the answer is ", "\n", "1 to "]
)
@pytest.mark.parametrize("grader", KINDS.values(), ids=KINDS)
def test_hostile_texts_are_graded_fast(grader, text):
    start = time.process_time()
    verdict(grader, f"The answer is {text * (50_000 // len(text))}", "1")
    assert time.process_time() - start < 2
