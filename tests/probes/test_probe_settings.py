import pytest

from benchmark.errors import ConfigError
from benchmark.probes import ProbeSettings
from benchmark.probes.settings import Setting


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        ({}, "lbfgs"),
        ({"objective": "ranking"}, "lbfgs"),
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
        ({"objective": "hinge"}, "objective=hinge.*binomial.*ranking"),
        ({"architecture": "mlp", "optimizer": "lbfgs"}, "lbfgs doesn't train.*adamw"),
        ({"optimizer": "closed_form"}, "closed_form doesn't train.*lbfgs"),
        ({"epochs": 0}, "epochs=0"),
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
