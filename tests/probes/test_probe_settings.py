import pytest
import torch

from benchmark.config.trainer import TrainerConfig
from benchmark.errors import ConfigError
from benchmark.probes import ProbeSettings
from benchmark.probes.settings import Setting
from benchmark.probes.training import make_trainer


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        ({}, "lbfgs"),
        ({"objective": "squared"}, "closed_form"),
        ({"architecture": "mlp"}, "adamw"),
    ],
)
def test_the_optimizer_is_the_best_that_there_is(kind: dict[str, str], optimizer: str) -> None:
    assert ProbeSettings(strengths=[1.0], learning_rates=[0.1], **kind).optimizer == optimizer


def test_every_strength_is_tried_with_every_rate() -> None:
    settings = ProbeSettings(optimizer="sgd", strengths=[0, 1], learning_rates=[0.1, 0.2])
    assert settings.grid == [Setting(0, 0.1), Setting(0, 0.2), Setting(1, 0.1), Setting(1, 0.2)]
    assert ProbeSettings(strengths=[1]).grid == [Setting(1, None)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strengths": []}, "strengths="),
        ({"strengths": None}, "strengths=None"),
        ({"strengths": [0.0]}, "strengths="),
        ({"strengths": [-1.0]}, "strengths="),
        ({"strengths": [float("nan")]}, "strengths="),
        ({"strengths": [1e39]}, "from 1e-12 to 1e\\+12"),
        ({"strengths": [0.1, 0.1]}, "all different"),
        ({"optimizer": "adamw"}, "learning_rates="),
        ({"optimizer": "sgd", "learning_rates": [0.0]}, "learning_rates="),
        ({"architecture": "transformer"}, "architecture=transformer"),
        ({"objective": "hinge"}, "objective=hinge.*binomial.*squared"),
        ({"architecture": "mlp", "optimizer": "lbfgs"}, "lbfgs doesn't train.*adamw"),
        ({"optimizer": "closed_form"}, "closed_form doesn't train.*lbfgs"),
        ({"patience": 0}, "patience=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"hidden": 0}, "hidden=0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**63}, "below 2\\^63"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProbeSettings(**{"strengths": [1.0]} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerator": "warp"}, "trainer.accelerator=warp .*'mps'"),
        ({"strategy": "ddp", "devices": 2}, "trainer.strategy=ddp .*ddp_spawn"),
        ({"devices": 2}, "trainer.devices=2 is not allowed.*trainer=ddp"),
        ({"devices": 0}, "trainer.devices=0"),
        ({"devices": -1}, "trainer.devices=-1"),
        ({"max_epochs": 0}, "trainer.max_epochs=0"),
        ({"max_epochs": -1}, "trainer.max_epochs=-1"),
        ({"precision": "64-true"}, "trainer.precision=64-true .*bf16-mixed"),
        ({"precision": "16"}, "trainer.precision=16 "),
    ],
)
def test_a_trainer_that_cannot_train_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainerConfig(**changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the test misses")
def test_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match="trainer: No supported gpu backend"):
        make_trainer(TrainerConfig(accelerator="gpu"))
    make_trainer(TrainerConfig(accelerator="cpu"))
