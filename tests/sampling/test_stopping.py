import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from benchmark.errors import DataError
from benchmark.records import GRADE, RESPONSE
from benchmark.sampling.adaptive import (
    StoppingRule,
    sample_until_narrow,
    stopped_counts,
    stops,
    wilson_width,
)

RULE = StoppingRule(k_min=4, k_max=20, round=3, width=0.5)


class Drawn:
    """Responses to questions whose outcomes are known, with a record of what was asked for."""

    def __init__(self, outcomes, left_out=(), failed=()):
        self.outcomes, self.left_out, self.failed = outcomes, set(left_out), set(failed)
        self.asked = []

    def draw(self, k):
        self.asked.append(dict(k))
        rows = [(key, index) for key, number in k.items() for index in range(number)]
        columns = dict.fromkeys(RESPONSE)
        columns |= {"question_id": [r[0] for r in rows], "sample_index": [r[1] for r in rows]}
        columns["finish_reason"] = ["error" if row in self.failed else "stop" for row in rows]
        return pl.DataFrame(columns, schema=RESPONSE)

    def count(self, responses):
        rows = responses["question_id", "sample_index"].rows()
        keys = [key for key in rows if key not in self.left_out | self.failed]
        outcomes = ["correct" if self.outcomes[q][i] else "incorrect" for q, i in keys]
        return pl.DataFrame(
            {"question_id": [q for q, _ in keys], "sample_index": [i for _, i in keys],
             "answer": None, "outcome": outcomes, "reason": None, "grader": "exact"},
            schema=GRADE,
        )  # fmt: skip

    def run(self, rule=RULE):
        first = self.draw(dict.fromkeys(self.outcomes, rule.k_min))
        responses = sample_until_narrow(first, rule, self.draw, self.count)
        return {
            key: sorted(rows["sample_index"])
            for (key,), rows in responses.group_by("question_id", maintain_order=True)
        }


@pytest.mark.parametrize("n", [1, 7, 64])
def test_the_width_is_that_of_scipys_wilson_interval(n):
    expected = []
    for c in range(n + 1):
        interval = binomtest(c, n).proportion_ci(method="wilson")
        expected.append(interval.high - interval.low)
    np.testing.assert_allclose(wilson_width([n] * (n + 1), range(n + 1)), expected, rtol=1e-12)


def test_counts_out_of_range_have_no_width():
    with pytest.raises(DataError, match=r"c\[0\] is 5"):
        wilson_width([4], [5])


def test_checks_stand_between_the_fewest_and_the_most_responses():
    assert list(RULE.checks) == [4, 7, 10, 13, 16, 19]
    assert [RULE.next_check(n) for n in (0, 3, 4, 5, 18, 19)] == [4, 4, 7, 7, 19, 20]
    assert list(StoppingRule(4, 4, 1, 0.5).checks) == []


def test_a_question_stops_at_the_first_check_that_is_narrow():
    # 4 of 4: 0.49; half of n: 0.5 from n = 12 on
    drawn = Drawn({"sure": [1] * 20, "half": [0, 1] * 10, "late": [1, 0] + [1] * 18})
    found = drawn.run()
    assert {key: len(indices) for key, indices in found.items()} == {
        "sure": 4, "half": 13, "late": 7,
    }  # fmt: skip
    assert drawn.asked[0] == dict.fromkeys(["sure", "half", "late"], 4)
    assert drawn.asked[1] == {"half": 7, "late": 7}
    assert drawn.asked[2] == {"half": 10}


def test_a_question_that_never_gets_narrow_stops_at_the_most():
    rule = RULE._replace(width=0.1)
    assert {len(v) for v in Drawn({"a": [0, 1] * 10, "b": [1] * 20}).run(rule).values()} == {20}


def test_the_fewest_may_be_the_most():
    rule = StoppingRule(k_min=3, k_max=3, round=5, width=0.9)
    assert Drawn({"a": [1, 1, 1]}).run(rule) == {"a": [0, 1, 2]}


def test_responses_that_do_not_count_are_made_up_for_until_the_most_are_drawn():
    left_out = {("sure", 1), ("sure", 2), ("none", 0), *[("none", i) for i in range(20)]}
    drawn = Drawn({"sure": [1] * 20, "none": [1] * 20, "half": [0, 1] * 10}, left_out,
                  failed=[("half", 5)])  # fmt: skip
    found = drawn.run()
    assert found["sure"] == list(range(6))  # four of them count
    assert found["none"] == list(range(20))
    assert found["half"] == list(range(14))


OUTCOMES = st.lists(st.lists(st.integers(0, 1), min_size=20, max_size=20), min_size=1, max_size=4)


@given(OUTCOMES, st.sampled_from([0.3, 0.4, 0.5, 0.6]), st.integers(1, 6))
@settings(deadline=None, max_examples=25)
def test_rounds_stop_where_the_sequence_says_and_draw_nothing_beyond(outcomes, width, size):
    rule = RULE._replace(width=width, round=size)
    drawn = Drawn({f"q{i}": row for i, row in enumerate(outcomes)})
    found = drawn.run(rule)
    stop = stopped_counts(outcomes, rule)
    assert [len(found[f"q{i}"]) for i in range(len(outcomes))] == stop.tolist()
    most = {}
    for asked in drawn.asked:
        most |= asked
    assert [most[f"q{i}"] for i in range(len(outcomes))] == stop.tolist()


@given(OUTCOMES)
@settings(deadline=None, max_examples=30)
def test_more_responses_than_needed_change_nothing(outcomes):
    drawn = Drawn({f"q{i}": row for i, row in enumerate(outcomes)})
    every = drawn.count(drawn.draw(dict.fromkeys(drawn.outcomes, 20)))
    last = dict(stops(every.sample(fraction=1, shuffle=True, seed=0), RULE).iter_rows())
    expected = stopped_counts(outcomes, RULE) - 1
    assert [last.get(f"q{i}", 19) for i in range(len(outcomes))] == expected.tolist()


def test_outcomes_of_another_length_are_refused():
    with pytest.raises(DataError, match=r"shape \(1, 3\); expected \[questions, 20\]"):
        stopped_counts([[1, 0, 1]], RULE)
