"""The optima of ridge regressions on c / n, in closed form, for many features and strengths."""

import math

import torch

from benchmark.probes.solver import Optimum


@torch.no_grad()
def ridge(
    features: torch.Tensor, n: torch.Tensor, c: torch.Tensor, strengths: torch.Tensor
) -> Optimum:
    """Return the minimum of the squared error for every feature set and strength.

    ``sum_i s_i (x_i w + b - c_i / n_i)^2 / 2 + strength / 2 |w|^2`` with the share
    s_i = n_i / sum(n); the arguments are those of ``minimise``. All is in float64, and a decrement
    infinite where a strength is too weak for the moments to be factored even so.
    """
    rows, span = features.double(), None
    if features.shape[1] < features.shape[2]:  # the weights lie in the span of the rows
        span, triangle = torch.linalg.qr(rows.mT)
        rows = triangle.mT
    share, target = n.double() / n.sum(), c.double() / n
    mean, level = share @ rows, share @ target
    centred = (rows - mean[:, None]) * share.sqrt()[:, None]
    slope = (((target - level) * share.sqrt()) @ centred)[..., None]
    moments = centred.mT @ centred
    weights, decrements = [], []
    for strength in strengths.double():
        hessian = moments.diagonal_scatter(moments.diagonal(dim1=1, dim2=2) + strength, 0, 1, 2)
        factor, failed = torch.linalg.cholesky_ex(hessian)
        weight = torch.cholesky_solve(slope, factor)
        weight += torch.cholesky_solve(slope - hessian @ weight, factor)
        gradient = slope - hessian @ weight
        decrement = (gradient * torch.cholesky_solve(gradient, factor)).sum(dim=(1, 2))
        weights.append(weight.squeeze(-1))
        decrements.append(torch.where(failed == 0, decrement, math.inf))
    weight = torch.stack(weights, dim=1)
    bias = level - (weight * mean[:, None]).sum(-1)
    if span is not None:
        weight = weight @ span.mT
    decrement = torch.stack(decrements, dim=1)
    return Optimum(*(found.to(features.dtype) for found in (weight, bias, decrement)))
