import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from planted import plant, rows
from rich.console import Console

from benchmark.errors import DataError
from benchmark.probes import FeatureSet, ProbeSettings, bank, train_probe
from benchmark.probes.bank import batches
from benchmark.probes.features import select_feature
from benchmark.records import PROBE_SELECTION, check_table
from benchmark.store.artifact import Store
from benchmark.store.hidden_states import StoredFeatures, append_features, read_features

STRENGTHS = ProbeSettings(strengths=[1e-4, 1e-2, 1.0])
ONE = ProbeSettings(strengths=[0.01])
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
    assert len(table) == 5 * 3
    assert table["feature"].unique(maintain_order=True).to_list() == [
        "embedding",
        "layer 1",
        "layer 2",
        "mean over layers",
        "maximum over layers",
    ]
    chosen = table.row(by_predicate=pl.col("chosen"), named=True)
    assert (chosen["feature"], chosen["strength"]) == (probe.feature, probe.setting.strength)
    assert chosen["validation_brier"] == table["validation_brier"].min()
    for split, column in ((TRAIN, "train_brier"), (VALIDATION, "validation_brier")):
        error = probe.predict(split.features) - split.c / split.n
        assert chosen[column] == pytest.approx(error.square().mean().item(), abs=1e-6)


def test_among_equals_the_stronger_and_then_the_earlier_is_chosen() -> None:
    constant = torch.ones_like(SPLIT.features)
    split = change(SPLIT, features=constant)
    probe = train_probe(rows(split, 0, 160), rows(split, 160, 260), STRENGTHS)
    assert probe.selection["validation_brier"].n_unique() == 1
    assert (probe.feature, probe.setting.strength) == ("embedding", 1.0)
    share = TRAIN.c.sum() / TRAIN.n.sum()
    np.testing.assert_allclose(probe.predict(constant), share.item(), rtol=1e-6)


def test_the_validation_split_changes_the_choice_only() -> None:
    moved = change(VALIDATION, features=VALIDATION.features * 100 + 7)
    probes = [train_probe(TRAIN, split, ONE) for split in (VALIDATION, moved)]
    scores = [probe.selection["train_brier"].to_list() for probe in probes]
    assert scores[0] == scores[1]
    assert probes[0].selection["validation_brier"][1] < probes[1].selection["validation_brier"][1]


def test_the_optimum_does_not_depend_on_the_scale_of_the_features() -> None:
    factor = torch.logspace(-3, 3, TRAIN.features.shape[-1])
    scaled = [change(s, features=s.features * factor + 1) for s in (TRAIN, VALIDATION, TEST)]
    expected = train_probe(TRAIN, VALIDATION, ONE).predict(TEST.features)
    found = train_probe(scaled[0], scaled[1], ONE).predict(scaled[2].features)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_rounding_noise_of_a_constant_column_is_not_magnified() -> None:
    features = SPLIT.features.clone()
    noise = torch.randn(len(features), 3, generator=torch.Generator().manual_seed(2))
    features[..., 0] = 1000 + noise * 1e-4
    split = change(SPLIT, features=features)
    probe = train_probe(rows(split, 0, 160), rows(split, 160, 260), ONE)
    assert probe.scale[0] == 1


def test_questions_weigh_as_much_as_their_responses() -> None:
    twice = FeatureSet(
        [*TRAIN.question_ids, *(f"again {key}" for key in TRAIN.question_ids)],
        TRAIN.features.repeat(2, 1, 1),
        TRAIN.n.repeat(2),
        TRAIN.c.repeat(2),
    )
    heavy = change(TRAIN, n=2 * TRAIN.n, c=2 * TRAIN.c)
    found = [train_probe(s, VALIDATION, ONE).predict(TEST.features) for s in (twice, heavy)]
    np.testing.assert_allclose(found[0], found[1], atol=2e-5)
    uneven = TRAIN.n.clone()
    uneven[:80] //= 20
    light = change(TRAIN, n=uneven, c=torch.minimum(TRAIN.c, uneven))
    other = train_probe(light, VALIDATION, ONE).predict(TEST.features)
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
    probes = [
        train_probe(TRAIN, VALIDATION, ProbeSettings(strengths=[0.1], seed=s)) for s in (0, 1)
    ]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(probes[0].parameters["weight"], probes[1].parameters["weight"])


@pytest.mark.parametrize("correct", [0, 200])
def test_responses_of_one_class_give_a_constant(correct: int) -> None:
    split = change(TRAIN, c=torch.full_like(TRAIN.c, correct))
    probe = train_probe(split, VALIDATION, STRENGTHS)
    confidence = probe.predict(TEST.features)
    assert confidence.unique().numel() == 1
    assert abs(confidence[0].item() - correct / 200) < 1e-4


def test_questions_shared_with_the_test_split_are_refused() -> None:
    with pytest.raises(DataError, match="'q3'"):
        train_probe(TRAIN, VALIDATION, STRENGTHS, test=rows(SPLIT, 3, 4))


def test_the_test_split_is_scored_and_changes_nothing() -> None:
    alone = train_probe(TRAIN, VALIDATION, STRENGTHS)
    scored = train_probe(TRAIN, VALIDATION, STRENGTHS, test=TEST)
    assert alone.selection["test_brier"].is_nan().all()
    kept = pl.exclude("test_brier")
    assert scored.selection.select(kept).equals(alone.selection.select(kept))
    chosen = scored.selection.row(by_predicate=pl.col("chosen"), named=True)
    error = scored.predict(TEST.features) - TEST.c / TEST.n
    assert chosen["test_brier"] == pytest.approx(error.square().mean().item(), abs=1e-6)


def test_stored_features_give_the_same_probe(tmp_path: Path) -> None:
    def keep(split: FeatureSet, name: str) -> FeatureSet:
        artifact = Store(tmp_path, Console()).artifact("m", "d", name, "features", {})
        with artifact.lock():
            append_features(artifact, split.question_ids, split.question_ids, split.features)
        places = read_features(artifact)
        order = pl.DataFrame({"question_id": split.question_ids})
        places = order.join(places, on="question_id", maintain_order="left")
        return change(split, features=StoredFeatures(places))

    expected = train_probe(TRAIN, VALIDATION, STRENGTHS, TEST)
    found = train_probe(
        keep(TRAIN, "train"), keep(VALIDATION, "validation"), STRENGTHS, keep(TEST, "test")
    )
    assert found.selection.equals(expected.selection)
    assert torch.equal(found.parameters["weight"], expected.parameters["weight"])


def test_a_probe_that_misses_its_optimum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.probes.solver._MAX_STEPS", 1)
    monkeypatch.setattr("benchmark.probes.solver._MAX_NEWTON_STEPS", 0)
    with pytest.raises(DataError, match=r"embedding at strength 0.0001 did not reach"):
        train_probe(TRAIN, VALIDATION, STRENGTHS)


@pytest.mark.parametrize("numbers", [1, 12, 10**6])
def test_the_batches_hold_every_feature_once(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank, "_BATCH_NUMBERS", numbers)
    few = rows(SPLIT, 0, 3)
    parts = list(batches(few))
    assert torch.cat([part.place for part in parts]).tolist() == [0, 1, 2, 3, 4]
    expected = torch.stack([select_feature(few.features, i) for i in range(5)])
    torch.testing.assert_close(torch.cat([part.features for part in parts]), expected)
    assert max(part.features.numel() for part in parts) <= max(numbers, 36)


def test_the_squared_objective_finds_the_layer_in_closed_form() -> None:
    settings = ProbeSettings(objective="squared", strengths=[1e-4, 1e-2])
    probe = train_probe(TRAIN, VALIDATION, settings, TEST)
    assert probe.feature == "layer 1"
    confidence = probe.predict(TEST.features)
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert (confidence - RATE[210:]).abs().mean() < 0.16  # a line is no sigmoid
    assert probe.selection["learning_rate"].null_count() == len(probe.selection)
