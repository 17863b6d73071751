from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmark.cell.cell import Cell, KnownModel
from benchmark.cell.stages import SAMPLED
from benchmark.errors import ConfigError
from benchmark.estimators import build_estimators
from benchmark.estimators.asking import check_prompt
from benchmark.estimators.verbalized import parse_confidence
from benchmark.store.artifact import Store
from tests.config.test_conf import composed

QUIET = Console(quiet=True)


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


@pytest.mark.parametrize(
    ("settings", "cap"),
    [
        (["model=qwen3_8b"], 5000),
        (["model=olmo3_7b"], 5000),
        (["model=qwen3_8b_thinking"], 32768),  # its reasoning needs what a response needs
        (["model=gpt_oss_20b"], 32700),
        (["model=gpt_oss_20b", "estimator.verbalized.max_new_tokens=96"], 32700),
        (["model=smollm2_135m"], 256),
        (["model.decoding.max_new_tokens=1"], 256),
        (["model.decoding.max_new_tokens=257"], 257),
        (["model.decoding.max_new_tokens=1024"], 1024),
        (["model.decoding.max_new_tokens=5001"], 5000),
        (["model=qwen3_8b", "estimator.verbalized.max_new_tokens=96"], 96),
        (["model=smollm2_135m", "estimator.verbalized.max_new_tokens=5000"], 5000),
    ],
)
@pytest.mark.parametrize("name", ["verbalized", "verbalized_few_shot", "verbalized_response"])
def test_a_reply_may_be_as_long_as_the_authors_allow(settings, cap, name):
    config = composed(f"estimator=[{name}]", *(s.replace("verbalized", name) for s in settings))
    cell = Cell(config, {}, KnownModel({}, {}), Store(Path(), QUIET), QUIET, SAMPLED)
    (estimator,) = build_estimators(config.estimator, config.sampling).values()
    assert estimator._decoding(cell).max_new_tokens == cap
