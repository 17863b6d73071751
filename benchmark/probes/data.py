"""Hands the probes that are trained by steps their questions, a few at a time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, DistributedSampler, SequentialSampler

from benchmark.probes.features import FeatureSet, select_questions


class QuestionBatch(NamedTuple):
    """B questions with all F features.

    Attributes:
        features: [F, B, D], float32.
        target: [B], c / n.
        weight: [B], n as a multiple of the split's mean n.
    """

    features: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


class ProbeData(LightningDataModule):  # type: ignore[misc]
    """The training split in an order that seed and epoch decide, and the validation split.

    Args:
        train: what the probes are fitted to; each device gets its share of every epoch.
        validation: what their epochs are chosen on; each device gets all of it.
        batch_size: questions of a batch.
        seed: of the order.
    """

    def __init__(
        self, train: FeatureSet, validation: FeatureSet, batch_size: int, seed: int
    ) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self.batch_size, self.seed = batch_size, seed

    def train_dataloader(self) -> DataLoader[QuestionBatch]:
        """Return the training batches of this device; Lightning tells the sampler the epoch."""
        questions = _Questions(self.train)
        return self._loader(
            questions,
            DistributedSampler(
                questions,
                self.trainer.world_size if self.trainer else 1,
                self.trainer.global_rank if self.trainer else 0,
                seed=self.seed,
            ),
        )

    def val_dataloader(self) -> DataLoader[QuestionBatch]:
        """Return the validation batches."""
        questions = _Questions(self.validation)
        return self._loader(questions, SequentialSampler(questions))

    def _loader(
        self, questions: "_Questions", sampler: torch.utils.data.Sampler[int]
    ) -> DataLoader[QuestionBatch]:
        return DataLoader(
            questions,
            self.batch_size,
            sampler=sampler,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else each epoch draws from the caller's
        )


class _Questions(Dataset[QuestionBatch]):
    """A split, of which batches are read at once."""

    def __init__(self, split: FeatureSet) -> None:
        self._features = split.features
        self._target = split.c / split.n
        self._weight = split.n / split.n.float().mean()

    def __len__(self) -> int:
        return len(self._target)

    def __getitems__(self, rows: Sequence[int]) -> QuestionBatch:
        features = select_questions(self._features, rows).transpose(0, 1)
        return QuestionBatch(features, self._target[rows], self._weight[rows])


def _as_it_is(batch: Any) -> Any:
    return batch
