"""The hidden states of a split's questions beside their counts: what probes are trained on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmark.errors import DataError

_CHUNK = 64  # questions that are read at a time, so that memory-mapped features stay on the disk


@dataclass(frozen=True)
class FeatureSet:
    """Features and counts of one split, row by row.

    Attributes:
        question_ids: N unique ids.
        features: [N, L, D], hidden states at the last prompt token, embedding first; float32 or
            bfloat16, all finite, may be memory-mapped.
        n: [N], graded responses, at least 1.
        c: [N], correct ones; the target is c / n.

    Raises:
        DataError: where one of these rules is broken, naming the question.
    """

    question_ids: list[str]
    features: torch.Tensor
    n: torch.Tensor
    c: torch.Tensor

    def __post_init__(self) -> None:
        _check_shapes(self)
        repeated = [key for key, count in Counter(self.question_ids).items() if count > 1]
        if repeated:
            raise DataError(f"Features hold question '{repeated[0]}' twice; ids must be unique.")
        wrong = ((self.n < 1) | (self.c < 0) | (self.c > self.n)).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                f"Question '{self.question_ids[row]}' has c = {self.c[row].item()} correct of "
                f"n = {self.n[row].item()} responses; the rule is 0 <= c <= n and n >= 1."
            )
        check_finite(self.question_ids, self.features)

    @property
    def rate(self) -> torch.Tensor:
        """The estimated expected accuracies c / n, [N] in float64."""
        return self.c.double() / self.n.double()


def feature_names(layers: int) -> list[str]:
    """Return the names of the L + 1 features that L stored layers give.

    >>> feature_names(3)
    ['embedding', 'layer 1', 'layer 2', 'mean over layers']
    """
    return ["embedding", *(f"layer {i}" for i in range(1, layers)), "mean over layers"]


def select_feature(features: torch.Tensor, index: int) -> torch.Tensor:
    """Return the feature that ``feature_names`` has at ``index``, in float32 [N, D].

    Args:
        features: [N, L, D].
        index: of a layer, or L for the mean over all L, the embedding included.
    """
    if index < features.shape[1]:
        return features[:, index].float()
    return torch.cat([chunk.float().mean(dim=1) for chunk in torch.split(features, _CHUNK)])


def check_finite(question_ids: Sequence[str], features: torch.Tensor) -> None:
    """Refuse hidden states with NaN or infinity.

    Args:
        question_ids: N ids.
        features: [N, L, D].

    Raises:
        DataError: naming the first question and its first layer.
    """
    for start in range(0, len(features), _CHUNK):
        finite = features[start : start + _CHUNK].isfinite().all(dim=-1)
        if not finite.all():
            row, layer = (~finite).nonzero()[0].tolist()
            states = features[start + row, layer]
            value = states[~states.isfinite()][0].item()
            raise DataError(
                f"Hidden states of question '{question_ids[start + row]}' hold {value} at "
                f"{feature_names(features.shape[1])[layer]}. Run the model in float32 or bfloat16 "
                "and read them again."
            )


def _check_shapes(split: FeatureSet) -> None:
    features = split.features
    if features.ndim != 3 or 0 in features.shape:
        raise DataError(
            f"Features are of shape {list(features.shape)}; expected [questions, layers, width], "
            "none of them 0."
        )
    if features.dtype not in (torch.float32, torch.bfloat16):
        raise DataError(f"Features are {features.dtype}; expected float32 or bfloat16.")
    for name, shape in (("n", split.n.shape), ("c", split.c.shape)):
        if shape != (len(features),):
            raise DataError(f"{name} is of shape {list(shape)} beside {len(features)} questions.")
    if len(split.question_ids) != len(features):
        raise DataError(f"{len(split.question_ids)} ids stand beside {len(features)} features.")
