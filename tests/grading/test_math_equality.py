"""What equals a reference, and within which limits; pairs are in ``*_pairs.tsv`` beside this."""

import csv
import re
import signal
import time
from pathlib import Path

import polars as pl
import pytest

from benchmark.grading import math_equality
from benchmark.grading.extract import last_box
from benchmark.grading.math_equality import judge_pair
from benchmark.grading.mathematics.text import normalise

HERE = Path(__file__).parent
SHARED = Path(__file__).parents[3] / "shared"
HUB = SHARED / "data" / "hub"


def table(path):
    return list(csv.reader(path.open(), delimiter="\t", quoting=csv.QUOTE_NONE))


HARD_PAIRS = table(HERE / "hard_pairs.tsv")
PAIRS = table(HERE / "math_pairs.tsv")
# Expectations of hard_pairs.tsv that we don't share. An angle of 45 degrees is one of pi/4, and an
# equation without a solution has the empty set of solutions; ../shared/cases says the same.
JUDGED_OTHERWISE = {
    (r"\frac{\pi}{4}", r"45^\circ"),
    (r"\text{no solution}", r"\emptyset"),
}


@pytest.fixture(autouse=True)
def _time_limits():
    previous = signal.signal(signal.SIGPROF, math_equality._expire)
    yield
    signal.signal(signal.SIGPROF, previous)


def misjudged(pairs):
    """Return the pairs (reference, answer, equal) that are judged otherwise, with the judgement."""
    judged = [(gold, answer, equal, judge_pair(gold, answer, 10)) for gold, answer, equal in pairs]
    return {(gold, answer): j for gold, answer, equal, j in judged if (j[0] == "correct") != equal}


def test_hard_pairs_are_judged_as_by_hand():
    assert len(HARD_PAIRS) == 264
    wrong = misjudged([(gold, answer, equal == "1") for gold, answer, equal in HARD_PAIRS])
    assert wrong.keys() == JUDGED_OTHERWISE


@pytest.mark.parametrize("kind", dict.fromkeys(kind for kind, *_ in PAIRS))
def test_pairs_of_each_kind_are_judged_as_by_hand(kind):
    of_kind = [(gold, answer, equal == "1") for k, gold, answer, equal in PAIRS if k == kind]
    assert len(of_kind) >= 3
    assert misjudged(of_kind) == {}


@pytest.mark.parametrize("name", ["math_pairs", "mutations"])
def test_shared_cases_are_judged_as_expected(name):
    path = SHARED / "cases" / f"{name}.tsv"
    if not path.exists():
        pytest.skip(f"{path} is not beside this checkout")
    _, *rows = table(path)
    assert misjudged([(gold, answer, equal == "correct") for _, gold, answer, equal in rows]) == {}


# What a change in one place makes of an answer; it must not stay equal.
CHANGES = {
    "digit": (r"[1-9]", lambda m: str(int(m[0]) % 9 + 1)),
    "dropped sign": (r"-", lambda _: ""),
    "sign": (r"\+", lambda _: "-"),
    "dropped root": (r"\\sqrt", lambda _: ""),
    "dropped pi": (r"\\pi", lambda _: ""),
    "power": (r"\^\{?([23])", lambda m: m[0].replace(m[1], str(int(m[1]) + 1))),
    "bracket": (r"\[", lambda _: "("),
    "other bracket": (r"(?<=\d)\]", lambda _: ")"),
    "flipped": (r"\\frac\{(\d+)\}\{(\d+)\}", lambda m: m.expand(r"\\frac{\2}{\1}")),
    "dropped entry": (r",(?!\\!)[^,]*\Z", lambda _: ""),
    "repeated entry": (r"(\d+),(?=[ \d-])(?!\d{3})", lambda m: m.expand(r"\1,\1,")),
    "garbage": (r"\Z", lambda _: " ??"),
    "another number": (r"\Z", lambda _: " 7"),
}
CHANGED = [
    r"\frac{17}{24}", r"-3\sqrt{5}", r"2\pi-3\sqrt{7}", r"4x^2-3x+8", r"[-2,7)\cup(9,11]",
    r"(3,-\frac{5}{2},\sqrt{6})", r"1,-2,3", r"-37_8", r"12,\!345",
    r"\begin{pmatrix}1&-2\\3&4\end{pmatrix}",
    r"3+5i", r"y=2x+3", r"25\text{ cm}^2", r"\$32.45", r"x^3-8y^2", r"\frac{2\sqrt{3}-1}{5}",
    r"-\frac{\pi^2}{8}", r"\left(\frac{3}{4},\infty\right)", r"2^{1000}", r"\tan 15^\circ",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_an_answer_changed_in_one_place_is_not_equal(change):
    pattern, replaced = CHANGES[change]
    pairs = [
        (text, text[: m.start()] + replaced(m) + text[m.end() :], False)
        for text in CHANGED
        for m in re.finditer(pattern, text)
    ]
    assert pairs
    assert misjudged(pairs) == {}


GROUPED = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,\\!\s?|\\,|\{,\}|,)\d{3})+(?!\d)")
SEPARATOR = re.compile(r",\\!\s?|\\,|\{,\}|,")
UNIT = re.compile(r"(?<=[\d} i])\\(?:text|mbox)\s*\{(?!\s*and)[^{}]*\}(?:\^\d)?\.?\Z")


def spellings(answer):
    """Yield an answer with each separator of thousands, and without its unit."""
    yield answer
    if re.fullmatch(r"\d{4,}", answer):
        answer = f"{int(answer):,}"
    if not re.search(r"[(\[]\s*-?\d{1,3},\d{3}", answer):  # a pair such as (20,100)
        for sign in ("", ",", "{,}", r"\,", r",\!"):
            yield GROUPED.sub(lambda m, sign=sign: SEPARATOR.sub(lambda _: sign, m[0]), answer)
    bare = UNIT.sub("", answer).replace(r"\$", "").strip()
    yield bare if "=" in bare else bare.replace(r"\%", "").strip()


@pytest.mark.parametrize(
    ("file", "rows"),
    [("HuggingFaceH4/MATH-500/data/test-00000-of-00001.parquet", 500),
     ("local/MATH-train/data/train-00000-of-00001.parquet", 11_992)],
)  # fmt: skip
def test_every_answer_of_math_equals_itself_in_each_spelling(file, rows):
    path = HUB / file
    if not path.exists():
        pytest.skip(f"{path} is not beside this checkout")
    questions = pl.read_parquet(path)
    assert questions.height == rows
    answers = (
        questions["answer"].to_list() if "answer" in questions.columns
        else [last_box(solution) for solution in questions["solution"]]
    )  # fmt: skip
    pairs = [(a.strip(), spelled, True) for a in set(answers) for spelled in spellings(a.strip())]
    assert len(pairs) > 4 * len(set(answers))
    assert misjudged(pairs) == {}


@pytest.mark.parametrize(
    ("latex", "normal"),
    [
        (r"$x = \$1{,}234 \text{ dollars}$.", r'x = \dollar 1234 "dollars"'),
        (r"\dfrac12", r"\frac12"),
        (r"5 \text{ cm}^2", '5 "cm" ^2'),
        ("(1,234)", "(1,234)"),
        (r"11,\! 111,\! 111,\! 100", "11111111100"),
        (r"90^{\circ}", r"90^\circ"),
        (r"\left( 3, 4 \right]", "( 3, 4 ]"),
        ("x² + √2 − ½", r"x^{2} + \sqrt{2} - \frac{1}{2}"),
        (r"\text{The answer is even}", '"even"'),
        ("seven", "7"),
        (r"**`7`**", "7"),
        (r"35^\circ 30'", r"(35+30/60)^\circ"),
        (r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ],
)
def test_normalisation_evens_out_how_an_answer_is_written(latex, normal):
    assert normalise(latex) == normal


def test_an_answer_without_mathematics_is_unparsed():
    assert judge_pair("7", r"\,", 5) == ("unparsed", "empty")
    assert judge_pair("7", "???", 5) == ("unparsed", "no mathematics")


def test_an_answer_that_is_not_understood_whole_is_incorrect_and_says_so():
    assert judge_pair("42", "41?? 42", 5) == ("incorrect", "not read as a whole")


@pytest.mark.parametrize(
    "huge", ["9^{9^{9}}", "10^{10^{100}}", "1000000!", "(10^{10})!", r"\binom{10^9}{5}"]
)
def test_numbers_too_large_to_compute_are_refused_at_once(huge):
    before = time.process_time()
    outcome, reason = judge_pair("1", huge, 10)
    assert time.process_time() - before < 1
    assert outcome == "unparsed"
    assert "too large to compute" in reason
    assert judge_pair(huge, huge, 10)[0] == "correct"


def test_a_comparison_that_takes_too_long_is_unparsed(monkeypatch):
    def endless(*_):
        while True:
            pass

    monkeypatch.setattr(math_equality, "_judged", endless)
    assert judge_pair("1", "2", 0.05) == ("unparsed", "time limit")


def test_time_in_which_the_machine_does_other_things_does_not_count(monkeypatch):
    def waiting(*_):
        time.sleep(0.3)
        return "correct", "equal"

    monkeypatch.setattr(math_equality, "_judged", waiting)
    assert judge_pair("1", "2", 0.05) == ("correct", "equal")


def test_a_time_limit_that_a_library_swallows_still_counts(monkeypatch):
    def swallowing(*_):
        try:
            while True:
                pass
        except BaseException:  # noqa: BLE001 - what a careless library does
            return "incorrect", "not equal"

    monkeypatch.setattr(math_equality, "_judged", swallowing)
    assert judge_pair("1", "2", 0.05) == ("unparsed", "time limit")
