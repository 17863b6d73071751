import dataclasses
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import torch
from planted import plant, rows

from benchmark.errors import ConfigError, DataError
from benchmark.probes import FeatureSet, train_probe
from benchmark.probes.bank import ProbeBank
from benchmark.records import PROBE_SELECTION, check_table

STRENGTHS = [1e-4, 1e-2, 1.0]
SPLIT, RATE = plant()
TRAIN, VALIDATION, TEST = rows(SPLIT, 0, 160), rows(SPLIT, 160, 210), rows(SPLIT, 210, 260)


def change(split: FeatureSet, **fields: object) -> FeatureSet:
    return dataclasses.replace(split, **fields)


def test_a_planted_logit_is_recovered_on_new_questions() -> None:
    probe = train_probe(TRAIN, VALIDATION, STRENGTHS)
    confidence = probe.predict(TEST.features)
    assert confidence.shape == (50,)
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert (confidence - RATE[210:]).abs().mean() < 0.02


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_layer_with_the_signal_is_chosen(layer: int) -> None:
    split, _ = plant(layer=layer)
    probe = train_probe(rows(split, 0, 160), rows(split, 160, 260), STRENGTHS)
    assert probe.feature == ("embedding", "layer 1", "layer 2")[layer]


def test_the_mean_over_layers_is_chosen_where_the_signal_is_spread_over_them() -> None:
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(SPLIT.features.shape, generator=generator) * 20
    noise = noise - noise.mean(dim=1, keepdim=True)
    split = change(SPLIT, features=SPLIT.features[:, 1:2] + noise)
    probe = train_probe(rows(split, 0, 160), rows(split, 160, 260), STRENGTHS)
    assert probe.feature == "mean over layers"


def test_the_table_of_the_choice_holds_every_probe_with_its_brier_scores() -> None:
    probe = train_probe(TRAIN, VALIDATION, STRENGTHS)
    table = check_table(probe.selection, PROBE_SELECTION, "selection")
    assert len(table) == 4 * 3
    assert table["feature"].unique(maintain_order=True).to_list() == [
        "embedding",
        "layer 1",
        "layer 2",
        "mean over layers",
    ]
    chosen = table.row(by_predicate=pl.col("chosen"), named=True)
    assert (chosen["feature"], chosen["strength"]) == (probe.feature, probe.strength)
    assert chosen["validation_brier"] == table["validation_brier"].min()
    for split, column in ((TRAIN, "train_brier"), (VALIDATION, "validation_brier")):
        error = probe.predict(split.features) - split.c / split.n
        assert chosen[column] == pytest.approx(error.square().mean().item(), abs=1e-6)


def test_among_equals_the_stronger_and_then_the_earlier_is_chosen() -> None:
    constant = torch.ones_like(SPLIT.features)
    split = change(SPLIT, features=constant)
    probe = train_probe(rows(split, 0, 160), rows(split, 160, 260), STRENGTHS)
    assert probe.selection["validation_brier"].n_unique() == 1
    assert (probe.feature, probe.strength) == ("embedding", 1.0)
    share = TRAIN.c.sum() / TRAIN.n.sum()
    np.testing.assert_allclose(probe.predict(constant), share.item(), rtol=1e-6)


def test_the_validation_split_changes_the_choice_only() -> None:
    moved = change(VALIDATION, features=VALIDATION.features * 100 + 7)
    probes = [train_probe(TRAIN, split, [0.01]) for split in (VALIDATION, moved)]
    scores = [probe.selection["train_brier"].to_list() for probe in probes]
    assert scores[0] == scores[1]
    assert probes[0].selection["validation_brier"][1] < probes[1].selection["validation_brier"][1]


def test_the_optimum_does_not_depend_on_the_scale_of_the_features() -> None:
    factor = torch.logspace(-3, 3, TRAIN.features.shape[-1])
    scaled = [change(s, features=s.features * factor + 1) for s in (TRAIN, VALIDATION, TEST)]
    expected = train_probe(TRAIN, VALIDATION, [0.01]).predict(TEST.features)
    found = train_probe(scaled[0], scaled[1], [0.01]).predict(scaled[2].features)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_rounding_noise_of_a_constant_column_is_not_magnified() -> None:
    features = SPLIT.features.clone()
    noise = torch.randn(len(features), 3, generator=torch.Generator().manual_seed(2))
    features[..., 0] = 1000 + noise * 1e-4
    split = change(SPLIT, features=features)
    probe = train_probe(rows(split, 0, 160), rows(split, 160, 260), [0.01])
    assert probe.scale[0] == 1


def test_questions_weigh_as_much_as_their_responses() -> None:
    twice = FeatureSet(
        [*TRAIN.question_ids, *(f"again {key}" for key in TRAIN.question_ids)],
        TRAIN.features.repeat(2, 1, 1),
        TRAIN.n.repeat(2),
        TRAIN.c.repeat(2),
    )
    heavy = change(TRAIN, n=2 * TRAIN.n, c=2 * TRAIN.c)
    found = [train_probe(s, VALIDATION, [0.01]).predict(TEST.features) for s in (twice, heavy)]
    np.testing.assert_allclose(found[0], found[1], atol=2e-5)
    uneven = TRAIN.n.clone()
    uneven[:80] //= 20
    light = change(TRAIN, n=uneven, c=torch.minimum(TRAIN.c, uneven))
    other = train_probe(light, VALIDATION, [0.01]).predict(TEST.features)
    assert (other - found[0]).abs().max() > 1e-3


def test_bfloat16_features_give_nearly_the_same_probe() -> None:
    halves = [change(s, features=s.features.bfloat16()) for s in (TRAIN, VALIDATION, TEST)]
    expected = train_probe(TRAIN, VALIDATION, STRENGTHS)
    found = train_probe(halves[0], halves[1], STRENGTHS)
    assert found.feature == expected.feature
    difference = found.predict(halves[2].features) - expected.predict(TEST.features)
    assert difference.abs().max() < 0.02


def test_a_prediction_does_not_depend_on_those_beside_it() -> None:
    probe = train_probe(TRAIN, VALIDATION, STRENGTHS)
    together = probe.predict(TEST.features)
    alone = torch.cat([probe.predict(row[None]) for row in TEST.features])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)


def test_the_seed_changes_nothing_and_the_callers_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    probes = [train_probe(TRAIN, VALIDATION, STRENGTHS, seed) for seed in (0, 1)]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(probes[0].weight, probes[1].weight)


@pytest.mark.parametrize("correct", [0, 200])
def test_responses_of_one_class_give_a_constant(correct: int) -> None:
    split = change(TRAIN, c=torch.full_like(TRAIN.c, correct))
    probe = train_probe(split, VALIDATION, STRENGTHS)
    confidence = probe.predict(TEST.features)
    assert confidence.unique().numel() == 1
    assert abs(confidence[0].item() - correct / 200) < 1e-4


@pytest.mark.parametrize("strengths", [[], [0.0], [-1.0], [float("nan")], [0.1, 0.1]])
def test_bad_strengths_are_refused(strengths: list[float]) -> None:
    with pytest.raises(ConfigError, match="Probe strengths"):
        ProbeBank(3, 12, strengths)


def test_questions_shared_with_the_test_split_are_refused() -> None:
    with pytest.raises(DataError, match="'q3'"):
        train_probe(TRAIN, VALIDATION, STRENGTHS, test_ids=["q3", "q999"])


def test_a_probe_that_misses_its_optimum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.probes.solver._MAX_STEPS", 1)
    monkeypatch.setattr("benchmark.probes.solver._MAX_NEWTON_STEPS", 0)
    with pytest.raises(DataError, match=r"embedding at strength 0.0001 did not reach"):
        train_probe(TRAIN, VALIDATION, STRENGTHS)


def test_training_prints_nothing_and_writes_nothing(tmp_path: object) -> None:
    code = """
import torch
from benchmark.probes import FeatureSet, train_probe
half = lambda name: FeatureSet(
    [name + str(i) for i in range(20)], torch.randn(20, 2, 3), torch.full((20,), 5),
    torch.arange(20) % 6,
)
train_probe(half("a"), half("b"), [0.1])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout == ""
    assert run.stderr == ""
    assert list(tmp_path.iterdir()) == []
