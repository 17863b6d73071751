"""Probes that Lightning trains by steps: what they learn, when they stop, how they go on."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from planted import plant, rows
from scipy.stats import spearmanr
from torch.utils.data import DistributedSampler

from benchmark.cell.watching import Curves
from benchmark.config.trainer import TrainerConfig
from benchmark.errors import DataError
from benchmark.probes import ProbeSettings, TrainedProbe, train_probe
from benchmark.probes.module import ProbeModule
from benchmark.probes.settings import ByLightning

SPLIT, RATE = plant()
TRAIN, VALIDATION, TEST = rows(SPLIT, 0, 160), rows(SPLIT, 160, 210), rows(SPLIT, 210, 260)
STEPS: dict[str, Any] = {"learning_rates": [0.003, 0.03], "batch_size": 16}
SGD = ProbeSettings(optimizer="sgd", strengths=[1e-3], **STEPS)
BRIERS = ["train_brier", "validation_brier", "test_brier"]


def trained(
    settings: ProbeSettings, folder: Path | None = None, max_epochs: int = 20, **trainer: Any
) -> TrainedProbe:
    how = TrainerConfig(accelerator="cpu", max_epochs=max_epochs, **trainer)
    return train_probe(TRAIN, VALIDATION, settings, TEST, ByLightning(how, folder))


def epochs_of(folder: Path) -> int:
    return int(torch.load(folder / "last.ckpt", weights_only=True)["epoch"]) + 1


class Killed(BaseException):
    """Stands for the end of a process."""


def kill_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: ProbeModule) -> None:
        if self.current_epoch == epochs:
            raise Killed

    monkeypatch.setattr(ProbeModule, "on_train_epoch_start", start)


@pytest.mark.parametrize(
    "kind",
    [
        {"optimizer": "sgd"},
        {"optimizer": "adamw"},
        {"objective": "squared", "optimizer": "adamw"},
        {"architecture": "mlp", "seed": 2**63 - 1},
        {"architecture": "mlp", "objective": "squared", "optimizer": "sgd"},
    ],
    ids=lambda kind: " ".join(map(str, kind.values())),
)
def test_every_way_of_training_finds_the_planted_logit(kind: dict[str, Any]) -> None:
    settings = ProbeSettings(strengths=[1e-4, 1e-2], **kind, **STEPS)
    probe = trained(settings)
    assert probe.feature == "layer 1"
    confidence = probe.predict(TEST.features)
    assert ((confidence >= 0) & (confidence <= 1)).all()
    allowed = 0.16 if settings.objective == "squared" else 0.07  # a line is no sigmoid
    assert (confidence - RATE[210:]).abs().mean() < allowed
    assert spearmanr(confidence, RATE[210:]).statistic > 0.85
    table = probe.selection
    assert len(table) == 5 * len(settings.grid)
    assert table["learning_rate"].null_count() == 0
    chosen = table.row(by_predicate=pl.col("chosen"), named=True)
    error = confidence - TEST.c / TEST.n
    assert chosen["test_brier"] == pytest.approx(error.square().mean().item(), abs=1e-6)
    assert (chosen["strength"], chosen["learning_rate"]) == probe.setting


def test_steps_reach_the_optimum_that_is_solved_for() -> None:
    solved = train_probe(TRAIN, VALIDATION, ProbeSettings(strengths=[0.01]))
    settings = ProbeSettings(
        optimizer="sgd", strengths=[0.01], learning_rates=[0.1], batch_size=160, patience=500
    )
    stepped = trained(settings, max_epochs=500)
    assert stepped.feature == solved.feature
    gap = stepped.predict(TEST.features) - solved.predict(TEST.features)
    assert gap.abs().max() < 0.02


@pytest.mark.parametrize("kind", [{"optimizer": "sgd"}, {"architecture": "mlp"}])
@pytest.mark.parametrize("patience", [1, 20])
def test_a_probe_does_not_depend_on_those_beside_it(kind: dict[str, str], patience: int) -> None:
    settings = ProbeSettings(strengths=[1e-3], patience=patience, **kind, **STEPS)
    together = trained(settings).selection
    for rate in settings.learning_rates:
        alone = trained(dataclasses.replace(settings, learning_rates=[rate])).selection
        beside = together.filter(pl.col("learning_rate") == rate)
        np.testing.assert_allclose(beside[BRIERS], alone[BRIERS], atol=1e-6)


def test_the_kept_epoch_is_that_of_the_lowest_validation_score() -> None:
    settings = ProbeSettings(
        architecture="mlp", strengths=[0.0], learning_rates=[0.05], batch_size=16, patience=30
    )  # learns its training questions by heart
    upto = [trained(settings, max_epochs=m).selection["validation_brier"] for m in (1, 5, 30)]
    assert (upto[1] <= upto[0]).all()
    assert (upto[2] <= upto[1]).all()
    last = trained(dataclasses.replace(settings, patience=1), max_epochs=30)
    assert (last.selection["validation_brier"] >= upto[2]).all()


def test_training_ends_once_every_probe_has_waited_long_enough(tmp_path: Path) -> None:
    settings = ProbeSettings(
        optimizer="adamw", strengths=[0.0], learning_rates=[0.5], batch_size=16, patience=2
    )
    short = trained(settings, tmp_path / "short", max_epochs=200).selection
    assert 2 < epochs_of(tmp_path / "short") < 100
    again = trained(settings, tmp_path / "short", max_epochs=200).selection
    assert again.equals(short)
    trained(settings, tmp_path / "capped", max_epochs=2)
    assert epochs_of(tmp_path / "capped") == 2


def test_steps_that_are_too_long_are_refused() -> None:
    settings = ProbeSettings(
        objective="squared", optimizer="sgd", strengths=[0.1], learning_rates=[1e6]
    )
    with pytest.raises(DataError, match=r"learning_rate=1000000.0.* smaller learning rates"):
        trained(settings, max_epochs=30)


def test_a_probe_that_has_stopped_may_leave_the_finite_numbers() -> None:
    settings = ProbeSettings(
        objective="squared", optimizer="sgd", strengths=[0.0], learning_rates=[1e-4, 1.0],
        batch_size=16, patience=1,
    )  # fmt: skip
    assert trained(settings, max_epochs=60).setting.learning_rate == 1e-4
    with pytest.raises(DataError, match="smaller learning rates"):
        trained(dataclasses.replace(settings, patience=60), max_epochs=60)


@pytest.mark.parametrize("killed_after", [1, 7, 19])
def test_a_killed_training_goes_on_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    settings = ProbeSettings(architecture="mlp", strengths=[1e-3], patience=4, hidden=8, **STEPS)
    expected = trained(settings).selection
    with monkeypatch.context() as patch:
        kill_after(killed_after, patch)
        with pytest.raises(Killed):
            trained(settings, tmp_path)
    assert epochs_of(tmp_path) == killed_after
    started: list[int] = []
    monkeypatch.setattr(
        ProbeModule, "on_train_epoch_start", lambda self: started.append(self.current_epoch)
    )
    assert trained(settings, tmp_path).selection.equals(expected)
    assert started[0] == killed_after
    assert trained(settings, tmp_path).selection.equals(expected)  # of a finished one


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "pickle"])
def test_a_checkpoint_that_cannot_be_read_starts_again(tmp_path: Path, damage: str) -> None:
    expected = trained(SGD, tmp_path).selection
    path = tmp_path / "last.ckpt"
    whole = path.read_bytes()
    if damage == "pickle":
        torch.save({"run me": Path.home}, path)
    else:
        path.write_bytes({"cut": whole[:-200], "empty": b"", "text": b"no checkpoint"}[damage])
    assert trained(SGD, tmp_path).selection.equals(expected)
    assert path.stat().st_size == len(whole)


def test_lightning_tells_the_sampler_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(DistributedSampler, "set_epoch", lambda _, epoch: told.append(epoch))
    trained(SGD, max_epochs=3)
    assert sorted(set(told)) == [0, 1, 2]


def test_a_checkpoint_holds_tensors_and_plain_data_only(tmp_path: Path) -> None:
    trained(SGD, tmp_path, max_epochs=2)
    torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "curves.jsonl"}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_precision_trains(precision: str) -> None:
    probe = trained(SGD, precision=precision)
    assert probe.feature == "layer 1"
    assert probe.parameters["weight"].dtype == torch.float32


def test_two_devices_take_the_steps_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    one = trained(SGD, max_epochs=3).selection
    half = dataclasses.replace(SGD, batch_size=8)
    how = TrainerConfig("cpu", devices=2, strategy="ddp_spawn", max_epochs=3)
    by_steps = ByLightning(how, tmp_path)
    two = train_probe(TRAIN, VALIDATION, half, TEST, by_steps).selection
    np.testing.assert_allclose(one[BRIERS], two[BRIERS], atol=1e-5)
    assert epochs_of(tmp_path) == 3
    points = [*Curves(tmp_path / "curves.jsonl").look()]
    assert [point["epoch"] for point in points if "train_loss" in point] == [0, 1, 2]


def test_losses_and_scores_of_each_epoch_are_kept_unless_the_trainer_says_no(
    tmp_path: Path,
) -> None:
    trained(SGD, tmp_path / "on", max_epochs=3)
    trained(SGD, tmp_path / "off", max_epochs=3, logger=False)
    points = [*Curves(tmp_path / "on/curves.jsonl").look()]
    for name in ("train_loss", "validation_brier", "training_probes"):
        assert [point["epoch"] for point in points if name in point] == [0, 1, 2]
    assert not (tmp_path / "off/curves.jsonl").exists()


def test_the_curves_of_a_training_that_was_killed_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(SGD, tmp_path / "whole", max_epochs=5)
    with monkeypatch.context() as patch:
        kill_after(3, patch)
        with pytest.raises(Killed):
            trained(SGD, tmp_path / "killed", max_epochs=5)
    trained(SGD, tmp_path / "killed", max_epochs=5)
    whole, killed = (
        [*Curves(tmp_path / name / "curves.jsonl").look()] for name in ("whole", "killed")
    )
    assert len(whole) == 10
    assert killed == whole


PLAIN = """
import torch
from benchmark.cell.watching import Curves
from benchmark.config.trainer import TrainerConfig
from benchmark.probes import FeatureSet, ProbeSettings, train_probe
from benchmark.probes.settings import ByLightning
half = lambda name: FeatureSet(
    [name + str(i) for i in range(20)], torch.randn(20, 2, 3), torch.full((20,), 5),
    torch.arange(20) % 6,
)
data = half("a"), half("b")
test = half("c")
state = torch.get_rng_state()
settings = ProbeSettings(strengths=[0.1], learning_rates=[0.1]{})
train_probe(*data, settings, test, ByLightning(TrainerConfig(accelerator="cpu", max_epochs=3)))
assert torch.equal(state, torch.get_rng_state())
"""


@pytest.mark.parametrize("way", ["", ', optimizer="sgd"', ', architecture="mlp"'])
def test_training_prints_nothing_writes_nothing_and_draws_nothing(tmp_path: Path, way: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PLAIN.format(way)], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={**os.environ, "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "submitit"},
    )  # fmt: skip
    assert (run.stdout, run.stderr, run.returncode) == ("", "", 0)
    assert list(tmp_path.iterdir()) == []
