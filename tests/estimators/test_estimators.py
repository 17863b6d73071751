"""Estimators made of estimators: nested settings, checks at the start, whole cells."""

from dataclasses import asdict

import pytest
from planted_cell import PlantedEngine, planted_cell

from benchmark.cell.asked import HIDDEN
from benchmark.cell.cell import Cell, KnownModel, Stages
from benchmark.config.schema import SamplingConfig
from benchmark.errors import ConfigError
from benchmark.estimators import build_estimators, needed_roles
from benchmark.estimators.consistency import Consistency
from benchmark.estimators.p_true import PTrue
from benchmark.questions import load_splits
from benchmark.runs import plan
from benchmark.store.artifact import fingerprint
from tests.config.test_conf import CHOICES, composed

AT = "benchmark.estimators."
VERBALIZED = {
    "_target_": f"{AT}verbalized.Verbalized",
    "prompt": "{question} boxed",
    "max_new_tokens": 9,
}


def built(entry, k=12, k_train=8):
    (estimator,) = build_estimators({"x": entry}, SamplingConfig(k, k_train)).values()
    return estimator


def recalibrated(base):
    return {"_target_": f"{AT}recalibrated.Recalibrated", "method": "isotonic", "base": base}


def average(**of):
    return {"_target_": f"{AT}average.Average", "of": of}


def consistency(**settings):
    return {"_target_": f"{AT}consistency.Consistency", **settings}


def test_nested_settings_become_estimators():
    estimator = built(average(a=recalibrated(consistency(m=5)), b=VERBALIZED))
    assert isinstance(estimator.of["a"].base, Consistency)
    assert estimator.of["a"].base.m == 5
    inner = asdict(estimator)["of"]["a"]["base"]
    assert inner["m"] == 5
    assert fingerprint(asdict(estimator))  # what the store names the confidences by


ELSEWHERE = {"probe_math", "probe_gsm8k", "probe_triviaqa", "probe_mixture"}  # need other datasets
EVERY = [choice for group, choice in CHOICES if group == "estimator" and choice not in ELSEWHERE]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            recalibrated({"_target_": f"{AT}verbalized.Verbalised"}),
            ["estimator.x.base._target_=benchmark.estimators.verbalized.Verbalised", "Verbalized"],
        ),
        (recalibrated("verbalized"), ["estimator.x.base=verbalized", "settings"]),
        (recalibrated({**VERBALIZED, "promt": "y"}), ["estimator.x.base", "promt"]),
        (
            {"_target_": f"{AT}recalibrated.Recalibrated", "method": "isotonic"},
            ["estimator.x", "base"],
        ),
        ({**recalibrated(VERBALIZED), "method": "beta"}, ["method=beta", "platt"]),
        (average(a=VERBALIZED), ["at least two"]),
        (
            average(a=VERBALIZED, b={"_target_": f"{AT}probes.Probe"}),
            ["estimator.x.of.b._target_=", "no module 'benchmark.estimators.probes'", "probe."],
        ),
        (average(a=VERBALIZED, b=consistency(m=12)), ["estimator.x.of.b.m=12", "sampling.k=12"]),
        (consistency(m=12), ["estimator.x.m=12", "sampling.k=12"]),
        (consistency(m=1), ["m=1", "at least 2"]),
        (recalibrated(consistency(m=8)), ["estimator.x.base.m=8", "sampling.k_train=8"]),
        (
            recalibrated(average(a=VERBALIZED, b=consistency(m=9))),
            ["estimator.x.base.of.b.m=9", "sampling.k_train=8"],
        ),
        (
            recalibrated({**VERBALIZED, "prompt": "{question}{response}", "responses": 8}),
            ["estimator.x.base.responses=8", "sampling.k_train=8"],
        ),
    ],
)
def test_a_fault_inside_an_estimator_is_named_by_its_place(entry, words):
    with pytest.raises(ConfigError) as fault:
        built(entry)
    for word in words:
        assert word in str(fault.value)


def test_so_many_responses_are_allowed_where_no_curve_is_fitted_on_them():
    assert built(consistency(m=11)).m == 11
    assert built(recalibrated(consistency(m=7))).base.m == 7


@pytest.mark.parametrize(
    ("name", "roles", "hidden"),
    [
        ("verbalized", [], False),
        ("verbalized_few_shot", ["train"], False),
        ("p_true_platt", ["train"], False),
        ("probe_isotonic", ["train", "validation"], True),
        ("average_verbalized_probe", ["train", "validation"], True),
        ("average_verbalized_p_true", [], False),
        ("tfidf", ["train", "validation"], False),
        ("question_length", ["train"], False),
    ],
)
def test_what_an_estimator_needs_is_known_beforehand(name, roles, hidden):
    estimators = build_estimators(composed(f"estimator=[{name}]").estimator, SamplingConfig(12, 8))
    assert needed_roles(estimators) == ["evaluation", *roles]
    assert estimators[name].hidden_states == hidden


SAMPLES = ("sampling.k=24", "sampling.k_train=24")


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    return planted_cell(tmp_path_factory.mktemp("planted"), lambda p: p, *SAMPLES)


@pytest.mark.parametrize("role", ["evaluation", "train", "validation"])
@pytest.mark.parametrize("name", EVERY)
def test_every_estimator_answers_every_question_of_any_split(cell, name, role):
    config = composed(f"estimator=[{name}]", *SAMPLES)
    (estimator,) = build_estimators(config.estimator, config.sampling).values()
    table = estimator.estimate(cell, role).confidences
    assert table["question_id"].unique().sort().equals(cell.questions[role]["question_id"])
    assert set(table["status"]) == {"ok"}
    assert table["confidence"].is_between(0, 1).all()
    assert not table.select("question_id", "sample_index").is_duplicated().any()


@pytest.mark.parametrize("name", ["verbalized", "p_true"])
def test_responses_that_are_shown_are_said_to_be_used(cell, name):
    config = composed(f"estimator=[{name},{name}_response]", *SAMPLES)
    alone, shown = build_estimators(config.estimator, config.sampling).values()
    assert alone.estimate(cell).samples_used == 0
    assert shown.estimate(cell).samples_used == shown.responses == 1


@pytest.mark.parametrize("name", EVERY)
def test_every_estimator_asks_for_what_it_says(tmp_path, name):
    cell = planted_cell(tmp_path, lambda p: p, *SAMPLES)
    config = composed(f"estimator=[{name}]", *SAMPLES)
    estimators = build_estimators(config.estimator, config.sampling)
    roles, (estimator,) = needed_roles(estimators), estimators.values()
    stages = Stages(load_splits, plan._split_to_come, plan._no_features)
    known = KnownModel(cell.engine.identity, cell.engine.precisions)
    planned = Cell(cell.config, cell.questions, known, cell._store, cell.console, stages)
    said = {
        (asked.artifact.folder, key, index)
        for asked in [*map(planned.responses, roles), *estimator.requests(planned)]
        if asked.kind != HIDDEN
        for key in asked.prompts
        for index in range(asked.k)
    }
    assert not cell.engine.asked
    for role in roles:
        cell.split(role)
    estimator.estimate(cell)
    assert cell.engine.asked.total() == len(said)


def test_stored_answers_of_the_release_before_are_found(tmp_path):
    cell = planted_cell(tmp_path, lambda p: p, *SAMPLES)
    cap = "estimator.verbalized.max_new_tokens=96"  # as it was
    config = composed("estimator=[verbalized,p_true]", cap, *SAMPLES)
    for estimator in build_estimators(config.estimator, config.sampling).values():
        estimator.estimate(cell)
    cell.features("evaluation")
    kept = {
        "responses-f016605e4af2", "verbalized-e23cfd237f70", "p_true-10095f944d11",
        "features-f1ec111ef35c",
    }  # fmt: skip
    assert kept <= {path.name for path in tmp_path.glob("*/*/test/*")}


def test_p_true_is_the_share_of_yes_in_what_yes_and_no_have_together(tmp_path):
    cell = planted_cell(tmp_path)
    whole = PTrue(prompt="{question} ?").estimate(cell).confidences["confidence"]

    def with_other_words(requests, choices, decoding):
        for key, answer in PlantedEngine.choice_probabilities(
            cell.engine, requests, choices, decoding
        ):
            scaled = {word: 0.3 * p for word, p in answer.probabilities.items()}
            yield key, answer._replace(probabilities=scaled)

    cell.engine.choice_probabilities = with_other_words
    diluted = PTrue(prompt="{question} !").estimate(cell).confidences["confidence"]
    assert diluted.to_list() == pytest.approx(whole.to_list())


def test_what_is_asked_about_a_split_is_kept_with_it(tmp_path):
    cell = planted_cell(tmp_path)
    config = composed("estimator=[verbalized,p_true]")
    for estimator in build_estimators(config.estimator, config.sampling).values():
        estimator.estimate(cell, "validation")
    assert {path.parent.name for path in tmp_path.glob("*/basics/*/*")} == {"validation"}


def test_an_average_costs_the_sum_and_reads_the_same_rows(cell):
    config = composed("estimator=[average_verbalized_p_true,verbalized,p_true]")
    estimators = build_estimators(config.estimator, config.sampling)
    tables = {name: e.estimate(cell).confidences for name, e in estimators.items()}
    asked = cell.engine.asked.total()
    average, verbalized, p_true = tables.values()
    for column in ("prompt_tokens", "completion_tokens"):
        assert average[column].equals(verbalized[column] + p_true[column])
    mean = (verbalized["confidence"] + p_true["confidence"]) / 2
    assert average["confidence"].to_list() == pytest.approx(mean.to_list())
    estimators["average_verbalized_p_true"].estimate(cell)
    assert cell.engine.asked.total() == asked
