"""The optimum of L2-regularised binomial regression, for many feature sets and strengths at once.

Inside the probe bank: ``ProbeBank.training_step`` calls ``minimise``. The objective of one problem,
with standardised features x_i, logits z_i = x_i w + b and the share s_i = n_i / sum(n), is

    f(w, b) = sum_i s_i (log(1 + e^z_i) - (c_i / n_i) z_i) + strength / 2 |w|^2

the binomial negative log-likelihood per response (equal to soft-label cross-entropy weighted by n)
plus a ridge; the intercept b is free. It is convex. All problems are solved together by conjugate
gradients (Polak and Ribiere), preconditioned with the Hessian of the constant model: it is diagonal
in the principal axes of the features, so one rotation serves all strengths, and 10 to 30 steps do
where hidden states, strongly correlated, keep a plain L-BFGS busy for hundreds. What is left then
(weak strengths on separable answers) is finished one by one by Newton's method in float64. Both use
an exact line search that needs no matrix product.
"""

import math
from typing import NamedTuple

import torch

TOLERANCE = 1e-11  # of the decrement, in nats per response
_MAX_STEPS = 100
_MAX_NEWTON_STEPS = 50
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


class _Problems(NamedTuple):
    """F designs times S ridges, all with the same N targets."""

    design: torch.Tensor  # [F, N, R], the last column is 1
    share: torch.Tensor  # [N], sums to 1
    target: torch.Tensor  # [N], c / n
    ridge: torch.Tensor  # [S, R], 0 for the intercept

    def logits(self, point: torch.Tensor) -> torch.Tensor:
        return point @ self.design.mT

    def gradient(self, point: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        residual = self.share * (logits.sigmoid() - self.target)
        return residual @ self.design + self.ridge * point

    def hessian(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the Hessian [R, R] of the only problem."""
        success = logits.sigmoid()
        spread = (self.share * success * (1 - success)).flatten()
        design = self.design[0]
        return (design * spread[:, None]).mT @ design + self.ridge.flatten().diag()


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
    total, correct = int(n.sum()), int(c.sum())
    if correct in (0, total):
        shape = (len(features), len(strengths))
        odds = math.log((correct + 0.5) / (total - correct + 0.5))
        return Optimum(
            weight=features.new_zeros(*shape, features.shape[-1]),
            bias=features.new_full(shape, odds),
            decrement=features.new_zeros(shape),
        )
    share, target = (n / total).to(features.dtype), (c / n).to(features.dtype)
    axes, rotated, moments = _principal_axes(features, share)
    design = torch.nn.functional.pad(rotated, (0, 1), value=1.0)
    ridge = torch.nn.functional.pad(strengths[:, None].expand(-1, rotated.shape[-1]), (0, 1))
    problems = _Problems(design, share, target, ridge)

    rate = correct / total
    curvature = rate * (1 - rate) * torch.nn.functional.pad(moments, (0, 1), value=1.0)
    start = torch.zeros(len(features), *ridge.shape, dtype=design.dtype, device=design.device)
    start[..., -1] = math.log(rate / (1 - rate))
    point, decrement = _conjugate_gradients(problems, start, 1 / (curvature[:, None] + ridge))
    for f, s in (decrement > TOLERANCE).nonzero().tolist():
        one = _Problems(design[f : f + 1], share, target, ridge[s : s + 1])
        point[f, s], decrement[f, s] = _newton(one, point[f, s])
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
    problems: _Problems, point: torch.Tensor, scaling: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the points [F, S, R] that the preconditioned steps reach, and their decrements [F, S].

    A problem that is solved stands still, so that none depends on the others.
    """
    logits = problems.logits(point)
    gradient = problems.gradient(point, logits)
    scaled = scaling * gradient
    decrement = _dot(gradient, scaled)
    direction = -scaled
    for _ in range(_MAX_STEPS):
        active = decrement > TOLERANCE
        if not active.any():
            break
        slope = problems.logits(direction)
        length = _exact_step(problems, point, logits, direction, slope, active)[..., None]
        point = point + length * direction
        logits = logits + length * slope
        last, gradient = gradient, problems.gradient(point, logits)
        scaled = scaling * gradient
        before, decrement = decrement, _dot(gradient, scaled)
        conjugacy = ((decrement - _dot(last, scaled)) / before.clamp_min(1e-30)).clamp_min(0)
        direction = conjugacy[..., None] * direction - scaled
        uphill = _dot(gradient, direction) >= 0
        direction = torch.where(uphill[..., None], -scaled, direction)
    return point, decrement


def _newton(problem: _Problems, point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the minimiser [R] of one problem, from ``point`` [R] on, and its decrement []."""
    problem = _Problems(*(tensor.double() for tensor in problem))
    point = point.double()[None, None]
    for step in range(_MAX_NEWTON_STEPS + 1):
        logits = problem.logits(point)
        gradient = problem.gradient(point, logits)
        factor = torch.linalg.cholesky(problem.hessian(logits))
        direction = -torch.cholesky_solve(gradient.mT, factor).mT
        decrement = -_dot(gradient, direction)
        if decrement <= TOLERANCE or step == _MAX_NEWTON_STEPS:
            break
        slope = problem.logits(direction)
        length = _exact_step(problem, point, logits, direction, slope, decrement > TOLERANCE)
        point = point + length[..., None] * direction
    return point[0, 0], decrement[0, 0]


def _exact_step(
    problems: _Problems,
    point: torch.Tensor,
    logits: torch.Tensor,
    direction: torch.Tensor,
    slope: torch.Tensor,
    active: torch.Tensor,
) -> torch.Tensor:
    """Return the lengths [F, S] that minimise the objective from ``point`` along ``direction``.

    Newton steps on the derivative, which rises with the length, kept inside a bracket.

    Args:
        problems: what is minimised.
        point: [F, S, R].
        logits: [F, S, N] at ``point``.
        direction: [F, S, R], downhill.
        slope: [F, S, N], change of the logits per unit of length.
        active: [F, S]; the others get length 0.
    """
    ridge = problems.ridge * direction
    linear, square = _dot(ridge, point), _dot(ridge, direction)
    weighted = problems.share * slope
    steepest = _dot(weighted, logits.sigmoid() - problems.target) + linear
    length = active.to(steepest.dtype)
    low, high = torch.zeros_like(length), torch.full_like(length, math.inf)
    for _ in range(_MAX_LINE_STEPS):
        success = (logits + length[..., None] * slope).sigmoid()
        first = _dot(weighted, success - problems.target) + linear + length * square
        active = active & (first.abs() > 1e-2 * steepest.abs())
        if not active.any():
            break
        second = _dot(weighted * slope, success * (1 - success)) + square
        low, high = torch.where(first < 0, length, low), torch.where(first > 0, length, high)
        newton = length - first / second.clamp_min(1e-30)
        middle = torch.where(high.isinf(), 2 * length, (low + high) / 2)
        step = torch.where((newton > low) & (newton < high), newton, middle)
        length = torch.where(active, step, length)
    return length


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum(-1)
