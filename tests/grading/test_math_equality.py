import signal
from pathlib import Path

import pytest

from benchmark.grading import math_equality
from benchmark.grading.math_equality import judge_pair, normalise

HARD_PAIRS = [
    tuple(line.split("\t"))
    for line in Path(__file__).with_name("hard_pairs.tsv").read_text().splitlines()
]
# Judged otherwise by hand; README, "Grading", lists them.
MISSES = {
    (r"\ln 2", r"\log 2"),
    ("(3,4)", "3,4"),
    ("y = 2x + 3", "2x - y + 3 = 0"),
    ("0.333333", r"\frac{1}{3}"),
    (r"0.\overline{3}", r"\frac{1}{3}"),
    ("-i", "-1i"),
}


@pytest.fixture(autouse=True)
def _time_limits():
    previous = signal.signal(signal.SIGPROF, math_equality._expire)
    yield
    signal.signal(signal.SIGPROF, previous)


def test_hard_pairs_are_judged_as_by_hand():
    assert len(HARD_PAIRS) >= 200
    assert {equal for *_, equal in HARD_PAIRS} == {"0", "1"}
    wrong = {
        (gold, answer)
        for gold, answer, equal in HARD_PAIRS
        if (judge_pair(gold, answer, 10)[0] == "correct") != (equal == "1")
    }
    assert wrong == MISSES
    assert len(wrong) <= 0.05 * len(HARD_PAIRS)


@pytest.mark.parametrize(
    ("latex", "normal"),
    [
        (r"$x = \$1{,}234 \text{ dollars}$.", "1234"),
        (r"\dfrac12", r"\frac{1}{2}"),
        (r"5 \text{ cm}^2", "5"),
        ("(1,234)", "(1,234)"),
        ("1,234,567", "1234567"),
        (r"90^{\circ}", "90"),
        (r"x=1 \text{ or } x=2", "1, 2"),
        (r"\left( 3, 4 \right]", "( 3, 4 ]"),
        (r"\text{(C)}", "C"),
        ("seven", "7"),
        (r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ],
)
def test_normalisation_drops_what_does_not_change_the_value(latex, normal):
    assert normalise(latex) == normal


def test_an_answer_without_mathematics_is_unparsed():
    assert judge_pair("7", r"\,", 5) == ("unparsed", "empty")
    assert judge_pair("7", "???", 5)[0] == "unparsed"


def test_a_comparison_that_takes_too_long_is_unparsed(monkeypatch):
    def endless(*_):
        while True:
            pass

    monkeypatch.setattr(math_equality, "_judged", endless)
    assert judge_pair("1", "2", 0.05) == ("unparsed", "time limit")


def test_a_time_limit_that_a_library_swallows_still_counts(monkeypatch):
    def swallowing(*_):
        try:
            while True:
                pass
        except BaseException:  # noqa: BLE001 - what a careless library does
            return "incorrect", "math-verify"

    monkeypatch.setattr(math_equality, "_judged", swallowing)
    assert judge_pair("1", "2", 0.05) == ("unparsed", "time limit")
