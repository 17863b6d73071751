import json
from pathlib import Path

import pytest
import torch
from planted import plant, rows

from benchmark.errors import DataError, StoreError
from benchmark.probes import TrainedProbe, train_probe

SPLIT, _ = plant()


@pytest.fixture(scope="module")
def probe() -> TrainedProbe:
    return train_probe(rows(SPLIT, 0, 160), rows(SPLIT, 160, 210), [1e-3, 0.1])


def test_a_saved_probe_is_loaded_bit_by_bit(probe: TrainedProbe, tmp_path: Path) -> None:
    probe.save(tmp_path / "new" / "probe")
    loaded = TrainedProbe.load(tmp_path / "new" / "probe")
    for name in ("weight", "bias", "mean", "scale"):
        assert torch.equal(getattr(loaded, name), getattr(probe, name))
    for name in ("feature", "strength", "layers"):
        assert getattr(loaded, name) == getattr(probe, name)
    assert loaded.selection.equals(probe.selection)
    assert torch.equal(loaded.predict(SPLIT.features), probe.predict(SPLIT.features))


def test_the_card_says_what_the_probe_reads(probe: TrainedProbe, tmp_path: Path) -> None:
    probe.save(tmp_path)
    card = json.loads((tmp_path / "probe.json").read_text())
    assert card == {"feature": "layer 1", "strength": probe.strength, "layers": 3}


@pytest.mark.parametrize("name", ["probe.safetensors", "probe.json", "selection.parquet"])
@pytest.mark.parametrize("fault", ["missing", "cut"])
def test_a_broken_folder_is_refused(
    probe: TrainedProbe, tmp_path: Path, name: str, fault: str
) -> None:
    probe.save(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if fault == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="cannot be read"):
        TrainedProbe.load(tmp_path)


@pytest.mark.parametrize("shape", [(4, 3, 11), (4, 2, 12), (4, 12)])
def test_features_of_another_model_are_refused(probe: TrainedProbe, shape: tuple[int]) -> None:
    with pytest.raises(DataError, match="3 layers, width 12"):
        probe.predict(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_gets_no_confidence(probe: TrainedProbe, value: float) -> None:
    features = SPLIT.features.clone()
    features[7, 1, 0] = value
    with pytest.raises(DataError, match=r"Row 7 .* layer 1"):
        probe.predict(features)
