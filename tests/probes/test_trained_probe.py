import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from planted import plant, rows

from benchmark.config.trainer import TrainerConfig
from benchmark.errors import DataError, StoreError
from benchmark.probes import ProbeSettings, TrainedProbe, train_probe
from benchmark.probes.settings import ByLightning

SPLIT, _ = plant()
KINDS = {
    "linear": ProbeSettings(strengths=[1e-3, 0.1]),
    "squared": ProbeSettings(objective="squared", strengths=[0.1]),
    "mlp": ProbeSettings(architecture="mlp", strengths=[0.1], learning_rates=[0.01], hidden=5),
}


@pytest.fixture(scope="module", params=KINDS)
def probe(request: pytest.FixtureRequest) -> TrainedProbe:
    steps = ByLightning(TrainerConfig(max_epochs=3))
    train, validation = rows(SPLIT, 0, 160), rows(SPLIT, 160, 210)
    return train_probe(train, validation, KINDS[request.param], by_steps=steps)


def test_a_saved_probe_is_loaded_bit_by_bit(probe: TrainedProbe, tmp_path: Path) -> None:
    probe.save(tmp_path / "new" / "probe")
    card = json.loads(json.dumps(probe.card()))
    loaded = TrainedProbe.load(tmp_path / "new" / "probe", card)
    assert set(loaded.parameters) == set(probe.parameters)
    for name, tensor in probe.parameters.items():
        assert torch.equal(loaded.parameters[name], tensor)
    assert (loaded.feature, loaded.setting) == (probe.feature, probe.setting)
    assert torch.equal(loaded.predict(SPLIT.features), probe.predict(SPLIT.features))


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("weight", float("nan"), "weight is not finite"),
        ("mean", float("inf"), "mean is not finite"),
        ("scale", 0.0, "scale is not above 0"),
        ("scale", -1.0, "scale is not above 0"),
    ],
)
def test_numbers_that_give_no_confidence_are_refused(
    probe: TrainedProbe, tmp_path: Path, name: str, value: float, named: str
) -> None:
    tensors = {"mean": probe.mean.clone(), "scale": probe.scale.clone(), **probe.parameters}
    tensors[name] = tensors[name].clone()
    tensors[name].flatten()[0] = value
    wrong = dataclasses.replace(
        probe, mean=tensors.pop("mean"), scale=tensors.pop("scale"), parameters=tensors
    )
    wrong.save(tmp_path)
    with pytest.raises(StoreError, match=named):
        TrainedProbe.load(tmp_path, wrong.card())


def test_a_flipped_bit_of_the_numbers_is_noticed(probe: TrainedProbe, tmp_path: Path) -> None:
    probe.save(tmp_path)
    path = tmp_path / "probe.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="was changed"):
        TrainedProbe.load(tmp_path, probe.card())


@pytest.mark.parametrize("fault", ["missing", "cut", "another"])
def test_a_broken_folder_is_refused(probe: TrainedProbe, tmp_path: Path, fault: str) -> None:
    probe.save(tmp_path)
    path, card = tmp_path / "probe.safetensors", probe.card()
    content = path.read_bytes()
    path.unlink()
    if fault == "cut":
        path.write_bytes(content[: len(content) // 2])
    if fault == "another":
        path.write_bytes(content)
        card = card | {"feature": "layer 40"}
    with pytest.raises(StoreError, match="cannot be read"):
        TrainedProbe.load(tmp_path, card)


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device", "a link", "huge"])
def test_what_is_no_file_of_numbers_is_not_waited_for(
    probe: TrainedProbe, tmp_path: Path, kind: str
) -> None:
    probe.save(tmp_path)
    path = tmp_path / "probe.safetensors"
    whole = path.rename(tmp_path / "whole")
    make = {
        "a pipe": lambda: os.mkfifo(path),
        "a folder": path.mkdir,
        "a device": lambda: path.symlink_to("/dev/zero"),
        "a link": lambda: path.symlink_to(whole),
        "huge": lambda: (path.touch(), os.truncate(path, 2**34)),
    }
    make[kind]()
    with pytest.raises(StoreError, match="cannot be read"):
        TrainedProbe.load(tmp_path, probe.card())


def test_a_card_that_asks_for_states_larger_than_memory_is_refused(
    probe: TrainedProbe, tmp_path: Path
) -> None:
    probe.save(tmp_path)
    for layers in (2**40, 6_000_000, 0, -1, None, "3"):
        with pytest.raises(StoreError, match="cannot be read"):
            TrainedProbe.load(tmp_path, {**probe.card(), "layers": layers})


@pytest.mark.parametrize("shape", [(4, 3, 11), (4, 2, 12), (4, 12)])
def test_features_of_another_model_are_refused(probe: TrainedProbe, shape: tuple[int]) -> None:
    with pytest.raises(DataError, match="3 layers, width 12"):
        probe.predict(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_gets_no_confidence(probe: TrainedProbe, value: float) -> None:
    features = SPLIT.features.clone()
    features[7] = value
    with pytest.raises(DataError, match=r"Row 7 .* " + probe.feature):
        probe.predict(features)
