from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from cells import simulate_cell

from benchmark.applications import (
    Budget,
    Study,
    build_applications,
    greedy_budget_allocation,
    simulate_pass_at_k,
    solved_probability,
    unbiased_pass_at_k,
)
from benchmark.errors import ConfigError, DataError
from benchmark.records import BUDGET
from tests.applications.published import estimate_of, grades_of, published_cell

POLICIES = ["uniform", "greedy", "uniform_stopping", "posterior", "thompson"]


def planted(questions=200, k=12, seed=0):
    """Ids, expected accuracies and grades of simulated questions."""
    rng = np.random.default_rng(seed)
    ids = [f"q{number:04d}" for number in range(questions)]
    p = rng.beta(0.6, 0.9, questions)
    return ids, p, grades_of(ids, rng.random((questions, k)) < p[:, None])


def table_of(estimates, grades, resamples=0, **settings):
    budget = Budget(**{"budgets": [1, 2, 4, 8], "orders": 4} | settings)
    cell = SimpleNamespace(estimates=estimates, grades=grades)
    return budget.evaluate(cell, Study(np.random.default_rng(0), resamples, None))["budget"]


def column(table, policy, name="success", estimator="probe"):
    rows = table.filter(pl.col("policy") == policy, pl.col("estimator") == estimator)
    return rows.sort("budget")[name].to_numpy()


def counts_of(grades):
    correct = grades.group_by("question_id").agg(
        c=(pl.col("outcome") == "correct").sum(), n=pl.len()
    )
    correct = correct.sort("question_id")
    return correct["n"].to_numpy(), correct["c"].to_numpy()


def test_each_policy_has_a_row_for_each_estimator_and_budget():
    ids, p, grades = planted(20)
    estimates = {"probe": estimate_of(ids, p), "random": estimate_of(ids, 1 - p)}
    table = table_of(estimates, grades, resamples=20)
    assert table.schema == BUDGET
    assert table["policy"].unique(maintain_order=True).to_list() == POLICIES
    assert len(table) == len(POLICIES) * 2 * 4
    assert table["success"].is_between(0, 1).all()
    assert (table["answered"] == 20).all()


def test_uniform_and_greedy_are_worth_what_their_allocations_are():
    ids, p, grades = planted()
    n, c = counts_of(grades)
    table = table_of({"probe": estimate_of(ids, p)}, grades, minimum=1)
    for row, budget in enumerate([1, 2, 4, 8]):
        assert column(table, "uniform")[row] == pytest.approx(
            unbiased_pass_at_k(n, c, budget).mean()
        )
        samples = greedy_budget_allocation(p, budget * 200, minimum=1, maximum=12)
        solved = solved_probability(samples, n, c)
        deviation = np.sqrt((solved * (1 - solved)).sum()) / 200
        assert column(table, "greedy")[row] == pytest.approx(solved.mean())
        assert column(table, "greedy", "deviation")[row] == pytest.approx(deviation)
        assert column(table, "greedy", "spent")[row] == pytest.approx(samples.mean())
    assert (
        column(table, "greedy", "gain")[0] == 0
    )  # with one sample each, nothing is left to choose


def test_the_value_of_a_uniform_budget_is_unbiased():
    ids, p, grades = planted(4000)
    table = table_of({"probe": estimate_of(ids, p)}, grades)
    truth = simulate_pass_at_k(p, [1, 2, 4, 8])
    np.testing.assert_allclose(column(table, "uniform"), truth, atol=0.01)


def test_good_confidences_gain_over_uniform_and_bad_ones_lose():
    ids, p, grades = planted(1000)
    estimates = {"probe": estimate_of(ids, p), "inverted": estimate_of(ids, 1 - p)}
    table = table_of(estimates, grades, resamples=200, budgets=[2, 4])
    assert (column(table, "greedy", "gain_low") > 0).all()
    assert (column(table, "greedy", "saved_low") > 0).all()
    assert (column(table, "greedy", "gain_high", "inverted") < 0).all()
    assert (column(table, "greedy", "saved_high", "inverted") < 0).all()
    uniform = table.filter(pl.col("policy") == "uniform")
    assert (uniform["gain"] == 0).all()
    assert (uniform["saved"] == 0).all()


def test_gains_are_paired_by_question():
    ids, p, grades = planted(1000)
    noisy = np.clip(p + np.random.default_rng(1).normal(0, 0.05, 1000), 0, 1)
    table = table_of({"probe": estimate_of(ids, noisy)}, grades, resamples=300)
    gain = column(table, "greedy", "gain_high") - column(table, "greedy", "gain_low")
    success = column(table, "greedy", "success_high") - column(table, "greedy", "success_low")
    assert (gain < success / 2).all()


def test_samples_saved_are_what_uniform_needs_more():
    # n = 4: uniform solves with 0, 1, .. samples on average 0, 5/8, 3/4, 7/8, 1 of the questions
    grades = grades_of(["a", "b"], np.array([[1, 1, 1, 1], [0, 1, 0, 0]]))
    table = table_of({"probe": estimate_of(["a", "b"], [1.0, 0.25])}, grades, budgets=[1, 2])
    assert column(table, "uniform") == pytest.approx([5 / 8, 3 / 4])
    # two samples: one each, worth (1 + 1/4) / 2; four: one and three, worth (1 + 3/4) / 2
    assert column(table, "greedy") == pytest.approx([5 / 8, 7 / 8])
    assert column(table, "greedy", "saved") == pytest.approx([0, 1])


def test_between_whole_numbers_uniform_gives_a_part_of_the_questions_one_more():
    grades = grades_of(["a", "b", "c"], np.array([[1, 1], [1, 0], [0, 0]]))
    confidences = [0.99, 0.5, 0.0]
    table = table_of({"probe": estimate_of(["a", "b", "c"], confidences)}, grades, budgets=[1])
    # greedy: one, two and no samples solve (1 + 1 + 0) / 3; uniform reaches that with all of two
    assert column(table, "greedy") == pytest.approx([2 / 3])
    assert column(table, "greedy", "saved") == pytest.approx([1])
    half = table_of({"probe": estimate_of(["a", "b", "c"], [0.4, 0.99, 0.0])}, grades, budgets=[1])
    # two, one and none: (1 + 1/2 + 0) / 3, which uniform has with one sample each
    assert column(half, "greedy") == pytest.approx([1 / 2])
    assert column(half, "greedy", "saved") == pytest.approx([0])


def test_stopping_at_the_first_success_leaves_samples_for_the_others():
    ids, p, grades = planted(500)
    table = table_of({"probe": estimate_of(ids, p)}, grades)
    for policy, stopping in (("uniform", "uniform_stopping"), ("greedy", "posterior")):
        assert (column(table, stopping)[1:] > column(table, policy)[1:]).all()
    assert column(table, "uniform_stopping")[0] == pytest.approx(
        column(table, "uniform")[0], abs=0.03
    )
    # with right confidences, the most probable success next is the best a policy can do
    best = column(table, "posterior")
    for policy in POLICIES:
        assert (column(table, policy)[:2] <= best[:2] + 0.01).all()


def test_what_is_spent_ends_where_all_questions_are_solved_or_out_of_responses():
    grades = grades_of(["a", "b"], np.array([[0, 1, 1, 1], [0, 0, 0, 0]]))
    estimate = estimate_of(["a", "b"], [0.5, 0.5])
    table = table_of({"probe": estimate}, grades, budgets=[1, 4], orders=1)
    for policy in POLICIES[2:]:  # the order of sampling: two samples of a, all four of b
        assert column(table, policy, "spent").tolist() == [1, 3]
        assert column(table, policy)[-1] == 0.5
        assert np.isnan(column(table, policy, "deviation")).all()


def test_the_minimum_holds_for_policies_that_stop_as_well():
    grades = grades_of(["a", "b"], np.array([[0, 0, 1], [1, 1, 1]]))
    estimate = estimate_of(["a", "b"], [0.9, 0.1])
    without = table_of({"probe": estimate}, grades, budgets=[1], orders=1, prior_strength=1e9)
    with_one = table_of(
        {"probe": estimate}, grades, budgets=[1], orders=1, prior_strength=1e9, minimum=1
    )
    assert column(without, "posterior").tolist() == [0]  # both samples for a
    assert column(with_one, "posterior").tolist() == [0.5]


def test_draws_of_a_random_estimator_are_averaged():
    ids, p, grades = planted(30)
    draws = np.stack([p, 1 - p])
    table = table_of({"probe": estimate_of(ids, draws)}, grades)
    single = [column(table_of({"probe": estimate_of(ids, d)}, grades), "greedy") for d in draws]
    np.testing.assert_allclose(column(table, "greedy"), np.mean(single, axis=0))
    between = np.var(single, axis=0)
    assert (column(table, "greedy", "deviation") ** 2 > between).all()


def test_missing_draws_of_a_question_are_replaced_by_its_others():
    ids, p, grades = planted(30)
    draws = np.stack([p, p, 1 - p])
    draws[1, ::2] = np.nan
    filled = draws.copy()
    filled[1, ::2], filled[2, ::2] = draws[2, ::2], draws[0, ::2]
    ours = table_of({"probe": estimate_of(ids, draws)}, grades)
    assert ours.equals(table_of({"probe": estimate_of(ids, filled)}, grades), null_equal=True)


def test_only_answered_questions_are_sampled_and_compared():
    ids, p, grades = planted(40)
    partial = np.where(np.arange(40) < 25, p, np.nan)
    table = table_of({"probe": estimate_of(ids, partial)}, grades)
    first = grades.filter(pl.col("question_id") < ids[25])
    alone = table_of({"probe": estimate_of(ids[:25], p[:25])}, first)
    assert (table["answered"] == 25).all()
    for policy in ("uniform", "greedy"):
        assert column(table, policy).tolist() == column(alone, policy).tolist()


@pytest.mark.filterwarnings("error")
def test_an_estimator_without_an_answer_has_undefined_rows():
    ids, _, grades = planted(5)
    table = table_of({"silent": estimate_of(ids, np.full(5, np.nan))}, grades, resamples=5)
    assert (table["answered"] == 0).all()
    assert table["success"].is_nan().all()
    assert table["saved"].is_nan().all()


def test_responses_that_made_the_confidence_are_left_out():
    grades = grades_of(["a", "b"], np.array([[1, 1, 0, 0, 1], [0, 0, 1, 1, 1]]))
    estimate = estimate_of(["a", "b"], [1.0, 0.1], samples_used=2)
    table = table_of({"probe": estimate}, grades, budgets=[1, 3, 4, 5], orders=1)
    assert table["budget"].unique().sort().to_list() == [1, 3]  # three responses are left
    assert column(table, "uniform") == pytest.approx([(1 / 3 + 1) / 2, 1])
    assert column(table, "uniform_stopping").tolist() == [0.5, 1]


def test_a_seed_gives_the_same_table():
    ids, p, grades = planted(30)
    tables = [table_of({"probe": estimate_of(ids, p)}, grades, resamples=10) for _ in "12"]
    assert tables[0].equals(tables[1])


def test_the_application_makes_the_table_from_its_entry():
    cell = simulate_cell(12, 12)
    (application,) = build_applications(
        {"budget": {"_target_": "benchmark.applications.budget.budget.Budget", "budgets": [2, 1]}}
    ).values()
    tables = application.evaluate(cell, Study(np.random.default_rng(0), 10, None))
    assert set(tables) == {"budget"}
    assert set(tables["budget"]["estimator"]) == set(cell.estimates)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"budgets": []}, r"budgets=\[\]"),
        ({"budgets": [0, 1]}, r"budgets=\[0, 1\]"),
        ({"minimum": 2}, "minimum=2"),
        ({"minimum": -1}, "minimum=-1"),
        ({"clip": 0.0}, "clip=0"),
        ({"clip": 0.5}, "clip=0.5"),
        ({"prior_strength": 0.0}, "prior_strength=0"),
        ({"prior_strength": np.inf}, "prior_strength=inf"),
        ({"orders": 0}, "orders=0"),
        ({"orders": 10**11}, "orders=100000000000.*from 1 to 100,000"),
    ],
)
def test_settings_without_meaning_are_refused_and_named(settings, named):
    with pytest.raises(ConfigError, match=named):
        Budget(**{"budgets": [1, 2]} | settings)


def test_tables_that_break_their_contract_are_refused_and_named():
    ids, p, grades = planted(5)
    good = estimate_of(ids, p)
    for broken, named in (
        (replace(good, confidences=good.confidences.drop("status")), "column 'status' is missing"),
        (replace(good, confidences=pl.concat([good.confidences] * 2)), "'q0000' has draw 0 twice"),
        (estimate_of(ids, p + 1), "confidences of 'probe'"),
    ):
        with pytest.raises(DataError, match=named):
            table_of({"probe": broken}, grades)
    with pytest.raises(DataError, match="each response is graded once"):
        table_of({"probe": good}, pl.concat([grades, grades]))
    with pytest.raises(DataError, match="column 'outcome' is missing"):
        table_of({"probe": good}, grades.drop("outcome"))


@pytest.fixture(scope="module")
def paper():
    estimates, grades = published_cell()
    return table_of(estimates, grades, resamples=200, budgets=[1, 2, 4, 8, 16, 32, 64])


def test_budgets_of_the_published_cell_are_exact(paper):
    uniform = column(paper, "uniform", estimator="probe_math")
    # the mean expected accuracy at one sample, where the paper's one seed for all gave 0.9524
    assert uniform.round(4).tolist() == [0.9319, 0.9593, 0.9731, 0.9815, 0.9867, 0.9904, 0.9929]
    oracle = column(paper, "greedy", estimator="oracle_cc")
    assert oracle.round(4).tolist() == [0.9370, 0.9865, 0.9940, 0.9940, 0.9940, 0.9940, 0.9940]
    probe = column(paper, "greedy", estimator="probe_math")
    assert probe.round(4).tolist() == [0.9320, 0.9665, 0.9799, 0.9864, 0.9901, 0.9924, 0.9940]


def test_the_probes_gain_in_the_published_cell_is_no_chance(paper):
    assert (column(paper, "greedy", "gain_low", "probe_math")[1:] > 0).all()
    assert column(paper, "greedy", "saved", "probe_math")[3] == pytest.approx(7.1, abs=0.05)
