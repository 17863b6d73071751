"""The hidden states of a split's questions beside their counts: what probes are trained on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from benchmark.errors import DataError
from benchmark.store.hidden_states import StoredFeatures

POOLINGS = ("mean over layers", "maximum over layers")
_CHUNK = 64  # number of questions that are read at once, so that stored features stay on disk
_DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class FeatureSet:
    """Features and counts of one split, row by row.

    Attributes:
        question_ids: N unique ids.
        features: [N, L, D], hidden states at the last prompt token, embedding first; float32 or
            bfloat16, all finite; in memory or stored.
        n: [N], graded responses, at least 1.
        c: [N], correct ones; the target is c / n.
        step: difference between the numbers of two layers that stand side by side, at least 1.

    Raises:
        DataError: where one of these rules is broken, naming the question.
    """

    question_ids: list[str]
    features: torch.Tensor | StoredFeatures
    n: torch.Tensor
    c: torch.Tensor
    step: int = 1

    def __post_init__(self) -> None:
        """Refuse what breaks a rule; stored features were checked before they were stored."""
        _check_shapes(self)
        repeated = [key for key, count in Counter(self.question_ids).items() if count > 1]
        if repeated:
            raise DataError(f"Features hold question '{repeated[0]}' twice; ids must be unique.")
        wrong = (~((self.n >= 1) & (self.c >= 0) & (self.c <= self.n))).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                f"Question '{self.question_ids[row]}' has c = {self.c[row].item()} correct of "
                f"n = {self.n[row].item()} responses; the rule is 0 <= c <= n and n >= 1."
            )
        if isinstance(self.features, torch.Tensor):
            check_finite(self.question_ids, self.features)


def feature_names(layers: int, step: int = 1) -> list[str]:
    """Return the names of the L + 2 features that L stored layers, every ``step``-th, give.

    >>> feature_names(3)
    ['embedding', 'layer 1', 'layer 2', 'mean over layers', 'maximum over layers']
    >>> feature_names(3, step=4)
    ['embedding', 'layer 4', 'layer 8', 'mean over layers', 'maximum over layers']
    """
    return ["embedding", *(f"layer {i * step}" for i in range(1, layers)), *POOLINGS]


def select_feature(features: torch.Tensor | StoredFeatures, index: int) -> torch.Tensor:
    """Return the feature that ``feature_names`` has at ``index``, in float32 [N, D].

    Args:
        features: [N, L, D].
        index: of a layer; L for the mean, L + 1 for the largest value over all layers, the
            embedding included, of each dimension.
    """
    questions, layers, width = features.shape
    if index < layers:
        if isinstance(features, StoredFeatures):
            return features.layer(index)
        return features[:, index].float()
    if isinstance(features, StoredFeatures):
        result = torch.empty(questions, width)
        for positions, block in features.blocks(_CHUNK):
            result[positions] = _pooled(block, index - layers)
        return result
    chunks = torch.split(features, _CHUNK)
    return torch.cat([_pooled(chunk.float(), index - layers) for chunk in chunks])


def select_questions(features: torch.Tensor | StoredFeatures, rows: Sequence[int]) -> torch.Tensor:
    """Return all features of some questions, in float32 [len(rows), L + 2, D]."""
    if isinstance(features, StoredFeatures):
        block = features.rows(rows)
    else:
        block = features[list(rows)].float()
    pooled = [_pooled(block, pooling) for pooling in range(len(POOLINGS))]
    return torch.cat([block, torch.stack(pooled, dim=1)], dim=1)


def _pooled(block: torch.Tensor, pooling: int) -> torch.Tensor:
    return block.mean(dim=1) if pooling == 0 else block.amax(dim=1)


def join(sets: Sequence[FeatureSet]) -> FeatureSet:
    """Return the questions of several sets as one.

    Raises:
        DataError: the sets share a question, or come from several models.
    """
    if len({(*s.features.shape[1:], s.step) for s in sets}) > 1:
        shapes = [list(s.features.shape[1:]) for s in sets]
        raise DataError(f"Features of [layers, width] {shapes} come from several models.")
    if len(sets) == 1:
        return sets[0]
    features = sets[0].features
    for other in sets[1:]:
        if isinstance(features, StoredFeatures) and isinstance(other.features, StoredFeatures):
            features = features + other.features
        else:
            assert isinstance(features, torch.Tensor)
            assert isinstance(other.features, torch.Tensor)
            features = torch.cat([features, other.features])
    return FeatureSet(
        [key for s in sets for key in s.question_ids],
        features,
        torch.cat([s.n for s in sets]),
        torch.cat([s.c for s in sets]),
        sets[0].step,
    )


def check_splits(splits: dict[str, FeatureSet]) -> None:
    """Refuse splits, by name, that a probe can't be trained, chosen and judged on.

    Raises:
        DataError: two of them share question ids, or have another number of layers or width.
    """
    for (first, a), (second, b) in combinations(splits.items(), 2):
        shared = sorted(set(a.question_ids) & set(b.question_ids))
        if shared:
            named = ", ".join(f"'{key}'" for key in shared[:5])
            more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
            raise DataError(
                f"The {first} and the {second} split share {len(shared)} questions: {named}{more}. "
                "A probe is chosen and judged on questions it was not trained on; choose other "
                "splits."
            )
        shapes = [list(split.features.shape[1:]) for split in (a, b)]
        if shapes[0] != shapes[1]:
            raise DataError(
                f"Features of the {first} split are of [layers, width] {shapes[0]}, those of the "
                f"{second} split of {shapes[1]}: they come from two models."
            )


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
    features, questions = split.features, split.features.shape[0]
    if len(features.shape) != 3 or 0 in features.shape:
        raise DataError(
            f"Features are of shape {list(features.shape)}; expected [questions, layers, width], "
            "none of them 0."
        )
    if isinstance(features, torch.Tensor) and features.dtype not in _DTYPES:
        raise DataError(f"Features are {features.dtype}; expected float32 or bfloat16.")
    for name, shape in (("n", split.n.shape), ("c", split.c.shape)):
        if shape != (questions,):
            raise DataError(f"{name} is of shape {list(shape)} beside {questions} questions.")
    if len(split.question_ids) != questions:
        raise DataError(f"{len(split.question_ids)} ids stand beside {questions} features.")
