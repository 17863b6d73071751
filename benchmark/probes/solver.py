"""The optimum of L2-regularised binomial regression, for many feature sets and strengths at once.

Inside the probe bank: ``ProbeBank.training_step`` calls ``minimise``. The objective of one problem,
with standardised features x_i, logits z_i = x_i w + b and the share s_i = n_i / sum(n), is

    f(w, b) = sum_i s_i (log(1 + e^z_i) - (c_i / n_i) z_i) + strength / 2 |w|^2

the binomial negative log-likelihood per response (equal to soft-label cross-entropy weighted by n)
plus a ridge; the intercept b is free. It is convex, and solved by conjugate gradients (Polak and
Ribiere, restarted), preconditioned with the Hessian of the constant model, which is diagonal in the
principal axes of the features: one rotation serves all strengths, and ten to twenty steps suffice
where a plain L-BFGS needs hundreds, because hidden states are strongly correlated. The line search
is exact and free of matrix products.
"""

import math
from typing import NamedTuple

import torch

TOLERANCE = 1e-11  # of the decrement, in nats per response
_MAX_STEPS = 300
_MAX_LINE_STEPS = 20


class Optimum(NamedTuple):
    """The minimisers of F feature sets times S strengths.

    Attributes:
        weight: [F, S, D].
        bias: [F, S].
        decrement: [F, S], about twice the distance of the objective from its minimum, in nats per
            response; at most ``TOLERANCE`` where the problem is solved.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    decrement: torch.Tensor


@torch.no_grad()
def minimise(
    features: torch.Tensor, n: torch.Tensor, c: torch.Tensor, strengths: torch.Tensor
) -> Optimum:
    """Return the optimum of every feature set and strength.

    Where all responses are correct, or none is, the likelihood has no finite maximum: the weights
    are then 0 and the bias is the log-odds of (sum(c) + 1/2) / (sum(n) + 1).

    Args:
        features: [F, N, D], standardised.
        n: [N], responses per question, at least 1.
        c: [N], correct ones.
        strengths: [S], positive.
    """
    total, correct = n.sum(), c.sum()
    if correct == 0 or correct == total:
        shape = (len(features), len(strengths))
        odds = math.log(float(correct + 0.5) / float(total - correct + 0.5))
        return Optimum(
            features.new_zeros(*shape, features.shape[-1]),
            features.new_full(shape, odds),
            features.new_zeros(shape),
        )
    share, target = (n / total).to(features.dtype), (c / n).to(features.dtype)
    axes, rotated, curvature = _principal_axes(features, share)
    ones = torch.ones_like(rotated[..., :1])
    design = torch.cat([rotated, ones], dim=-1)  # the intercept is the last column
    ridge = strengths[:, None].expand(-1, design.shape[-1]).clone()
    ridge[:, -1] = 0
    rate = float(correct / total)
    curvature = torch.cat([curvature, torch.ones_like(curvature[:, :1])], dim=-1)
    scaling = 1 / (rate * (1 - rate) * curvature[:, None] + ridge)
    start = torch.zeros_like(scaling)
    start[..., -1] = math.log(rate / (1 - rate))
    point, decrement = _conjugate_gradients(design, share, target, ridge, scaling, start)
    return Optimum(point[..., :-1] @ axes.mT, point[..., -1], decrement)


def _principal_axes(
    features: torch.Tensor, share: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the axes [F, D, R], the features along them [F, N, R] and their second moments [F, R].

    R = min(N, D): weights at the optimum lie in the span of the rows. The axes are orthonormal to
    rounding, so that the ridge keeps its form; that they are principal only matters for speed.
    """
    span = None
    if features.shape[1] < features.shape[2]:
        span, triangle = torch.linalg.qr(features.mT)
        features = triangle.mT
    moments, axes = torch.linalg.eigh((features * share[:, None]).mT @ features)
    rotated = features @ axes
    return axes if span is None else span @ axes, rotated, moments.clamp_min(0)


def _conjugate_gradients(
    design: torch.Tensor,
    share: torch.Tensor,
    target: torch.Tensor,
    ridge: torch.Tensor,
    scaling: torch.Tensor,
    point: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the minimisers [F, S, R] and their decrements [F, S], from ``point`` on.

    Problems that are solved stand still, so that no problem depends on the others.
    """
    logits = point @ design.mT

    def gradient_at() -> torch.Tensor:
        return (share * (logits.sigmoid() - target)) @ design + ridge * point

    gradient = gradient_at()
    scaled = scaling * gradient
    decrement = _dot(gradient, scaled)
    direction = -scaled
    for _ in range(_MAX_STEPS):
        active = decrement > TOLERANCE
        if not active.any():
            break
        slope = direction @ design.mT
        length = _exact_step(
            logits, slope, share, target, _dot(ridge * point, direction),
            _dot(ridge * direction, direction), _dot(gradient, direction),
        )
        length = torch.where(active, length, 0)[..., None]
        point = point + length * direction
        logits = logits + length * slope
        last, gradient = gradient, gradient_at()
        scaled = scaling * gradient
        before, decrement = decrement, _dot(gradient, scaled)
        conjugacy = ((decrement - _dot(last, scaled)) / before.clamp_min(1e-30)).clamp_min(0)
        direction = conjugacy[..., None] * direction - scaled
        uphill = _dot(gradient, direction) >= 0
        direction = torch.where(uphill[..., None], -scaled, direction)
    return point, decrement


def _exact_step(
    logits: torch.Tensor,
    slope: torch.Tensor,
    share: torch.Tensor,
    target: torch.Tensor,
    linear: torch.Tensor,
    square: torch.Tensor,
    descent: torch.Tensor,
) -> torch.Tensor:
    """Return the step lengths [F, S] that minimise the objective along the directions.

    Newton steps on the derivative, which rises with the length, kept inside a bracket.

    Args:
        logits: [F, S, N] at length 0.
        slope: [F, S, N], their change per unit of length.
        share: [N].
        target: [N], c / n.
        linear: [F, S], derivative of the ridge term at length 0.
        square: [F, S], its second derivative.
        descent: [F, S], derivative of the objective at length 0, negative.
    """
    length = torch.ones_like(descent)
    low, high = torch.zeros_like(length), torch.full_like(length, math.inf)
    for _ in range(_MAX_LINE_STEPS):
        success = (logits + length[..., None] * slope).sigmoid()
        weighted = share * slope
        first = _dot(weighted, success - target) + linear + length * square
        second = _dot(weighted * slope, success * (1 - success)) + square
        if (first.abs() <= 1e-2 * descent.abs()).all():
            break
        low, high = torch.where(first < 0, length, low), torch.where(first > 0, length, high)
        newton = length - first / second.clamp_min(1e-30)
        middle = torch.where(high.isinf(), 2 * length, (low + high) / 2)
        length = torch.where((newton > low) & (newton < high), newton, middle)
    return length


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum(-1)
