"""The optimum against scikit-learn, whose C is 1 / (strength * responses)."""

import math

import numpy as np
import pytest
import torch
from planted import plant
from sklearn.linear_model import LogisticRegression, Ridge

from benchmark.probes import solver
from benchmark.probes.ridge import ridge
from benchmark.probes.solver import TOLERANCE, minimise

STRENGTHS = torch.tensor([1e-4, 3e-3, 0.1, 3.0])


def problem(kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return standardised features [2, N, D] and the counts n and c."""
    width = 90 if kind == "more columns than questions" else 24
    split, rate = plant(60 if width == 90 else 150, layers=2, width=width)
    features = split.features.transpose(0, 1)
    features = (features - features.mean(1, keepdim=True)) / features.std(1, keepdim=True)
    n, c = split.n, split.c
    generator = torch.Generator().manual_seed(1)
    if kind == "very unequal n":
        n = torch.randint(1, 2000, n.shape, generator=generator)
        c = torch.binomial(n.float(), rate, generator=generator).long()
    if kind == "separable":
        c = torch.where(rate > 0.5, n, 0)
    if kind == "one response each":
        n = torch.ones_like(n)
        c = torch.bernoulli(rate, generator=generator).long()
    if kind == "one correct response":
        c = torch.zeros_like(c)
        c[3] = 1
    if kind == "constant and repeated columns":
        features = features.clone()
        features[..., 0] = 0
        features[..., 1] = features[..., 2]
    return features, n, c


KINDS = [
    "counts",
    "more columns than questions",
    "very unequal n",
    "separable",
    "one response each",
    "one correct response",
    "constant and repeated columns",
]


def fit_reference(
    features: torch.Tensor, n: torch.Tensor, c: torch.Tensor, strength: float
) -> np.ndarray:
    """Return the confidences of scikit-learn's optimum: every question once right, once wrong."""
    columns = features.double().numpy()
    model = LogisticRegression(
        C=1 / (strength * n.sum().item()), solver="newton-cholesky", tol=1e-12, max_iter=1000
    )
    weights = torch.cat([c, n - c]).numpy()
    answers = np.repeat([1, 0], len(columns))
    model.fit(np.concatenate([columns, columns]), answers, sample_weight=weights)
    return np.asarray(model.predict_proba(columns)[:, 1])


def objective_gradient(
    features: torch.Tensor, n: torch.Tensor, c: torch.Tensor, found: solver.Optimum
) -> torch.Tensor:
    """Return the gradient's norm [F, S] from automatic differentiation in float64."""
    weight = found.weight.double().requires_grad_()
    bias = found.bias.double().requires_grad_()
    logits = weight @ features.double().mT + bias[..., None]
    target = (c / n).double().expand_as(logits)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, target, weight=n / n.sum(), reduction="sum"
    )
    loss = loss + (STRENGTHS[:, None] / 2 * weight.square()).sum()
    loss.backward()
    return torch.cat([weight.grad, bias.grad[..., None]], -1).norm(dim=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_confidences_equal_those_of_another_library(kind: str) -> None:
    features, n, c = problem(kind)
    found = minimise(features, n, c, STRENGTHS)
    confidence = (found.weight @ features.mT + found.bias[..., None]).sigmoid()
    expected = [[fit_reference(x, n, c, s) for s in STRENGTHS.tolist()] for x in features]
    np.testing.assert_allclose(confidence.numpy(), np.array(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_vanishes_at_the_optimum(kind: str) -> None:
    features, n, c = problem(kind)
    found = minimise(features, n, c, STRENGTHS)
    assert (found.decrement <= TOLERANCE).all()
    assert (objective_gradient(features, n, c, found) < 2e-5).all()


def test_newton_alone_reaches_the_same_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    features, n, c = problem("counts")
    expected = minimise(features, n, c, STRENGTHS)
    monkeypatch.setattr(solver, "_MAX_STEPS", 0)
    found = minimise(features, n, c, STRENGTHS)
    assert (found.decrement <= TOLERANCE).all()
    logits = [o.weight @ features.mT + o.bias[..., None] for o in (expected, found)]
    torch.testing.assert_close(logits[0].sigmoid(), logits[1].sigmoid(), atol=3e-5, rtol=0)


def test_extreme_strengths_are_solved() -> None:
    features, n, c = problem("separable")
    found = minimise(features, n, c, torch.tensor([1e-12, 1e6]))
    assert (found.decrement <= TOLERANCE).all()
    confidence = (found.weight @ features.mT + found.bias[..., None]).sigmoid()
    share = (c.sum() / n.sum()).item()
    assert ((confidence[1, 0] > 0.5) == (c == n)).all()
    torch.testing.assert_close(confidence[:, 1], torch.full_like(confidence[:, 1], share))


def test_a_problem_does_not_depend_on_those_beside_it() -> None:
    features, n, c = problem("one response each")
    together = minimise(features, n, c, STRENGTHS)
    for s in range(len(STRENGTHS)):
        alone = minimise(features[:1], n, c, STRENGTHS[s : s + 1])
        logits = [w @ features[0].mT for w in (together.weight[0, s], alone.weight[0, 0])]
        torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("c", "odds"), [(0, 0.5 / 12.5), (3, 12.5 / 0.5)])
def test_one_class_gives_a_constant_within_half_a_response(c: int, odds: float) -> None:
    found = minimise(torch.randn(1, 4, 2), torch.full((4,), 3), torch.full((4,), c), STRENGTHS)
    assert (found.weight == 0).all()
    torch.testing.assert_close(found.bias, torch.full((1, 4), math.log(odds)))
    assert (found.decrement == 0).all()


def test_a_sketch_of_the_features_leads_to_the_same_optimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, n, c = problem("counts")
    expected = minimise(features, n, c, STRENGTHS)
    monkeypatch.setattr(solver, "_RANK", 4)
    found = minimise(features, n, c, STRENGTHS)
    assert (found.decrement <= TOLERANCE).all()
    logits = [o.weight @ features.mT + o.bias[..., None] for o in (expected, found)]
    torch.testing.assert_close(logits[0].sigmoid(), logits[1].sigmoid(), atol=3e-5, rtol=0)


@pytest.mark.parametrize("kind", ["counts", "more columns than questions", "very unequal n"])
def test_ridge_equals_that_of_another_library(kind: str) -> None:
    features, n, c = problem(kind)
    found = ridge(features, n, c, STRENGTHS)
    share = (n / n.sum()).numpy()
    for f, columns in enumerate(features.double().numpy()):
        for s, strength in enumerate(STRENGTHS.tolist()):
            model = Ridge(alpha=strength, solver="cholesky")
            model.fit(columns, (c / n).numpy(), sample_weight=share)
            outputs = found.weight[f, s] @ features[f].T + found.bias[f, s]
            np.testing.assert_allclose(outputs, model.predict(columns), atol=1e-5)


@pytest.mark.parametrize("size", [60, 400])
def test_ridge_of_strongly_correlated_features_holds_at_any_strength(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(size, 160, generator=generator) / torch.arange(1, 161) ** 2
    features = drawn @ torch.linalg.qr(torch.randn(160, 160, generator=generator))[0]
    features = (features - features.mean(0)) / features.std(0)
    n = torch.full((size,), 20)
    c = torch.binomial(n.float(), (2 * features[:, 0]).sigmoid(), generator=generator).long()
    strengths = torch.tensor([1e-12, 1e-9, 1e-6, 1e-4])
    found = ridge(features[None], n, c, strengths)
    assert (found.decrement <= TOLERANCE).all()
    columns, shares = features.double().numpy(), np.full(size, 1 / size)
    for s, strength in enumerate(strengths.tolist()):
        model = Ridge(alpha=strength, solver="svd").fit(columns, (c / n).numpy(), shares)
        outputs = features @ found.weight[0, s] + found.bias[0, s]
        np.testing.assert_allclose(outputs, model.predict(columns), atol=2e-4)


def test_moments_that_cannot_be_factored_are_not_called_solved() -> None:
    features, n, c = problem("constant and repeated columns")
    found = ridge(features, n, c, torch.tensor([-1e-9, 0.1]))  # as rounding leaves them
    assert found.decrement[:, 0].isinf().all()
    assert (found.decrement[:, 1] <= TOLERANCE).all()
