"""What is trained, chosen and judged on is disjoint, or refused before the model is asked."""

from dataclasses import replace

import pytest
from planted_cell import planted_cell

from benchmark.config.schema import TrainingConfig
from benchmark.errors import DataError
from benchmark.estimators import build_estimators
from benchmark.estimators.average import Average
from benchmark.estimators.baselines import Random
from benchmark.estimators.recalibrated import Recalibrated
from tests.config.test_conf import composed


@pytest.fixture
def cell(tmp_path):
    return planted_cell(tmp_path)


def source(cell, train="train", validation="validation"):
    """Return the evaluated dataset as a source of training, with these of its splits."""
    splits = cell.config.dataset.splits
    chosen = {**splits, "train": splits[train], "validation": splits[validation]}
    limits = {"train": 150, "validation": 60, "evaluation": 60}
    dataset = replace(
        cell.config.dataset, splits=chosen,
        train_limit=limits[train], validation_limit=limits[validation],
    )  # fmt: skip
    return TrainingConfig(dataset=dataset, grading=cell.config.grading)


def probe(cell, *sources):
    entries = composed("estimator=[probe_own]").estimator
    (made,) = build_estimators(entries, cell.config.sampling).values()
    made.train_on = {f"source_{i}": each for i, each in enumerate(sources)}
    return made


@pytest.mark.parametrize("role", ["train", "validation"])
def test_what_is_evaluated_is_neither_trained_nor_chosen_on(cell, role):
    with pytest.raises(DataError, match=f"{role} of dataset=basics and evaluation of dataset=bas"):
        probe(cell, source(cell, **{role: "evaluation"})).check(cell)
    assert not cell.engine.asked


def test_what_one_source_trains_on_no_other_chooses_on(cell):
    sources = source(cell), source(cell, train="validation", validation="train")
    for each in sources:
        probe(cell, each).check(cell)
    with pytest.raises(DataError, match=r"train of .* and validation of .* share 150"):
        probe(cell, *sources).check(cell)
    assert not cell.engine.asked


def test_sources_share_no_question(cell):
    again = source(cell, validation="evaluation")
    with pytest.raises(DataError, match=r"train of dataset=basics and train of .* share 150"):
        probe(cell, source(cell), again).check(cell)
    again = source(cell, train="evaluation")
    with pytest.raises(DataError, match=r"validation of dataset=basics and validation of .* 60"):
        probe(cell, source(cell), again).check(cell)
    assert not cell.engine.asked


@pytest.mark.parametrize("inside", [lambda p: p, lambda p: Average(of={"p": p, "r": Random()})])
def test_a_curve_is_fitted_on_what_the_base_was_not_trained_on(cell, inside):
    swapped = probe(cell, source(cell, train="validation", validation="train"))
    inside(swapped).check(cell)
    with pytest.raises(DataError, match=r"train of .* and validation of .* share 60"):
        Recalibrated(method="platt", base=inside(swapped)).check(cell)
    for accepted in (probe(cell), probe(cell, source(cell))):
        Recalibrated(method="platt", base=inside(accepted)).check(cell)
    assert not cell.engine.asked


def test_training_refuses_as_well(cell):
    with pytest.raises(DataError, match="share 60"):
        probe(cell, source(cell, train="evaluation")).estimate(cell)
