import pytest
import torch

from benchmark.errors import DataError
from benchmark.probes import FeatureSet, data
from benchmark.probes.data import ProbeData
from benchmark.probes.features import select_feature


def split(*ids: str, layers: int = 3, width: int = 2) -> FeatureSet:
    ones = torch.ones(len(ids), dtype=torch.int64)
    return FeatureSet(list(ids), torch.randn(len(ids), layers, width), ones, ones)


@pytest.mark.parametrize(
    ("train", "validation", "test", "message"),
    [
        ("abc", "cde", "", "training and the validation split share 1 questions: 'c'"),
        ("abc", "de", "xba", "training and the test split share 2 questions: 'a', 'b'"),
        ("abc", "de", "xd", "validation and the test split share 1 questions: 'd'"),
    ],
)
def test_shared_questions_are_refused_by_id(
    train: str, validation: str, test: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ProbeData(split(*train), split(*validation), split(*test) if test else None)


def test_features_of_two_models_are_refused() -> None:
    with pytest.raises(
        DataError,
        match=r"training split are of \[layers, width\] \[3, 2\], .* validation split of \[3, 5\]",
    ):
        ProbeData(split("a"), split("b", width=5))


@pytest.mark.parametrize("numbers", [1, 12, 10**6])
def test_the_batches_hold_every_feature_once(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_BATCH_NUMBERS", numbers)
    train = split("a", "b", "c")
    batches = list(ProbeData(train, split("d")).train_dataloader())
    assert torch.cat([batch.position for batch in batches]).tolist() == [0, 1, 2, 3, 4]
    expected = torch.stack([select_feature(train.features, i) for i in range(5)])
    torch.testing.assert_close(torch.cat([batch.features for batch in batches]), expected)
    assert max(batch.features.numel() for batch in batches) <= max(numbers, 6)
