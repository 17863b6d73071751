"""Baselines against hand-computed means, scipy and scikit-learn, on a planted cell."""

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from planted_cell import planted_cell
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from benchmark.errors import ConfigError
from benchmark.estimators.baselines import TFIDF, FamilyMean, QuestionLength, Random, TrainMean
from benchmark.records import CONFIDENCE, QUESTION


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """Return a cell whose n differs between questions."""
    folder = tmp_path_factory.mktemp("planted")
    return planted_cell(folder, lambda p: p, "capability.truncated=left_out")


def counted(cell, role):
    split = cell.split(role)
    return split.capability.join(split.questions, on="question_id")


def confidences(cell, estimator, role="evaluation"):
    table = estimator.estimate(cell, role).confidences
    assert table.schema == CONFIDENCE
    assert table["question_id"].unique().sort().equals(cell.questions[role]["question_id"])
    return table["confidence"].to_numpy()


@pytest.mark.parametrize(
    "estimator", [TrainMean(), FamilyMean(), QuestionLength(), TFIDF(strengths=[1.0]), Random()]
)
@pytest.mark.parametrize("role", ["evaluation", "train", "validation"])
def test_every_question_of_any_split_is_answered_for_nothing(cell, estimator, role):
    table = estimator.estimate(cell, role).confidences
    assert table["question_id"].n_unique() == cell.questions[role].height
    assert table["confidence"].is_between(0, 1).all()
    assert set(table["status"]) == {"ok"}
    assert table["prompt_tokens"].sum() + table["completion_tokens"].sum() == 0


def test_random_draws_are_uniform_and_differ_between_splits(cell):
    draws = confidences(cell, Random(draws=200))
    assert draws.mean() == pytest.approx(0.5, abs=0.01)
    assert draws.var() == pytest.approx(1 / 12, abs=0.01)
    assert not np.array_equal(draws, confidences(cell, Random(draws=200), "validation"))
    assert np.array_equal(draws, confidences(cell, Random(draws=200)))


def test_the_train_mean_counts_each_training_question_once(cell):
    train = counted(cell, "train")
    mean = np.mean([row["c"] / row["n"] for row in train.iter_rows(named=True)])
    assert abs(mean - train["c"].sum() / train["n"].sum()) > 0.01  # the share of responses
    assert confidences(cell, TrainMean()) == pytest.approx(np.full(60, mean))


def test_the_family_mean_counts_each_training_question_of_the_family_once(cell):
    accuracies = defaultdict(list)
    for row in counted(cell, "train").iter_rows(named=True):
        accuracies[row["metadata"][0]["value"]].append(row["c"] / row["n"])
    asked = [m[0]["value"] for m in cell.questions["evaluation"]["metadata"].to_list()]
    expected = [np.mean(accuracies[family]) for family in asked]
    assert confidences(cell, FamilyMean()) == pytest.approx(expected)


def test_a_family_without_training_questions_gets_the_mean_over_all():
    def questions(**families):
        named = [[{"key": "family", "value": f}] if f else [] for f in families.values()]
        return pl.DataFrame(
            {"question_id": [*families], "metadata": named}, schema_overrides=QUESTION
        )

    train = SimpleNamespace(
        questions=questions(a="sums", b="sums", c="roots", d=None),
        capability=pl.DataFrame({"question_id": [*"abcd"], "n": [4, 2, 4, 8], "c": [4, 1, 1, 0]}),
    )
    cell = SimpleNamespace(
        questions={"evaluation": questions(e="sums", f="roots", g="primes", h=None)},
        split=lambda _: train,
    )
    means = FamilyMean().estimate(cell).confidences["confidence"].to_list()
    assert means == pytest.approx([(1 + 0.5) / 2, 0.25, (1 + 0.5 + 0.25 + 0) / 4, 0])


def test_question_length_is_a_logistic_regression_of_responses_on_the_log_length(cell):
    train = counted(cell, "train")
    x = np.log([len(text) for text in train["question"]])
    right, wrong = train["c"].to_numpy(), (train["n"] - train["c"]).to_numpy()
    model = LogisticRegression(C=1e9, tol=1e-10).fit(
        np.tile(x, 2)[:, None], np.repeat([1, 0], len(x)), np.concatenate([right, wrong])
    )
    asked = np.log([len(text) for text in cell.questions["evaluation"]["question"]])
    expected = expit(model.coef_[0, 0] * asked + model.intercept_[0])
    assert confidences(cell, QuestionLength()) == pytest.approx(expected, abs=2e-3)
    assert model.coef_[0, 0] < -1  # planted: long questions are hard


def ridge(cell, strength):
    """Return predictions for the validation and the evaluation questions, by the closed form."""
    train, held_out = counted(cell, "train"), counted(cell, "validation")
    words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]")
    x = words.fit_transform(train["question"]).toarray()
    y, weight = (train["c"] / train["n"]).to_numpy(), (train["n"] / train["n"].mean()).to_numpy()
    mean_x, mean_y = np.average(x, axis=0, weights=weight), np.average(y, weights=weight)
    centred = (x - mean_x) * weight[:, None]
    penalty = strength * np.eye(x.shape[1])
    slope = np.linalg.solve(centred.T @ (x - mean_x) + penalty, centred.T @ (y - mean_y))
    asked = (held_out["question"], cell.questions["evaluation"]["question"])
    return [((words.transform(t).toarray() - mean_x) @ slope + mean_y).clip(0, 1) for t in asked]


def test_tfidf_is_the_ridge_with_the_lowest_validation_brier_score(cell):
    strengths = [0.01, 0.3, 1.0, 100.0]
    held_out = counted(cell, "validation")
    accuracy = (held_out["c"] / held_out["n"]).to_numpy()
    losses = [np.mean((ridge(cell, s)[0] - accuracy) ** 2) for s in strengths]
    best = strengths[int(np.argmin(losses))]
    assert best not in (strengths[0], strengths[-1])
    assert counted(cell, "train")["n"].n_unique() > 3
    expected = ridge(cell, best)[1]
    assert confidences(cell, TFIDF(strengths=strengths)) == pytest.approx(expected, abs=3e-4)


def test_tfidf_knows_more_than_the_mean(cell):
    target = counted(cell, "evaluation").select(pl.col("c") / pl.col("n")).to_series().to_numpy()
    losses = [
        np.mean((confidences(cell, estimator) - target) ** 2)
        for estimator in (TFIDF(strengths=[0.3, 1.0, 3.0]), TrainMean())
    ]
    assert losses[0] < 0.9 * losses[1]


def test_tfidf_compares_strengths_by_what_they_say_in_the_end():
    # weak goes beyond 1 where 1 is right and is clipped to it; strong stays short of 1 by less
    def split(**accuracies):
        ids = [*accuracies]
        return SimpleNamespace(
            questions=pl.DataFrame(
                {"question_id": ids, "question": [i.replace("_", " ") for i in ids]}
            ),
            capability=pl.DataFrame(
                {"question_id": ids, "n": 2, "c": [int(2 * a) for a in accuracies.values()]}
            ),
        )

    splits = {"train": split(sum_sum_even=1, sum_sum_odd=0.5), "validation": split(even=1)}
    cell = SimpleNamespace(split=splits.get, questions={"evaluation": split(odd=0.5).questions})
    weak, strong = (
        TFIDF(strengths=[s]).estimate(cell).confidences["confidence"][0] for s in (0.01, 0.3)
    )
    chosen = TFIDF(strengths=[0.3, 0.01]).estimate(cell).confidences["confidence"][0]
    assert weak < strong - 0.05
    assert chosen == weak


@pytest.mark.parametrize("strengths", [[], [0.0], [float("inf")], [float("nan")]])
def test_strengths_that_no_ridge_has_are_refused(strengths):
    with pytest.raises(ConfigError, match="strengths"):
        TFIDF(strengths=strengths)
