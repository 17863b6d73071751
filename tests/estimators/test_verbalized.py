import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import ConfigError
from benchmark.estimators.asking import check_prompt
from benchmark.estimators.verbalized import parse_confidence


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        (r"\boxed{0.85}", 0.85),
        (r"\boxed{ 0.85 }", 0.85),
        (r"\boxed {.5}", 0.5),
        (r"\boxed{85%}", 0.85),
        (r"\boxed{85\%}", 0.85),
        (r"\boxed{P=0.85}", 0.85),
        (r"\boxed{p = 0.85}", 0.85),
        (r"\boxed{$0.3$}", 0.3),
        (r"first \boxed{0.2}, no: \boxed{0.9}", 0.9),
        (r"\boxed{1}", 1.0),
        (r"\boxed{0}", 0.0),
        ("0.7", 0.7),
        (" 70% ", 0.7),
        ("**0.85**", 0.85),
        ("Confidence: 0.85", 0.85),
        (r"\boxed{1}%", 0.01),
        (r"\boxed{90} \% sure", 0.9),
        (r"\boxed{\text{0.85}}", 0.85),
        (r"\boxed{P(correct) = 0.85}", 0.85),
        (r"\boxed{0.85\,}", 0.85),
        (r"\boxed{{0.9}}", 0.9),
        (r"\boxed{\mathbf{85\%}}.", 0.85),
    ],
)
def test_a_stated_probability_is_read(text: str, confidence: float) -> None:
    assert parse_confidence(text) == pytest.approx(confidence)


@pytest.mark.parametrize(
    "text",
    ["", "I am sure", r"\boxed{}", r"\boxed{1.5}", r"\boxed{-0.2}", r"\boxed{120%}",
     r"\boxed{0.2} ... \boxed{\text{high}}", r"\boxed{0.2 0.9}",
     r"\boxed{0.5}, so finally \boxed{0.", r"\boxed{likely}", r"\boxed{0.8 or 0.9}",
     "The answer is 7, my guess is 0.5", r"\boxed{nan}"],
)  # fmt: skip
def test_anything_else_is_unparsed(text: str) -> None:
    assert parse_confidence(text) is None


def test_a_number_that_is_cut_off_is_unparsed() -> None:
    assert parse_confidence("0.") == 0.0  # a full stop
    assert parse_confidence("0.", finished=False) is None
    assert parse_confidence(r"\boxed{0.7} because", finished=False) == 0.7


@given(st.text(max_size=200))
def test_no_reply_raises_or_leaves_the_range(text: str) -> None:
    for reply in (text, rf"\boxed{{{text}}}"):
        confidence = parse_confidence(reply)
        assert confidence is None or 0 <= confidence <= 1


def test_a_prompt_without_a_place_for_the_question_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"verbalized.*\{question\}"):
        check_prompt("How sure are you?", "verbalized", 0)
