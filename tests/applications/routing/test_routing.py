from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from cells import confidence_table

from benchmark.applications import build_applications
from benchmark.applications.routing.models import Price
from benchmark.applications.routing.routing import ALWAYS, MIX, ORACLE, Routing
from benchmark.errors import ConfigError, DataError, StoreError
from benchmark.records import (
    ROUTING,
    ROUTING_AREA,
    ROUTING_MODEL,
    ROUTING_THRESHOLD,
    Estimate,
)
from tests.applications.counted import counted_cell, ids_by_half, no_other_cell, study
from tests.test_main import run, tiny

PRICES = {"small": Price(0, 1e5), "large": Price(0, 3e5)}  # a small response costs 1, a large one 9


def large_cell(ids, c=4, **settings):
    return counted_cell(ids, 4, c, model="large", tokens=(7, 30), **settings)


def small_cell(ids, c, confidences, **settings):
    confidence = Estimate(confidence_table(ids, confidences, completion_tokens=5))  # costs 0.5
    return counted_cell(ids, 4, c, {"probe": confidence}, tokens=(7, 10), **settings)


def evaluated(*cells, prices=PRICES, resamples=20):
    others = {cell.model: cell for cell in cells[1:]}
    return Routing(models=prices).evaluate(
        cells[0], study(resamples, stored_cell=lambda model: others[model])
    )


def points(tables, router):
    return tables["routing"].filter(pl.col("router") == router)["cost", "accuracy"].rows()


@pytest.fixture(scope="module")
def by_hand():
    ids = ids_by_half(3)  # three to tune on, three to test on
    c = [4, 2, 0, 4, 2, 0]
    confidences = [0.9, 0.5, 0.1, 0.8, 0.95, 0.2]
    return evaluated(small_cell(ids, c, confidences), large_cell(ids))


def test_each_table_has_its_schema(by_hand):
    schemas = {
        "routing": ROUTING,
        "routing_areas": ROUTING_AREA,
        "routing_thresholds": ROUTING_THRESHOLD,
        "routing_models": ROUTING_MODEL,
    }
    assert {name: table.schema for name, table in by_hand.items()} == schemas


def test_thresholds_are_tuned_on_one_half_and_tested_on_the_other(by_hand):
    thresholds = by_hand["routing_thresholds"]
    limits = thresholds.filter(pl.col("candidate") == "small")["threshold"].to_list()
    # on the validation half: (1, 0.5), then 0.5 -> (4.17, 0.83), 0.9 -> (6.83, 1), always (9, 1)
    assert limits == [-np.inf, 0.5, 0.9]
    rows = by_hand["routing"].filter(pl.col("router") == "probe").to_dicts()
    assert [r["validation_cost"] for r in rows] == pytest.approx([1, 25 / 6, 41 / 6])
    assert [r["validation_accuracy"] for r in rows] == pytest.approx([0.5, 2.5 / 3, 1])
    # tested, 0.5 answers two of three at 1 and 0.5; 0.9 answers the one that is half right
    assert [r["cost"] for r in rows] == pytest.approx([1, 25 / 6, 41 / 6])
    assert [r["accuracy"] for r in rows] == pytest.approx([0.5, 2.5 / 3, 2.5 / 3])
    assert all(r["low"] <= r["accuracy"] <= r["high"] for r in rows)
    shares = thresholds.filter(pl.col("point") == 1)["candidate", "share"].rows()
    assert shares == [("small", pytest.approx(2 / 3)), ("large", pytest.approx(1 / 3))]


def test_references_are_single_models_their_mix_and_the_oracle(by_hand):
    assert points(by_hand, ALWAYS) == points(by_hand, MIX) == [(1, 0.5), (9, 1)]
    oracle = points(by_hand, ORACLE)
    assert oracle[0] == (1, pytest.approx(0.5))
    assert oracle[-1] == pytest.approx((19 / 3, 1))  # the question that small solves costs 1
    assert np.interp(11 / 3, *zip(*oracle, strict=True)) == pytest.approx(2.5 / 3, abs=1e-3)


def test_the_area_is_the_mean_accuracy_over_cost_and_the_gain_compares_it(by_hand):
    rows = by_hand["routing_areas"].rows_by_key("router", named=True, unique=True)
    probe = (25 / 6 - 1) * (0.5 + 2.5 / 3) / 2 + (9 - 25 / 6) * 2.5 / 3
    oracle = 8 / 3 * (0.5 + 2.5 / 3) / 2 + 8 / 3 * (2.5 / 3 + 1) / 2 + (9 - 19 / 3)
    assert rows[MIX]["area"] == pytest.approx(0.75)
    assert rows["probe"]["area"] == pytest.approx(probe / 8)
    assert rows[ORACLE]["area"] == pytest.approx(oracle / 8)
    gain = (probe / 8 - 0.75) / (oracle / 8 - 0.75)
    assert [rows[r]["gain"] for r in (MIX, "probe", ORACLE)] == pytest.approx([0, gain, 1])


def test_the_dearest_model_needs_no_confidence_whichever_cell_runs(by_hand):
    ids = ids_by_half(3)
    small = small_cell(ids, [4, 2, 0, 4, 2, 0], [0.9, 0.5, 0.1, 0.8, 0.95, 0.2])
    turned = evaluated(large_cell(ids), small)
    assert turned["routing"].equals(by_hand["routing"])
    assert turned["routing_models"]["candidate"].to_list() == ["small", "large"]


def test_questions_are_joined_by_id_and_prompt_and_the_loss_is_said():
    ids = ids_by_half(4)
    c = [4, 0, 4, 0, 4, 0, 4, 0]
    small = small_cell(ids, c, np.array(c) / 4)
    some = large_cell(ids[[1, 0, 2, 5, 4, 6]])  # in another order
    changed = some.questions.with_columns(
        prompt=pl.when(pl.col("question_id") == ids[2])
        .then(pl.lit("What?"))
        .otherwise(pl.col("prompt"))
    )
    tables = evaluated(small, replace(some, questions=changed))
    models = tables["routing_models"]
    assert models["candidate", "questions", "common", "test"].rows() == [
        ("small", 8, 5, 3), ("large", 6, 5, 3),
    ]  # fmt: skip
    assert points(tables, ALWAYS)[0] == (1, pytest.approx(2 / 3))


def test_questions_that_no_cell_shares_are_refused():
    ids = ids_by_half(2)
    small = small_cell(ids, 4, np.ones(4))
    others = large_cell([f"x{i}" for i in ids]), large_cell(ids, prompt="{}?")
    for other in others:
        with pytest.raises(DataError, match="no question is common to the cells"):
            evaluated(small, other)


def test_cells_with_too_few_questions_for_two_halves_are_refused():
    ids = ids_by_half(2)[:2]
    with pytest.raises(DataError, match=r"2 questions .* all of them in one half"):
        evaluated(small_cell(ids, 4, np.ones(2)), large_cell(ids))


def test_a_question_that_occurs_twice_is_refused():
    ids = ids_by_half(2)
    small = small_cell(ids, 4, np.ones(4))
    twice = replace(small, questions=pl.concat([small.questions, small.questions[:1]]))
    with pytest.raises(DataError, match=r"question 'q\d+' occurs twice in the cell of small"):
        evaluated(twice, large_cell(ids))


def test_cells_without_an_estimator_in_common_are_refused():
    ids = ids_by_half(2)
    with pytest.raises(DataError, match=r"no estimator in common: \{'small': \[\]\}"):
        evaluated(counted_cell(ids, 4, 4, tokens=(7, 10)), large_cell(ids))


def test_responses_without_token_counts_are_refused():
    ids = ids_by_half(2)
    small = small_cell(ids, 4, np.ones(4))
    unknown = small.responses.with_columns(completion_tokens=pl.lit(None, pl.Int64))
    for responses in (unknown, unknown.head(0), unknown.lazy()):
        with pytest.raises(DataError, match="the cell of small doesn't say how many tokens"):
            evaluated(replace(small, responses=responses), large_cell(ids))


def test_confidences_without_token_counts_are_refused():
    ids = ids_by_half(2)
    small = small_cell(ids, [4, 0, 4, 0], [0.9, 0.1, 0.9, 0.1])
    table = small.estimates["probe"].confidences
    unknown = table.with_columns(completion_tokens=pl.lit(None, pl.Int64))
    with pytest.raises(DataError, match="how many tokens the confidences of 'probe' cost"):
        evaluated(replace(small, estimates={"probe": Estimate(unknown)}), large_cell(ids))
    some = table.with_columns(
        completion_tokens=pl.when(pl.col("question_id") == ids[0]).then("completion_tokens")
    )
    known = evaluated(replace(small, estimates={"probe": Estimate(some)}), large_cell(ids))
    assert known["routing"].equals(evaluated(small, large_cell(ids))["routing"])


def test_a_confidence_out_of_range_is_refused():
    ids = ids_by_half(2)
    with pytest.raises(DataError, match=r"confidences of 'probe'.* is 1\.5"):
        evaluated(small_cell(ids, 4, [1.5, 0.5, 0.5, 0.5]), large_cell(ids))


def test_all_routers_have_the_target_without_the_responses_of_any_confidence():
    ids = ids_by_half(2)
    small = small_cell(ids, [2, 3, 2, 3], np.ones(4))  # the first responses are the correct ones
    estimates = small.estimates | {"consistency": replace(small.estimates["probe"], samples_used=2)}
    tables = evaluated(replace(small, estimates=estimates), large_cell(ids, c=3))
    assert points(tables, ALWAYS) == [(1, 0.25), (9, 0.5)]


def test_an_unparsed_confidence_goes_on_to_the_next_model_and_still_costs():
    ids = ids_by_half(2)
    confidences = [0.9, np.nan, 0.9, np.nan]
    tables = evaluated(small_cell(ids, [4, 0, 4, 0], confidences), large_cell(ids))
    assert points(tables, "probe") == [(1, 0.5), (pytest.approx((1.5 + 9.5) / 2), 1)]


def test_an_estimator_that_gave_no_confidence_is_the_random_mix():
    ids = ids_by_half(2)
    small = small_cell(ids, [4, 0, 4, 0], np.full(4, np.nan))
    nulls = {name: pl.lit(None, pl.Int64) for name in ("prompt_tokens", "completion_tokens")}
    failed = Estimate(small.estimates["probe"].confidences.with_columns(**nulls))
    tables = evaluated(replace(small, estimates={"probe": failed}), large_cell(ids))
    assert points(tables, "probe") == points(tables, MIX)
    gains = tables["routing_areas"].filter(pl.col("router") == "probe")["gain"]
    assert gains.to_list() == [0]


@pytest.mark.filterwarnings("error")
def test_models_that_cost_nothing_leave_the_area_undefined():
    ids = ids_by_half(2)
    prices = {"small": Price(0, 0), "large": Price(0, 0)}
    tables = evaluated(small_cell(ids, 2, np.ones(4)), large_cell(ids), prices=prices)
    assert tables["routing_areas"]["area", "gain"].to_numpy().tolist() == pytest.approx(
        np.full((3, 2), np.nan), nan_ok=True
    )


def test_three_models_are_a_cascade_in_the_order_of_their_costs():
    rng = np.random.default_rng(0)
    ids = [f"q{i}" for i in range(60)]
    p = np.sort(rng.random((3, 60)), axis=0)
    cells = [
        counted_cell(ids, 50, rng.binomial(50, p[i]), {"probe": p[i]}, name, tokens=(5, 10))
        for i, name in enumerate(["tiny", "small", "large"])
    ]
    prices = {"large": Price(9e5, 9e5), "tiny": Price(1e5, 1e5), "small": Price(3e5, 3e5)}
    tables = evaluated(cells[1], cells[0], cells[2], prices=prices)
    assert tables["routing_models"]["candidate"].to_list() == ["tiny", "small", "large"]
    thresholds = tables["routing_thresholds"]
    assert thresholds.group_by("point").agg(pl.col("share").sum())["share"].to_list() == (
        pytest.approx([1] * thresholds["point"].n_unique())
    )
    gain = dict(tables["routing_areas"]["router", "gain"].iter_rows())
    assert 0.2 < gain["probe"] < 1


def test_a_confidence_that_says_nothing_gains_nothing_in_expectation():
    rng = np.random.default_rng(2)
    ids = [f"q{i}" for i in range(200)]
    gains = []
    for _ in range(20):
        small = counted_cell(ids, 4, rng.binomial(4, rng.random(200)), {"noise": rng.random(200)},
                             tokens=(7, 10))  # fmt: skip
        tables = evaluated(small, large_cell(ids), resamples=0)
        gains += tables["routing_areas"].filter(pl.col("router") == "noise")["gain"].to_list()
    assert np.mean(gains) == pytest.approx(0, abs=4 * np.std(gains) / np.sqrt(20))


def test_a_model_without_a_cell_says_what_the_store_says():
    ids = ids_by_half(2)
    with pytest.raises(StoreError, match="no finished cell of large"):
        Routing(models=PRICES).evaluate(
            small_cell(ids, 4, np.ones(4)), study(stored_cell=no_other_cell)
        )


def test_a_run_whose_model_has_no_price_is_refused():
    ids = ids_by_half(2)
    with pytest.raises(ConfigError, match="not the run's model 'medium'"):
        evaluated(counted_cell(ids, 4, 4, model="medium"), large_cell(ids))


@pytest.mark.parametrize(
    ("models", "named"),
    [
        ({"a": {"prompt": 1, "completion": 1}}, r"\['a'\]; it must name at least two"),
        ({n: {"prompt": -1, "completion": 1} for n in "ab"}, r"models\.a\.prompt=-1"),
        ({n: {"prompt": 1, "completion": float("nan")} for n in "ab"}, r"a\.completion=nan"),
        ({n: {"prompt": 1, "completion": float("inf")} for n in "ab"}, r"a\.completion=inf"),
        ({n: {"prompt": 1} for n in "ab"}, "completion"),
        ({n: {"prompt": 1, "compleiton": 1} for n in "ab"}, "compleiton"),
        ({n: {"prompt": "free", "completion": 1} for n in "ab"}, "free"),
    ],
)
def test_bad_prices_are_refused_by_name(models, named):
    with pytest.raises(ConfigError, match=named):
        build_applications(
            {
                "routing": {
                    "_target_": "benchmark.applications.routing.routing.Routing",
                    "models": models,
                }
            }
        )


def test_the_cells_of_two_runs_are_routed_between(monkeypatch, tmp_path, capsys, tiny_model):
    settings = tiny(tiny_model, "estimator=[p_true]", "dataset.limit=16", "application=[routing]")
    assert run(monkeypatch, tmp_path, *settings, "model.name=smollm2_135m") == 1
    assert "no finished cell of model gemma3_270m" in capsys.readouterr().err
    assert run(monkeypatch, tmp_path, *settings, "model.name=gemma3_270m", every_figure=True) == 0
    found = tmp_path.glob("out/*/*gemma3_270m*/routing*.csv")
    tables = {path.stem: pl.read_csv(path) for path in found}
    assert set(tables) == {"routing", "routing_areas", "routing_models", "routing_thresholds"}
    assert tables["routing_models"]["candidate"].to_list() == ["smollm2_135m", "gemma3_270m"]
    assert tables["routing_models"]["common"].to_list() == [16, 16]
    assert list(tmp_path.glob("out/*/*gemma3_270m*/figures/routing.png"))
