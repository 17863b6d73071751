import pytest

from benchmark.grading.exact import grade_response
from benchmark.grading.verdict import Verdict


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("Oslo", "correct"), (" oslo.\n", "correct"), ("OSLO", "correct"),
     ("It is Oslo", "incorrect"), ("Malmo\u0308", "correct"),
     ("", "unparsed"), (" . ", "unparsed")],
)  # fmt: skip
def test_only_the_whole_response_matches(text: str, outcome: str) -> None:
    assert grade_response(text, ("Oslo", "Christiania", "Malmö"), finished=True).outcome == outcome


def test_a_response_that_was_cut_off_is_truncated() -> None:
    assert grade_response("Oslo", ("Oslo",), finished=False) == Verdict(None, "truncated")
