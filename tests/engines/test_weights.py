"""What the cache keeps of a model: made once, and noticed where it was damaged."""

import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.config.schema import GGUFConfig, ModelConfig
from benchmark.engines import weights
from benchmark.engines.weights import find_weights
from benchmark.errors import StoreError

CONSOLE = Console(quiet=True)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    """A model whose package puts its GGUF together from parts; its conversion is a copy."""
    folder = tmp_path / "packages" / "parts_of_gguf"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "def assemble(path, overwrite):\n    path.write_bytes(bytes(range(256)) * 40)\n"
    )
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.delitem(sys.modules, "parts_of_gguf", raising=False)
    monkeypatch.setattr(weights, "version", lambda _: "1.0")

    def convert(path: Path, converted: Path) -> None:
        (converted / "config.json").write_text("{}")
        (converted / "model.safetensors").write_bytes(path.read_bytes()[::-1])

    monkeypatch.setattr(weights, "_write_converted", convert)
    return ModelConfig(name="qwen2.5", hub_id="nobody/nothing", gguf=GGUFConfig("parts_of_gguf"))


def test_a_model_is_assembled_and_converted_once(
    package: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_weights(package, tmp_path / "cache", CONSOLE)
    monkeypatch.delattr(weights, "_write_converted")
    assert find_weights(package, tmp_path / "cache", CONSOLE) == first
    assert sorted(p.name for p in Path(first.location).iterdir()) == [
        "config.json", "model.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["gguf/*.gguf", "models/*/model.safetensors"])
@pytest.mark.parametrize("way", ["bit flipped", "truncated", "deleted"])
def test_a_damaged_file_in_the_cache_is_named_and_made_anew(
    package: ModelConfig, tmp_path: Path, what: str, way: str
) -> None:
    cache = tmp_path / "cache"
    found = find_weights(package, cache, CONSOLE)
    (path,) = cache.glob(what)
    data = bytearray(path.read_bytes())
    data[5000] ^= 4
    path.write_bytes(data if way == "bit flipped" else data[:5000])
    if way == "deleted":
        path.unlink()
    if way != "deleted" or what.startswith("models"):
        made = path if what.startswith("gguf") else path.parent
        with pytest.raises(StoreError, match=rf"{made} is damaged. Delete it"):
            find_weights(package, cache, CONSOLE)
        made.unlink() if made.is_file() else made.rename(tmp_path / "away")
    assert find_weights(package, cache, CONSOLE) == found
    assert path.exists()
