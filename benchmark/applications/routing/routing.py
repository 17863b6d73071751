"""Stage 7: routing, sending each query to the cheapest model that is confident enough.

The cells of several models on the same questions say what each model's response costs and how often
it is right. Thresholds are tuned on `validation_half` of the questions, and everything that is
reported is measured on the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from omegaconf import MISSING

from benchmark.applications.application import Study
from benchmark.applications.routing.cascade import route, tune_thresholds
from benchmark.applications.routing.frontier import (
    Frontier,
    concave_frontier,
    mean_accuracy,
    oracle_frontier,
)
from benchmark.applications.routing.models import Pool, Price, pool_cells
from benchmark.errors import ConfigError
from benchmark.records import (
    ROUTING,
    ROUTING_AREA,
    ROUTING_MODEL,
    ROUTING_THRESHOLD,
    CellResult,
)
from benchmark.statistics.bootstrap import bootstrap_weights, divide, value_and_interval
from benchmark.statistics.inputs import FloatArray

ALWAYS, MIX, ORACLE = "always", "random mix", "oracle"  # what the routers are compared with
_ORACLE_POINTS = 100  # costs at which the table holds the oracle's curve
_ROUNDING = 1e-12  # difference that rounding may leave between equal areas


@dataclass
class Routing:
    """Evaluates routing between models by every estimator that their cells share.

    A response costs the mean tokens of the model's responses to the question, a confidence the
    tokens that were spent on it. The model whose responses cost the most on the validation
    questions answers what the others don't, and needs no confidence.

    Attributes:
        models: prices by name of the model: of the run's own, and of at least one more, whose
            newest finished cell in the store is read.
    """

    models: dict[str, Price] = MISSING

    def __post_init__(self) -> None:
        """Refuse fewer than two models, and prices that are negative or not finite."""
        if len(self.models) < 2:
            raise ConfigError(
                f"routing: models has {sorted(self.models)}; it must name at least two."
            )
        for name, price in self.models.items():
            for kind, value in vars(price).items():
                if not 0 <= value < np.inf:
                    raise ConfigError(
                        f"routing: models.{name}.{kind}={value:g} is not allowed: it must be a "
                        f"price per million tokens of at least 0."
                    )

    def evaluate(self, result: CellResult, study: Study) -> dict[str, pl.DataFrame]:
        """Return the curves, the areas under them, the thresholds, and what was compared.

        Intervals are bootstrapped over the test questions, the same resamples for all routers, with
        the thresholds held fixed.

        Returns:
            Tables ``routing``, ``routing_areas``, ``routing_thresholds`` and ``routing_models``, of
            schemas ``ROUTING``, ``ROUTING_AREA``, ``ROUTING_THRESHOLD`` and ``ROUTING_MODEL``.

        Raises:
            ConfigError: the run's own model has no price.
            DataError: the cells have no question or no estimator in common, or a table breaks its
                contract.
            StoreError: another model has no finished cell.
        """
        if result.model not in self.models:
            raise ConfigError(
                f"routing: models names {sorted(self.models)} but not the run's model "
                f"'{result.model}'; add its price."
            )
        cells = {
            name: result if name == result.model else study.stored_cell(name)
            for name in self.models
        }
        pool = pool_cells(cells, self.models)
        weights = np.ones((1 + study.resamples, int(pool.test.sum())))
        weights[1:] = bootstrap_weights(weights.shape[1], study.resamples, study.rng)
        return _tables(pool, weights)


class _Curve(NamedTuple):
    """P ways of routing: their cost and accuracy on each question, [P, N]."""

    cost: FloatArray
    accuracy: FloatArray

    def on(self, weights: FloatArray, chosen: NDArray[np.bool_]) -> Frontier:
        """Return the means over the chosen questions under each row of weights, [..., P]."""
        total = weights.sum(axis=-1, keepdims=True)
        return Frontier(
            divide(weights @ self.cost[:, chosen].T, total),
            divide(weights @ self.accuracy[:, chosen].T, total),
        )


def _tables(pool: Pool, weights: FloatArray) -> dict[str, pl.DataFrame]:
    """Return all tables; the weights are of the test questions, [1 + resamples, N]."""
    curves, thresholds = _curves(pool)
    once = np.ones((1, int(pool.validation.sum())))
    rows, tested = [], {}
    for name, curve in curves.items():
        chosen = curve.on(once, pool.validation)
        tested[name] = curve.on(weights, pool.test)
        rows += _curve_rows(name, chosen, tested[name])
    always = tested.pop(ALWAYS)
    oracle = oracle_frontier(pool.cost[:, pool.test], pool.accuracy[:, pool.test], weights)
    areas = _area_rows({**tested, ORACLE: oracle}, always)
    counts = len(pool.test), int(pool.test.sum())
    models = [
        (name, price.prompt, price.completion, questions, *counts)
        for name, price, questions in zip(pool.names, pool.prices, pool.questions, strict=True)
    ]
    return {
        "routing": pl.DataFrame([*rows, *_oracle_rows(oracle)], schema=ROUTING, orient="row"),
        "routing_areas": pl.DataFrame(areas, schema=ROUTING_AREA, orient="row"),
        "routing_thresholds": pl.DataFrame(thresholds, schema=ROUTING_THRESHOLD, orient="row"),
        "routing_models": pl.DataFrame(models, schema=ROUTING_MODEL, orient="row"),
    }


def _curves(
    pool: Pool,
) -> tuple[dict[str, _Curve], list[tuple[str, int, str, float | None, float]]]:
    """Return every way of routing, chosen on the validation questions, and the thresholds."""
    always = _Curve(pool.cost, pool.accuracy)
    means = (values[:, pool.validation].mean(axis=1) for values in always)
    mixed = concave_frontier(*means)
    curves = {ALWAYS: always, MIX: _Curve(pool.cost[mixed], pool.accuracy[mixed])}
    thresholds = []
    for name, models in pool.routers.items():
        tuned = tune_thresholds([model.of(pool.validation) for model in models]).tolist()
        routed = [route(models, limits) for limits in tuned]
        curves[name] = _Curve(
            np.array([r.cost for r in routed]), np.array([r.accuracy for r in routed])
        )
        thresholds += [
            (name, point, model, limit, float(share[pool.test].mean()))
            for point, (limits, r) in enumerate(zip(tuned, routed, strict=True))
            for model, limit, share in zip(pool.names, [*limits, None], r.share, strict=True)
        ]
    return curves, thresholds


def _curve_rows(name: str, chosen: Frontier, tested: Frontier) -> list[tuple[str | float, ...]]:
    return [
        (
            name, point, float(chosen.cost[0, point]), float(chosen.accuracy[0, point]),
            float(tested.cost[0, point]), *value_and_interval(tested.accuracy[:, point]),
        )
        for point in range(chosen.cost.shape[1])
    ]  # fmt: skip


def _oracle_rows(oracle: Frontier) -> list[tuple[str | float | None, ...]]:
    """Return the oracle's curve at evenly spaced costs."""
    costs = np.linspace(oracle.cost[0, 0], oracle.cost[0, -1], _ORACLE_POINTS)
    curves = zip(oracle.cost, oracle.accuracy, strict=True)
    accuracies = np.array([np.interp(costs, *curve) for curve in curves])
    return [
        (ORACLE, point, None, None, float(cost), *value_and_interval(accuracies[:, point]))
        for point, cost in enumerate(costs)
    ]


def _area_rows(curves: Mapping[str, Frontier], always: Frontier) -> list[tuple[str | float, ...]]:
    """Return the area under each curve and its gain over the random mix, with intervals."""
    low, high = always.cost.min(axis=1), always.cost.max(axis=1)
    areas = {
        name: np.array(
            [
                mean_accuracy(Frontier(cost, accuracy), *ends)
                for cost, accuracy, *ends in zip(*curve, low, high, strict=True)
            ]
        )
        for name, curve in curves.items()
    }
    room = areas[ORACLE] - areas[MIX]
    room = np.where(room > _ROUNDING, room, 0.0)
    return [
        (name, *value_and_interval(area), *value_and_interval(divide(area - areas[MIX], room)))
        for name, area in areas.items()
    ]
