import numpy as np
import pytest

from benchmark.errors import DataError
from benchmark.metrics.brier import brier_score
from benchmark.statistics.inputs import check_inputs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, np.nan], [2, 2], [1, 1]), r"confidences\[1\] is nan; it must be in \[0, 1\]"),
        (([0.5, 1.2], [2, 2], [1, 1]), r"confidences\[1\] is 1\.2"),
        (([-0.1, 1.0], [2, 2], [1, 1]), r"confidences\[0\] is -0\.1"),
        (([0.5, 0.5], [2, 0], [1, 0]), r"n\[1\] is 0"),
        (([0.5, 0.5], [2, 2.5], [1, 0]), r"n\[1\] is 2\.5"),
        (([0.5, 0.5], [2, np.inf], [1, 0]), r"n\[1\] is inf"),
        (([0.5, 0.5], [2, 2], [3, 0]), r"c\[0\] is 3; it must be a whole number from 0 to n"),
        (([0.5, 0.5], [2, 2], [-1, 0]), r"c\[0\] is -1"),
        (([0.5, 0.5], [2, 2], [0.5, 0]), r"c\[0\] is 0\.5"),
        (([0.5], [2, 2], [1, 1]), "confidences has 1 questions but n and c have 2"),
        (([0.5, 0.5], [2, 2], [1]), "n has 2 questions but c has 1"),
        (([[0.5], [0.5]], [2, 2], [1, 1]), r"confidences has shape \(2, 1\)"),
        (([0.5, 0.5], [2, 2], [1, 1], [1.0]), r"weights has shape \(1,\)"),
        (([0.5, 0.5], [2, 2], [1, 1], [[1, 1], [1, -1]]), r"weights\[1, 1\] is -1"),
        (([0.5, 0.5], [2, 2], [1, 1], [1, np.inf]), r"weights\[1\] is inf"),
        (([0.5, 0.5], [2, 2], [1, 1], [1, np.nan]), r"weights\[1\] is nan"),
    ],
)
def test_wrong_argument_is_refused_with_its_name_and_value(arguments, message):
    with pytest.raises(DataError, match=message):
        check_inputs(*arguments)


def test_ends_of_the_range_are_accepted():
    inputs = check_inputs([0, 1], n=[1, 3], c=[0, 3])
    assert inputs.accuracy.tolist() == [0, 1]
    assert inputs.weights.tolist() == [1, 1]


def test_metrics_check_their_inputs():
    with pytest.raises(DataError, match="confidences"):
        brier_score([2.0], n=[1], c=[1])
