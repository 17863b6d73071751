"""Recalibration: its curve against scikit-learn, what it is fitted on, what it leaves alone."""

from dataclasses import dataclass, field
from io import StringIO
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from cells import confidence_table
from planted_cell import planted_cell, printed
from rich.console import Console
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from benchmark.config.schema import SamplingConfig
from benchmark.errors import ConfigError
from benchmark.estimators import build_estimators
from benchmark.estimators.baselines import TrainMean
from benchmark.estimators.estimator import Estimator
from benchmark.estimators.isotonic import fit_isotonic
from benchmark.estimators.recalibrated import Recalibrated
from benchmark.records import GRADE, Estimate
from tests.config.test_conf import composed

IDS = [f"q{i}" for i in range(6)]


@dataclass
class Stated(Estimator):
    """An estimator that says the same of every split."""

    estimates: dict[str, Estimate]
    roles: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    def estimate(self, _cell, role="evaluation"):
        self.asked.append(role)
        return self.estimates[role]


def graded(correct):
    """Return a split with ``correct[question][sample]`` as its outcomes."""
    rows = [
        (key, index, None, "correct" if right else "incorrect", None, "exact")
        for key, samples in zip(IDS, correct, strict=True)
        for index, right in enumerate(samples)
    ]
    return SimpleNamespace(grades=pl.DataFrame(rows, schema=GRADE, orient="row"))


def cell_of(correct):
    split, console = graded(correct), Console(file=StringIO(), width=200)
    return SimpleNamespace(split=lambda _: split, console=console)


CORRECT = [[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1], [0, 1, 1, 1]]
ACCURACY = np.mean(CORRECT, axis=1)
TRAIN = np.array([0.9, 0.1, 0.5, 0.6, 0.95, 0.8])
ASKED = np.array([0.0, 0.55, np.nan, 1.0, 0.85, 0.7])


def recalibrated(method="isotonic", train=TRAIN, correct=CORRECT, **train_settings):
    base = Stated({
        "train": Estimate(confidence_table(IDS, train, 40, 7), **train_settings),
        "evaluation": Estimate(confidence_table(IDS, ASKED, 40, 7), **train_settings),
    })  # fmt: skip
    return Recalibrated(method=method, base=base), cell_of(correct)


def test_isotonic_is_scikit_learns_on_the_training_split() -> None:
    estimator, cell = recalibrated()
    table = estimator.estimate(cell).confidences
    model = IsotonicRegression(out_of_bounds="clip").fit(TRAIN, ACCURACY, sample_weight=[4] * 6)
    ok = ~np.isnan(ASKED)
    assert table["confidence"].drop_nulls().to_list() == pytest.approx(model.predict(ASKED[ok]))
    assert estimator.base.asked == ["train", "evaluation"]


def test_platt_is_a_logistic_regression_of_single_responses_on_the_logit() -> None:
    wide = np.tile(CORRECT, (1, 100))
    estimator, cell = recalibrated("platt", correct=wide.tolist())
    table = estimator.estimate(cell).confidences
    x = np.repeat(logit(TRAIN), wide.shape[1])[:, None]
    model = LogisticRegression(C=1e9, tol=1e-10).fit(x, wide.ravel())
    at = logit(ASKED[~np.isnan(ASKED)].clip(0.001, 0.999))[:, None]
    expected = model.predict_proba(at)[:, 1]
    assert table["confidence"].drop_nulls().to_list() == pytest.approx(expected, abs=2e-3)


def test_unanswered_stays_unanswered_and_the_cost_is_the_bases() -> None:
    estimator, cell = recalibrated(samples_used=1)
    estimate = estimator.estimate(cell)
    before = estimator.base.estimates["evaluation"].confidences
    kept = ["question_id", "sample_index", "status", "prompt_tokens", "completion_tokens"]
    assert estimate.confidences.select(kept).equals(before.select(kept))
    assert estimate.confidences["confidence"].is_null().to_list() == np.isnan(ASKED).tolist()
    assert estimate.samples_used == 1


def test_responses_that_the_base_read_are_no_part_of_what_it_is_fitted_to() -> None:
    flipped = [[1 - samples[0], *samples[1:]] for samples in CORRECT]
    tables = [
        estimator.estimate(cell).confidences
        for estimator, cell in (
            recalibrated(samples_used=1), recalibrated(correct=flipped, samples_used=1)
        )
    ]  # fmt: skip
    assert tables[0].equals(tables[1])
    estimator, cell = recalibrated(correct=flipped)
    assert not estimator.estimate(cell).confidences.equals(tables[0])


def test_a_questions_draws_share_its_weight() -> None:
    draws = np.stack([TRAIN, np.array([np.nan, 0.2, 0.5, 0.9, np.nan, 0.8])], axis=1)
    estimator, cell = recalibrated(train=draws)
    table = estimator.estimate(cell).confidences
    given = ~np.isnan(draws)
    weights = (4 / given.sum(axis=1, keepdims=True) * given)[given]
    accuracy = np.tile(ACCURACY[:, None], 2)[given]
    curve = fit_isotonic(draws[given], weights, accuracy * weights)
    expected = curve(ASKED[~np.isnan(ASKED)])
    assert table["confidence"].drop_nulls().to_list() == pytest.approx(expected)
    unshared = fit_isotonic(draws[given], np.full(given.sum(), 4.0), accuracy * 4)
    assert unshared(ASKED[~np.isnan(ASKED)]) != pytest.approx(expected)


def test_every_draw_is_recalibrated() -> None:
    estimator, cell = recalibrated()
    draws = np.stack([ASKED, TRAIN], axis=1)
    estimator.base.estimates["evaluation"] = Estimate(confidence_table(IDS, draws))
    mapped = estimator.estimate(cell).confidences
    assert mapped["sample_index"].to_list() == [0, 1] * 6
    model = IsotonicRegression(out_of_bounds="clip").fit(TRAIN, ACCURACY)
    second = mapped.filter(sample_index=1)["confidence"]
    assert second.to_list() == pytest.approx(model.predict(TRAIN))


def test_training_questions_without_a_confidence_are_left_out_and_counted() -> None:
    some = np.where(np.arange(6) < 2, np.nan, TRAIN)
    estimator, cell = recalibrated(train=some)
    values = estimator.estimate(cell).confidences["confidence"].drop_nulls()
    model = IsotonicRegression(out_of_bounds="clip").fit(TRAIN[2:], ACCURACY[2:])
    assert values.to_list() == pytest.approx(model.predict(ASKED[~np.isnan(ASKED)]))
    assert "4 of 6 questions of the train split" in printed(cell)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_without_a_training_confidence_there_is_no_curve_and_no_number(method: str) -> None:
    estimator, cell = recalibrated(method, train=np.full(6, np.nan))
    table = estimator.estimate(cell).confidences
    assert table["confidence"].null_count() == 6
    assert table["status"].to_list() == ["error", "error", "unparsed", "error", "error", "error"]
    assert table.schema == confidence_table(IDS, ASKED).schema
    assert "0 of 6" in printed(cell)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_a_base_that_answers_nothing_is_left_alone(method: str) -> None:
    estimator, cell = recalibrated(method)
    silent = confidence_table(IDS, np.full(6, np.nan))
    estimator.base.estimates["evaluation"] = Estimate(silent)
    assert estimator.estimate(cell).confidences.equals(silent)


def test_a_base_that_uses_the_training_split_is_recalibrated_on_the_validation_split() -> None:
    assert Recalibrated(method="platt", base=Stated({})).roles == ("train",)
    trained = Recalibrated(method="platt", base=TrainMean())
    assert trained.fitted_on == "validation"
    assert set(trained.roles) == {"train", "validation"}
    again = Recalibrated(method="isotonic", base=Recalibrated(method="platt", base=Stated({})))
    assert again.fitted_on == "validation"


def test_a_probe_is_recalibrated_on_the_validation_split_wherever_it_was_trained() -> None:
    entries = composed("estimator=[probe_math,probe_isotonic]").estimator
    elsewhere = {**entries["probe_isotonic"], "base": entries["probe_math"]}
    (estimator,) = build_estimators({"x": elsewhere}, SamplingConfig(12, 8)).values()
    assert estimator.base.roles == ()
    assert estimator.roles == ("validation",)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"beta.*isotonic"):
        Recalibrated(method="beta", base=Stated({}))


def overconfident(p):
    return round(float(expit(0.4 * logit(p) + 1.5)), 2)


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    return planted_cell(tmp_path_factory.mktemp("planted"), overconfident)


def brier(cell, estimate):
    counts = cell.split("evaluation").capability
    both = estimate.confidences.join(counts, on="question_id")
    return both.select(((pl.col("confidence") - pl.col("c") / pl.col("n")) ** 2).mean()).item()


@pytest.mark.parametrize("name", ["verbalized_isotonic", "verbalized_platt", "p_true_isotonic"])
def test_what_an_overconfident_model_says_is_mended_and_nothing_is_asked_twice(cell, name) -> None:
    entries = composed(f"estimator=[{name}]").estimator
    (estimator,) = build_estimators(entries, cell.config.sampling).values()
    raw = brier(cell, estimator.base.estimate(cell))
    assert brier(cell, estimator.estimate(cell)) < 0.6 * raw
    asked = cell.engine.asked.total()
    estimator.estimate(cell)
    assert cell.engine.asked.total() == asked
