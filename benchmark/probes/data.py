"""Hands the probe bank its features: a few layers of all questions at a time."""

from collections.abc import Collection
from itertools import combinations
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from benchmark.errors import DataError
from benchmark.probes.features import FeatureSet, feature_names, select_feature

_BATCH_NUMBERS = 2**22  # in the features of a batch: 16 MB in float32


class FeatureBatch(NamedTuple):
    """F features of all N questions of a split.

    Attributes:
        position: [F], places in ``feature_names``.
        features: [F, N, D], float32.
        n: [N], responses.
        c: [N], correct ones.
    """

    position: torch.Tensor
    features: torch.Tensor
    n: torch.Tensor
    c: torch.Tensor


class ProbeData(LightningDataModule):  # type: ignore[misc]
    """The training, the validation and the test split, all full batch over questions.

    Attributes:
        train: what the probes and the standardisation are fitted to.
        validation: what layer, pooling and setting are chosen on.
        test: what the table of the choice shows beside it; None for nothing.

    Raises:
        DataError: the splits, or one of them and the test split, share question ids; or the splits
            have another number of layers or width.
    """

    def __init__(
        self, train: FeatureSet, validation: FeatureSet, test: FeatureSet | None = None
    ) -> None:
        super().__init__()
        splits = {"training": train, "validation": validation}
        if test is not None:
            splits["test"] = test
        for (first, a), (second, b) in combinations(splits.items(), 2):
            _refuse_shared(first, a.question_ids, second, b.question_ids)
            shapes = [list(split.features.shape[1:]) for split in (a, b)]
            if shapes[0] != shapes[1]:
                raise DataError(
                    f"Features of the {first} split are of [layers, width] {shapes[0]}, those of "
                    f"the {second} split of {shapes[1]}: they come from two models."
                )
        self.train, self.validation, self.test = train, validation, test

    def train_dataloader(self) -> DataLoader[FeatureBatch]:
        """Return the training split's batches."""
        return DataLoader(_Batches(self.train), batch_size=None)

    def val_dataloader(self) -> DataLoader[FeatureBatch]:
        """Return the validation split's batches."""
        return DataLoader(_Batches(self.validation), batch_size=None)

    def test_dataloader(self) -> DataLoader[FeatureBatch]:
        """Return the test split's batches; there must be one."""
        assert self.test is not None
        return DataLoader(_Batches(self.test), batch_size=None)


class _Batches(Dataset[FeatureBatch]):
    """Every layer and pooling, as many at a time as memory allows."""

    def __init__(self, split: FeatureSet) -> None:
        questions, layers, width = split.features.shape
        size = max(1, _BATCH_NUMBERS // (questions * width))
        self._split = split
        self._groups = torch.split(torch.arange(len(feature_names(layers))), size)

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, item: int) -> FeatureBatch:
        if item >= len(self):
            raise IndexError(item)
        group, split = self._groups[item], self._split
        features = [select_feature(split.features, index) for index in group.tolist()]
        return FeatureBatch(group, torch.stack(features), split.n, split.c)


def _refuse_shared(
    first: str, first_ids: Collection[str], second: str, second_ids: Collection[str]
) -> None:
    shared = sorted(set(first_ids) & set(second_ids))
    if shared:
        named = ", ".join(f"'{key}'" for key in shared[:5])
        more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
        raise DataError(
            f"The {first} and the {second} split share {len(shared)} questions: {named}{more}. "
            "A probe is chosen and judged on questions it was not trained on; choose other splits."
        )
