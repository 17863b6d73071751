import numpy as np
import pytest
from questions import random_questions
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import roc_auc_score

from benchmark.metrics.rank import pearson, response_auroc, spearman


@pytest.mark.parametrize("seed", range(3))
def test_correlations_equal_scipy(seed):
    confidences, n, c = random_questions(50, seed)
    assert pearson(confidences, n, c) == pytest.approx(pearsonr(confidences, c / n).statistic)
    assert spearman(confidences, n, c) == pytest.approx(spearmanr(confidences, c / n).statistic)


@pytest.mark.parametrize("largest", [12, 3000])
def test_correlations_of_redrawn_counts_are_those_of_each_row(largest):
    rng = np.random.default_rng(0)
    n = rng.integers(1, largest, 60)
    confidences, c = rng.random(60), rng.binomial(n, rng.random((5, 60)))
    weights = rng.integers(0, 3, (4, 1, 60))
    expected = [
        [spearmanr(np.repeat(confidences, w), np.repeat(row / n, w)).statistic for row in c]
        for (w,) in weights
    ]
    np.testing.assert_allclose(spearman(confidences, n, c, weights), expected)


@pytest.mark.parametrize("seed", range(3))
def test_auroc_equals_sklearn_with_a_weighted_positive_and_negative_per_question(seed):
    confidences, n, c = random_questions(50, seed)
    expected = roc_auc_score(
        np.repeat([1, 0], 50),
        np.tile(confidences, 2),
        sample_weight=np.concatenate([c / n, 1 - c / n]),
    )
    assert response_auroc(confidences, n, c) == pytest.approx(expected)


def test_auroc_by_hand():
    assert response_auroc([0.2, 0.8], n=[1, 1], c=[0, 1]) == 1
    assert response_auroc([0.8, 0.2], n=[1, 1], c=[0, 1]) == 0
    # positives 1/2 and 1, negatives 1/2 of the first: half of 1/4 with itself, 1/2 across (won)
    assert response_auroc([0.2, 0.8], n=[2, 1], c=[1, 1]) == pytest.approx(0.625 / 0.75)


def test_auroc_does_not_depend_on_how_many_responses_a_question_has():
    confidences, n, c = random_questions(50)
    more = np.random.default_rng(1).integers(1, 9, 50)
    expected = response_auroc(confidences, n, c)
    assert response_auroc(confidences, n * more, c * more) == pytest.approx(expected)


def test_ties_count_half_whatever_the_order():
    assert response_auroc([0.4] * 4, n=[1] * 4, c=[1, 1, 0, 0]) == 0.5
    assert response_auroc([0.4] * 4, n=[1] * 4, c=[0, 0, 1, 1]) == 0.5
    assert response_auroc([0.4], n=[5], c=[2]) == 0.5


@pytest.mark.parametrize("metric", [pearson, spearman, response_auroc])
def test_weights_of_any_scale_give_the_same(metric):
    questions = random_questions(40)
    weights = np.random.default_rng(4).random(40)
    assert metric(*questions, weights) == pytest.approx(metric(*questions, 1e-3 * weights))


@pytest.mark.parametrize("metric", [pearson, spearman])
@pytest.mark.filterwarnings("error")
def test_correlation_with_a_constant_is_undefined(metric):
    assert np.isnan(metric([0.1] * 7, n=[7] * 7, c=range(7)))
    assert np.isnan(metric(np.arange(7) / 7, n=[10] * 7, c=[1] * 7))
    assert np.isnan(metric([0.3], n=[4], c=[2]))
    # constant among the questions that the weights leave, up to rounding
    weights = np.random.default_rng(0).random((50, 8))
    weights[:, 7] = 0
    assert np.isnan(metric([1 / 3] * 7 + [0.9], [9] * 8, range(8), weights)).all()
    weights[:, 7] = 1
    assert not np.isnan(metric([1 / 3] * 7 + [0.9], [9] * 8, range(8), weights)).any()


def test_correlation_of_nearly_equal_confidences_is_kept():
    confidences = 0.1 + 1e-9 * np.arange(4)
    assert pearson(confidences, n=[3] * 4, c=[0, 1, 2, 3]) == pytest.approx(1)


@pytest.mark.filterwarnings("error")
def test_auroc_with_one_class_is_undefined():
    assert np.isnan(response_auroc([0.1, 0.9], n=[3, 3], c=[3, 3]))
    assert np.isnan(response_auroc([0.1, 0.9], n=[3, 3], c=[0, 0]))
