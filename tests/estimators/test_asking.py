"""Verbalized and P(True) through a cell: the bare question, and shown responses."""

from types import SimpleNamespace

import polars as pl
import pytest

from benchmark.errors import ConfigError
from benchmark.estimators.asking import by_question, fill_prompts
from benchmark.estimators.p_true import PTrue
from benchmark.estimators.verbalized import Verbalized

QUESTIONS = pl.DataFrame({"question_id": ["a", "b"], "question": ["1 + 1?", "{response}?"]})
RESPONSES = pl.DataFrame(
    {
        "question_id": ["a", "a", "b", "b"], "sample_index": [0, 1, 0, 1],
        "text": ["2", "{question}", "", "x"],
    }
)  # fmt: skip
CELL = SimpleNamespace(
    questions={"evaluation": QUESTIONS}, split=lambda _: SimpleNamespace(responses=RESPONSES)
)


def test_the_bare_question_fills_the_prompt():
    prompts = fill_prompts("Q: {question} Sure?", CELL, "evaluation", 0)
    assert prompts == {"a": "Q: 1 + 1? Sure?", "b": "Q: {response}? Sure?"}


def test_each_shown_response_has_a_prompt_and_is_filled_in_as_it_is():
    prompts = fill_prompts("Q: {question} A: {response}.", CELL, "evaluation", 2)
    assert [*prompts.values()] == [
        "Q: 1 + 1? A: 2.", "Q: 1 + 1? A: {question}.", "Q: {response}? A: (no answer).",
        "Q: {response}? A: x.",
    ]  # fmt: skip
    assert len(fill_prompts("Q: {question} A: {response}.", CELL, "evaluation", 1)) == 2


def test_shown_responses_become_draws_of_their_question():
    keys = [*fill_prompts("{question}{response}", CELL, "evaluation", 2)]
    table = pl.DataFrame({"question_id": keys, "confidence": [0.1, 0.2, 0.3, 0.4]}).with_columns(
        status=pl.lit("ok"), prompt_tokens=1, completion_tokens=1
    )
    rows = by_question(table)["question_id", "sample_index", "confidence"].rows()
    assert rows == [("a", 0, 0.1), ("a", 1, 0.2), ("b", 0, 0.3), ("b", 1, 0.4)]


@pytest.mark.parametrize(
    ("prompt", "responses"), [("{question}", 1), ("{question}{response}", 0), ("{response}", 1)]
)
def test_a_prompt_without_its_places_is_refused(prompt, responses):
    with pytest.raises(ConfigError, match=r"question|response"):
        PTrue(prompt=prompt, responses=responses)
    with pytest.raises(ConfigError, match=r"question|response"):
        Verbalized(prompt=prompt, responses=responses, max_new_tokens=5)
