"""Features with a planted logit in one layer, and the counts that it gives."""

import torch

from benchmark.probes import FeatureSet


def plant(
    n_questions: int = 260, layers: int = 3, width: int = 12, layer: int = 1, n: int = 200
) -> tuple[FeatureSet, torch.Tensor]:
    """Return correlated features and the expected accuracies that ``layer`` carries."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.arange(1, width + 1) ** -0.5
    mixing = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    features = (torch.randn(n_questions, layers, width, generator=generator) * spread) @ mixing
    weight = torch.randn(width, generator=generator) * 2
    rate = (features[:, layer] @ weight + 0.5).sigmoid()
    counts = torch.full((n_questions,), n)
    correct = torch.binomial(counts.float(), rate, generator=generator).long()
    ids = [f"q{i}" for i in range(n_questions)]
    return FeatureSet(ids, 3 + 5 * features, counts, correct), rate


def rows(split: FeatureSet, start: int, stop: int) -> FeatureSet:
    """Return some of a split's questions."""
    part = slice(start, stop)
    return FeatureSet(split.question_ids[part], split.features[part], split.n[part], split.c[part])
