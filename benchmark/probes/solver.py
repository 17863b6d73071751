"""The optima of logistic regressions, for many feature sets and strengths at once.

The objective of one problem, with standardised features x_i, logits z_i = x_i w + b and the share
s_i = n_i / sum(n), is

    f(w, b) = sum_i s_i (log(1 + e^z_i) - (c_i / n_i) z_i) + strength / 2 |w|^2

the binomial negative log-likelihood per response (equal to soft-label cross-entropy weighted by n)
plus a ridge; the intercept b is free. It is convex.

All problems are solved together by L-BFGS. Its first guess of the inverse Hessian is that of the
constant model, whose leading principal axes come from a random sketch of the features (Frangella,
Tropp and Udell, arXiv 2110.02820): one sketch serves all strengths, and 10 to 30 steps do where
hidden states, strongly correlated, keep a plain L-BFGS busy for hundreds. What is left then (weak
strengths on separable answers) is finished one by one by Newton's method in float64. Both use an
exact line search that needs no matrix product.
"""

import math
from collections import deque
from typing import NamedTuple

import torch

TOLERANCE = 1e-11  # largest decrement of a solved problem, in nats per response
_MAX_STEPS = 300
_MAX_NEWTON_STEPS = 50
_MAX_LINE_STEPS = 20
_MEMORY = 4  # number of steps that L-BFGS remembers
_RANK = 1024  # number of axes along which the first guess is good
_ROUNDING = 1e-6  # of float32, relative to the largest moment


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
    """F designs times S ridges, all with the same targets of N questions."""

    design: torch.Tensor  # [F, N, R + 1]; the last column is 1
    share: torch.Tensor  # [N], sums to 1
    target: torch.Tensor  # [N], in [0, 1]
    ridge: torch.Tensor  # [S, R + 1], 0 for the intercept

    def logits(self, point: torch.Tensor) -> torch.Tensor:
        return point @ self.design.mT

    def gradient(self, point: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        residual = self.share * (logits.sigmoid() - self.target)
        return residual @ self.design + self.ridge * point

    def hessian(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the Hessian [R + 1, R + 1] of the only problem."""
        success = logits.sigmoid()
        spread = (self.share * success * (1 - success)).flatten()
        design = self.design[0]
        return (design * spread[:, None]).mT @ design + self.ridge.flatten().diag()


class _Curvature(NamedTuple):
    """The Hessian of the constant model: exact along some axes, a constant across them."""

    axes: torch.Tensor  # [F, R, A], orthonormal
    along: torch.Tensor  # [F, 1, A], curvature of the likelihood
    across: torch.Tensor  # [F, 1, 1]
    ridge: torch.Tensor  # [S, 1], positive
    intercept: torch.Tensor  # [], curvature of the last coordinate

    def divide(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the inverse Hessian times ``gradient`` [F, S, R + 1]."""
        slopes = gradient[..., :-1]
        across = 1 / (self.across + self.ridge)
        along = 1 / (self.along + self.ridge) - across
        scaled = across * slopes + (along * (slopes @ self.axes)) @ self.axes.mT
        return torch.cat([scaled, gradient[..., -1:] / self.intercept], dim=-1)


@torch.no_grad()
def minimise(
    features: torch.Tensor, n: torch.Tensor, c: torch.Tensor, strengths: torch.Tensor
) -> Optimum:
    """Return the logistic optimum of every feature set and strength.

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
        odds = math.log((correct + 0.5) / (total - correct + 0.5))
        return _constant(features, len(strengths), odds)
    share, dtype = n / total, features.dtype
    span = None
    rows = features
    if features.shape[1] < features.shape[2]:  # the weights lie in the span of the rows
        span, triangle = torch.linalg.qr(features.mT)
        rows = triangle.mT
    axes, moments, rest = _principal_axes(rows, share.to(dtype))
    ridge = strengths[:, None].to(dtype)
    rate = correct / total
    bend = rate * (1 - rate)
    design = torch.nn.functional.pad(rows, (0, 1), value=1.0)
    ridges = torch.nn.functional.pad(ridge.expand(-1, rows.shape[-1]), (0, 1))
    problems = _Problems(design, share.to(dtype), (c / n).to(dtype), ridges)
    start = rows.new_zeros(len(features), *ridges.shape)
    start[..., -1] = math.log(rate / (1 - rate))
    curvature = _Curvature(axes, bend * moments, bend * rest, ridge, rows.new_tensor(bend))
    point, decrement = _lbfgs(problems, start, curvature)
    for f, s in (decrement > TOLERANCE).nonzero().tolist():
        one = problems._replace(design=problems.design[f : f + 1], ridge=ridges[s : s + 1])
        point[f, s], decrement[f, s] = _newton(one, point[f, s])
    weight, bias = point[..., :-1], point[..., -1]
    return Optimum(weight if span is None else weight @ span.mT, bias, decrement)


def _constant(features: torch.Tensor, strengths: int, logit: float) -> Optimum:
    shape = (len(features), strengths)
    return Optimum(
        weight=features.new_zeros(*shape, features.shape[-1]),
        bias=features.new_full(shape, logit),
        decrement=features.new_zeros(shape),
    )


def _principal_axes(
    rows: torch.Tensor, share: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return axes [F, R, A], the second moments along them [F, 1, A] and across [F, 1, 1].

    A = min(R, 1024). The axes are orthonormal; that they are principal only matters for speed, so
    that a random sketch does where there are many: two passes over the rows. The moment across is
    kept above rounding, which dividing by it would magnify.
    """
    width = rows.shape[-1]
    weighted = rows * share[:, None]
    if width <= _RANK:
        moments, axes = torch.linalg.eigh(weighted.mT @ rows)
        moments = moments.clamp_min(0)[:, None]
        return axes, moments, _ROUNDING * moments.amax(-1, keepdim=True)
    generator = torch.Generator().manual_seed(0)  # the same every time: results don't wander
    sketch = torch.randn(rows.shape[1], _RANK, generator=generator).to(rows)
    axes = torch.linalg.qr(weighted.mT @ sketch).Q
    along = rows @ axes
    moments, turn = torch.linalg.eigh((along * share[:, None]).mT @ along)
    rest = (weighted * rows).sum(dim=(1, 2)) - moments.sum(-1)
    moments = moments.clamp_min(0)[:, None]
    least = _ROUNDING * moments.amax(-1, keepdim=True)
    return axes @ turn, moments, (rest / (width - _RANK))[:, None, None].maximum(least)


def _lbfgs(
    problems: _Problems, point: torch.Tensor, curvature: _Curvature
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the points [F, S, R] that L-BFGS reaches, and their decrements [F, S].

    A problem that is solved stands still, so that none depends on the others.
    """
    logits = problems.logits(point)
    gradient = problems.gradient(point, logits)
    steps: deque[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = deque(maxlen=_MEMORY)
    for step in range(_MAX_STEPS + 1):
        scaled = curvature.divide(gradient)
        decrement = _dot(gradient, scaled)
        active = decrement > TOLERANCE
        if step == _MAX_STEPS or not active.any():
            break
        direction = -_inverse_hessian(gradient, steps, curvature)
        uphill = _dot(gradient, direction) >= 0
        direction = torch.where(uphill[..., None], -scaled, direction)
        slope = problems.logits(direction)
        length = _exact_step(problems, point, logits, direction, slope, active)[..., None]
        moved, last = length * direction, gradient
        point = point + moved
        logits = logits + length * slope
        gradient = problems.gradient(point, logits)
        bent = _dot(moved, gradient - last)
        inverse = torch.where(bent > 0, 1 / bent, 0)  # a step that tells nothing is skipped
        steps.append((moved, gradient - last, inverse[..., None]))
    return point, decrement


def _inverse_hessian(
    gradient: torch.Tensor,
    steps: deque[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    curvature: _Curvature,
) -> torch.Tensor:
    """Return L-BFGS's inverse Hessian times the gradient (Nocedal and Wright, algorithm 7.4)."""
    shares = []
    for moved, change, inverse in reversed(steps):
        share = inverse * _dot(moved, gradient)[..., None]
        gradient = gradient - share * change
        shares.append(share)
    result = curvature.divide(gradient)
    for (moved, change, inverse), share in zip(steps, reversed(shares), strict=True):
        result = result + moved * (share - inverse * _dot(change, result)[..., None])
    return result


def _newton(problem: _Problems, point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the minimiser [R] of one problem, from ``point`` [R] on, and its decrement []."""
    problem = problem._replace(
        design=problem.design.double(),
        share=problem.share.double(),
        target=problem.target.double(),
        ridge=problem.ridge.double(),
    )
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
