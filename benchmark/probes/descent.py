"""Probes trained by mini-batch steps, for many feature sets and settings at once.

Inside the probe bank, for what has no better way: a hidden layer, or the paper's own recipe.
``logits_of`` is what every probe computes, however it was trained.
"""

from collections.abc import Mapping

import torch
from torch import nn

from benchmark.probes.settings import ProbeSettings
from benchmark.probes.solver import order_of

Parameters = Mapping[str, torch.Tensor]


def logits_of(parameters: Parameters, features: torch.Tensor) -> torch.Tensor:
    """Return the logits [F, S, N] of F feature sets under S probes each.

    Args:
        parameters: ``weight`` [F, S, K] and ``bias`` [F, S]; for a hidden layer of K units also
            ``hidden_weight`` [F, S, D, K] and ``hidden_bias`` [F, S, K], else K = D.
        features: [F, N, D], standardised.
    """
    weight, bias = parameters["weight"], parameters["bias"][..., None]
    if "hidden_weight" not in parameters:
        return weight @ features.mT + bias
    hidden = features[:, None] @ parameters["hidden_weight"]
    units = (hidden + parameters["hidden_bias"][:, :, None]).relu()
    return (units @ weight[..., None]).squeeze(-1) + bias


def descend(
    features: torch.Tensor,
    n: torch.Tensor,
    c: torch.Tensor,
    settings: ProbeSettings,
    positions: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Return the parameters, for ``logits_of``, of every feature set and point of the grid.

    Each probe is trained as if it were alone: its start and its batches depend on the seed and the
    feature's position only.

    Args:
        features: [F, N, D], standardised.
        n: [N], responses per question.
        c: [N], correct ones.
        settings: with ``by_steps``.
        positions: [F], of the features among all.
    """
    start = _start(features, n, c, settings, positions)
    probes = [
        {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
        for _ in settings.grid
    ]
    optimizer = _optimizer(probes, settings)
    weight = n / n.float().mean()
    order = torch.Generator().manual_seed(settings.seed)

    def stacked() -> dict[str, torch.Tensor]:
        return {name: torch.stack([probe[name] for probe in probes], dim=1) for name in start}

    with torch.enable_grad():
        for _ in range(settings.epochs):
            shuffled = torch.randperm(len(n), generator=order).to(n.device)
            for rows in torch.split(shuffled, settings.batch_size):
                logits = logits_of(stacked(), features[:, rows])
                loss = _loss(logits, n[rows], c[rows], weight[rows], settings.objective)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return {name: tensor.detach() for name, tensor in stacked().items()}


def _start(
    features: torch.Tensor,
    n: torch.Tensor,
    c: torch.Tensor,
    settings: ProbeSettings,
    positions: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Return a constant probe for each feature set: the training mean, or 0 for a ranking."""
    sets, _, width = features.shape
    rate = ((c.sum() + 0.5) / (n.sum() + 1)).item()
    level = {"binomial": torch.tensor(rate).logit().item(), "squared": rate, "ranking": 0.0}
    bias = features.new_full((sets,), level[settings.objective])
    if settings.architecture == "linear":
        return {"weight": features.new_zeros(sets, width), "bias": bias}
    hidden = features.new_zeros(sets, width, settings.hidden)
    for row, position in enumerate(positions.tolist()):
        generator = torch.Generator().manual_seed((settings.seed * 1009 + position) % 2**63)
        drawn = torch.randn(width, settings.hidden, generator=generator)
        hidden[row] = (drawn * (2 / width) ** 0.5).to(hidden)  # He et al., arXiv 1502.01852
    spread = settings.hidden**-0.5
    signs = torch.where(torch.arange(settings.hidden) % 2 == 0, spread, -spread)
    return {
        "weight": signs.to(features).repeat(sets, 1),
        "bias": bias,
        "hidden_weight": hidden,
        "hidden_bias": features.new_zeros(sets, settings.hidden),
    }


def _optimizer(
    probes: list[dict[str, torch.Tensor]], settings: ProbeSettings
) -> torch.optim.Optimizer:
    groups = []
    for probe, setting in zip(probes, settings.grid, strict=True):
        for name, tensor in probe.items():
            decay = setting.strength if name.endswith("weight") else 0.0
            groups.append({"params": [tensor], "lr": setting.learning_rate, "weight_decay": decay})
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum)
    return torch.optim.AdamW(groups)


def _loss(
    logits: torch.Tensor, n: torch.Tensor, c: torch.Tensor, weight: torch.Tensor, objective: str
) -> torch.Tensor:
    """Return the mean loss of a batch, summed over the probes."""
    if objective == "ranking":
        first, second = torch.triu_indices(len(n), len(n), offset=1, device=n.device)
        if not len(first):
            return logits.sum() * 0  # a last batch of one question has no pair
        target = order_of(n, c, first, second)
        logits = logits[..., first] - logits[..., second]
        weight = torch.ones_like(target)
    else:
        target = (c / n).to(logits.dtype)
    if objective == "squared":
        losses = (logits - target).square() / 2
    else:
        losses = nn.functional.binary_cross_entropy_with_logits(
            logits, target.expand_as(logits), reduction="none"
        )
    return (weight * losses).mean(-1).sum()
