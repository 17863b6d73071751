import math

import pytest
import torch

from benchmark.errors import DataError
from benchmark.probes import FeatureSet
from benchmark.probes.features import feature_names, select_feature


def feature_set(**changes: object) -> FeatureSet:
    fields = {
        "question_ids": ["a", "b", "c"],
        "features": torch.zeros(3, 2, 4),
        "n": torch.tensor([4, 4, 2]),
        "c": torch.tensor([0, 4, 1]),
    }
    return FeatureSet(**(fields | changes))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_state_that_is_not_finite_is_refused_with_its_question_and_layer(value: float) -> None:
    features = torch.zeros(3, 3, 4)
    features[1, 2, 3] = value
    features[2, 0, 0] = value
    with pytest.raises(DataError, match=r"'b' hold -?(nan|inf) at layer 2"):
        feature_set(features=features)


def test_states_that_are_not_finite_are_found_beyond_the_first_chunk() -> None:
    features = torch.zeros(200, 2, 4, dtype=torch.bfloat16)
    features[150, 0, 0] = math.nan
    ids = [str(i) for i in range(200)]
    with pytest.raises(DataError, match=r"'150' hold nan at embedding"):
        FeatureSet(ids, features, torch.ones(200), torch.ones(200))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question_ids": ["a", "b", "a"]}, "question 'a' twice"),
        ({"question_ids": ["a", "b"]}, "2 ids stand beside 3"),
        ({"n": torch.tensor([4, 4])}, "n is of shape"),
        ({"c": torch.tensor([[0, 4, 1]])}, "c is of shape"),
        ({"n": torch.tensor([4, 0, 2]), "c": torch.tensor([0, 0, 1])}, "'b' has c = 0 .* n = 0"),
        ({"c": torch.tensor([0, 4, 3])}, "'c' has c = 3 .* n = 2"),
        ({"c": torch.tensor([-1, 4, 1])}, "'a' has c = -1"),
        ({"features": torch.zeros(3, 4)}, r"shape \[3, 4\]"),
        ({"features": torch.zeros(3, 0, 4)}, r"shape \[3, 0, 4\]"),
        ({"features": torch.zeros(3, 2, 4, dtype=torch.float16)}, "float16"),
    ],
)
def test_a_broken_rule_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        feature_set(**changes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_name_selects_its_feature_in_float32(dtype: torch.dtype) -> None:
    features = torch.randn(150, 3, 4).to(dtype)
    selected = [select_feature(features, i) for i in range(len(feature_names(3)))]
    expected = [*features.float().unbind(1), features.float().mean(1)]
    torch.testing.assert_close(torch.stack(selected), torch.stack(expected))
    assert feature_names(3) == ["embedding", "layer 1", "layer 2", "mean over layers"]
