import pytest

from benchmark.grading.exact import Exact
from benchmark.grading.verdict import Answer, Verdict


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("Oslo", "correct"), (" oslo.\n", "correct"), ("OSLO", "correct"),
     ("It is Oslo", "incorrect"), ("Malmo\u0308", "correct"),
     ("", "unparsed"), (" . ", "unparsed")],
)  # fmt: skip
def test_only_the_whole_response_matches(text: str, outcome: str) -> None:
    answer = Answer("", text, True, ("Oslo", "Christiania", "Malmö"))
    assert Exact().verdict(answer).outcome == outcome


def test_a_response_that_was_cut_off_is_truncated() -> None:
    assert Exact().verdict(Answer("", "Oslo", False, ("Oslo",))) == Verdict(None, "truncated")
