import dataclasses
from pathlib import Path

import polars as pl
import pytest
import torch
from rich.console import Console

from benchmark.errors import DataError
from benchmark.probes import FeatureSet
from benchmark.probes.data import ProbeData
from benchmark.probes.features import check_splits, select_feature, select_questions
from benchmark.store.artifact import Store
from benchmark.store.hidden_states import StoredFeatures, append_features, read_features


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
        check_splits(
            {"training": split(*train), "validation": split(*validation)}
            | ({"test": split(*test)} if test else {})
        )


def test_features_of_two_models_are_refused() -> None:
    with pytest.raises(
        DataError,
        match=r"training split are of \[layers, width\] \[3, 2\], .* validation split of \[3, 5\]",
    ):
        check_splits({"training": split("a"), "validation": split("b", width=5)})


def test_each_epoch_has_its_own_order_which_seed_and_epoch_decide() -> None:
    train = split(*"abcdefgh")
    train.c[:] = torch.tensor([0, 1] * 4)

    def order(epoch: int, seed: int = 3) -> list[float]:
        loader = ProbeData(train, split("x"), 3, seed).train_dataloader()
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        assert [len(batch.target) for batch in batches] == [3, 3, 2]
        return torch.cat([batch.features[0, :, 0] for batch in batches]).tolist()

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0) != order(0, seed=4)
    assert sorted(order(0)) == sorted(order(1)) == sorted(train.features[:, 0, 0].tolist())


def test_a_batch_holds_layers_and_poolings_with_target_and_weight() -> None:
    train = dataclasses.replace(
        split("a", "b", "c"), n=torch.tensor([2, 4, 6]), c=torch.tensor([1, 4, 0])
    )
    (batch,) = ProbeData(split("x"), train, 3, 0).val_dataloader()
    expected = torch.stack([select_feature(train.features, i) for i in range(5)])
    torch.testing.assert_close(batch.features, expected)
    assert batch.target.tolist() == [0.5, 1, 0]
    assert batch.weight.tolist() == [0.5, 1, 1.5]


def test_stored_questions_are_those_in_memory(tmp_path: Path) -> None:
    train = split(*"abcde")
    artifact = Store(tmp_path, Console()).artifact("m", "d", "train", "features", {})
    with artifact.lock():
        for part in ([0, 1], [2, 3, 4]):
            names = [train.question_ids[i] for i in part]
            append_features(artifact, names, names, train.features[part])
    places = read_features(artifact)
    stored = StoredFeatures(
        pl.DataFrame({"question_id": list(train.question_ids)}).join(
            places, on="question_id", maintain_order="left"
        )
    )
    for chosen in ([4, 0, 3], [2], [1, 1]):
        expected = select_questions(train.features, chosen)
        assert torch.equal(select_questions(stored, chosen), expected)
