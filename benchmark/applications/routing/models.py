"""Stage 7: the cells of several models joined on their common questions, with what each costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from omegaconf import MISSING

from benchmark.applications.abstention.abstention import validation_half
from benchmark.applications.routing.cascade import RoutedModel
from benchmark.capability.counts import count_outcomes
from benchmark.errors import DataError
from benchmark.metrics.pairing import pair_estimates
from benchmark.records import CellResult
from benchmark.statistics.inputs import FloatArray

_TOKENS_PER_PRICE = 1e6


@dataclass
class Price:
    """Price of a million tokens of each kind, in any one currency."""

    prompt: float = MISSING
    completion: float = MISSING


class Pool(NamedTuple):
    """M models from the cheapest up on N common questions.

    ``routers`` are the models as each estimator knows them.
    """

    names: list[str]
    questions: list[int]  # [M], number of questions of each cell
    prices: list[Price]  # [M]
    cost: FloatArray  # [M, N], mean cost of a response
    accuracy: FloatArray  # [M, N], expected accuracy of a response
    test: NDArray[np.bool_]  # [N], questions that thresholds are verified on
    routers: dict[str, list[RoutedModel]]

    @property
    def validation(self) -> NDArray[np.bool_]:
        """The questions that thresholds are tuned on, [N]."""
        return ~self.test


def pool_cells(cells: Mapping[str, CellResult], prices: Mapping[str, Price]) -> Pool:
    """Join the cells of at least two models, by name, on their common questions.

    All routers have the same target, which leaves out the responses that made any confidence.

    Raises:
        DataError: the cells have no question or no estimator in common, no token counts, or too few
            questions; or a table breaks its contract.
    """
    common = _common_questions(cells)
    costs = {name: _response_costs(name, cells[name], prices[name], common) for name in cells}
    half = validation_half(common)
    names = sorted(cells, key=lambda name: float(costs[name][half].mean()))
    shared = _shared_estimators([cells[name] for name in names])
    used = max(cells[n].estimates[e].samples_used for n in names[:-1] for e in shared)
    counts = {name: count_outcomes(cells[name].grades, used) for name in names}
    kept = np.ones(len(common), dtype=np.bool_)
    for table in counts.values():
        kept &= common.is_in(table["question_id"].implode()).to_numpy()
    half, common = half[kept], common.filter(kept)
    if half.all() or not half.any():
        raise DataError(
            f"routing: {len(common)} questions with at least {used + 1} responses are common to "
            f"{names}, all of them in one half; thresholds need questions to be tuned and verified "
            f"on: raise dataset.limit."
        )
    accuracy = np.array([_in_order(counts[n], common, pl.col("c") / pl.col("n")) for n in names])
    cost = np.array([costs[name][kept] for name in names])
    routers = {}
    for estimator in shared:
        models = [
            _routed(cells[name], estimator, used, prices[name], common, cost[i], accuracy[i])
            for i, name in enumerate(names[:-1])
        ]
        none = np.full((1, len(common)), np.nan)
        last = RoutedModel(accuracy[-1], cost[-1], none, np.zeros(len(common)))
        routers[estimator] = [*models, last]
    questions = [len(cells[name].questions) for name in names]
    return Pool(
        names, questions, [prices[n] for n in names], cost, accuracy, ~half, routers
    )  # fmt: skip


def _common_questions(cells: Mapping[str, CellResult]) -> pl.Series:
    """Return the ids of the questions that all cells asked with the same prompt, sorted."""
    key = ["question_id", "prompt"]
    common: pl.DataFrame | None = None
    for name, cell in cells.items():
        asked = cell.questions.select(key)
        twice = asked.filter(pl.col("question_id").is_duplicated())
        if len(twice):
            raise DataError(
                f"routing: question '{twice['question_id'][0]}' occurs twice in the cell of {name}."
            )
        common = asked if common is None else common.join(asked, on=key)
    assert common is not None
    if common.is_empty():
        examples = {n: c.questions["question_id"].head(1).to_list() for n, c in cells.items()}
        raise DataError(
            f"routing: no question is common to the cells of {sorted(cells)}, by id and prompt; "
            f"their first ones are {examples}. Run them with the same dataset settings."
        )
    return common["question_id"].sort()


def _shared_estimators(cells: Sequence[CellResult]) -> list[str]:
    """Return the estimators that all cells but the last have."""
    shared = [name for name in cells[0].estimates if all(name in c.estimates for c in cells[:-1])]
    if not shared:
        have = {cell.model: list(cell.estimates) for cell in cells[:-1]}
        raise DataError(
            f"routing: the cells have no estimator in common: {have}. Run them with the same one."
        )
    return shared


def _response_costs(name: str, cell: CellResult, price: Price, ids: pl.Series) -> FloatArray:
    """Return the mean cost of a response to each question, [N]."""
    rows = cell.responses.lazy().group_by("question_id").agg(cost=_price(price).mean()).collect()
    costs = _in_order(rows, ids, pl.col("cost"))
    if np.isnan(costs).any():
        missing = ids[int(np.flatnonzero(np.isnan(costs))[0])]
        raise DataError(
            f"routing: the cell of {name} doesn't say how many tokens its responses to question "
            f"'{missing}' have; without them a query has no cost."
        )
    return costs


def _routed(
    cell: CellResult,
    estimator: str,
    used: int,
    price: Price,
    ids: pl.Series,
    cost: FloatArray,
    accuracy: FloatArray,
) -> RoutedModel:
    """Return one model as an estimator knows it.

    A confidence whose tokens are unknown, since its request failed, costs the mean of the others.

    Raises:
        DataError: there are confidences, but none says what it cost.
    """
    estimate = cell.estimates[estimator]
    grades = cell.grades.filter(pl.col("question_id").is_in(ids.implode()))
    same_target = {estimator: replace(estimate, samples_used=used)}
    ((_, paired),) = pair_estimates(same_target, grades, np.random.default_rng(0), resamples=0)
    rows = estimate.confidences.group_by("question_id").agg(cost=_price(price).mean())
    spent = _in_order(rows, ids, pl.col("cost"))
    known = spent[~np.isnan(spent)]
    if paired.answered and not len(known):
        raise DataError(
            f"routing: the cell of {cell.model} doesn't say how many tokens the confidences of "
            f"'{estimator}' cost."
        )
    never_asked = 0.0  # without a single confidence no threshold but the infinite ones is tried
    spent = np.where(np.isnan(spent), known.mean() if len(known) else never_asked, spent)
    return RoutedModel(accuracy, cost, paired.confidences, spent)


def _price(price: Price) -> pl.Expr:
    """Return what prompt and completion tokens cost."""
    cost = pl.col("prompt_tokens") * price.prompt + pl.col("completion_tokens") * price.completion
    return cost / _TOKENS_PER_PRICE


def _in_order(table: pl.DataFrame, ids: pl.Series, value: pl.Expr) -> FloatArray:
    """Return a value of each question, in the order of the ids, NaN where there is none."""
    rows = ids.to_frame("question_id").join(
        table.select("question_id", value=value),
        on="question_id",
        how="left",
        maintain_order="left",
    )
    return rows["value"].cast(pl.Float64).fill_null(np.nan).to_numpy()
