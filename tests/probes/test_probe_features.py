import math
from pathlib import Path

import polars as pl
import pytest
import torch
from rich.console import Console

from benchmark.errors import DataError
from benchmark.probes import FeatureSet
from benchmark.probes.features import feature_names, join, select_feature
from benchmark.store.artifact import Store
from benchmark.store.hidden_states import StoredFeatures, append_features, read_features


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
        ({"n": torch.tensor([4, 4, math.nan])}, "'c' has c = 1 .* n = nan"),
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
    wide = features.float()
    expected = [*wide.unbind(1), wide.mean(1), wide.amax(1)]
    torch.testing.assert_close(torch.stack(selected), torch.stack(expected))


def stored(folder: Path, features: torch.Tensor, part: int = 40) -> StoredFeatures:
    """Return the features in files of ``part`` questions, the files' rows in reverse."""
    artifact = Store(folder, Console()).artifact("m", "d", "s", "features", {})
    with artifact.lock():
        for start in range(0, len(features), part):
            rows = features[start : start + part].flip(0)
            ids = [f"q{i}" for i in reversed(range(start, start + len(rows)))]
            append_features(artifact, ids, ids, rows)
    places = read_features(artifact)
    order = pl.DataFrame({"question_id": [f"q{i}" for i in range(len(features))]})
    return StoredFeatures(order.join(places, on="question_id", maintain_order="left"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stored_features_are_those_that_were_stored(tmp_path: Path, dtype: torch.dtype) -> None:
    features = torch.randn(150, 3, 4).to(dtype)
    kept = stored(tmp_path, features)
    assert kept.shape == (150, 3, 4)
    for index in range(5):
        assert torch.equal(select_feature(kept, index), select_feature(features, index))


def test_sets_are_joined_in_memory_and_on_the_disk(tmp_path: Path) -> None:
    features = torch.randn(9, 3, 4)
    counts = torch.arange(9)
    for kind in (features, stored(tmp_path, features)):
        first = FeatureSet([f"a{i}" for i in range(9)], kind, counts + 1, counts)
        second = FeatureSet([f"b{i}" for i in range(9)], kind, counts + 2, counts)
        both = join([first, second])
        assert both.question_ids == [*first.question_ids, *second.question_ids]
        assert both.n.tolist() == [*range(1, 10), *range(2, 11)]
        for index in range(5):
            expected = select_feature(features, index).repeat(2, 1)
            assert torch.equal(select_feature(both.features, index), expected)
    with pytest.raises(DataError, match="question 'a0' twice"):
        join([first, first])
    other = FeatureSet(["c"], torch.zeros(1, 3, 5), torch.ones(1), torch.ones(1))
    with pytest.raises(DataError, match="several models"):
        join([first, other])
