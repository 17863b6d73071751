"""Hidden states as they are kept: in the model's precision, hashed once, layer by layer."""

import hashlib
from pathlib import Path

import polars as pl
import pytest
import torch
from rich.console import Console

from benchmark.errors import StoreError
from benchmark.store import checksums
from benchmark.store.artifact import Artifact, Store
from benchmark.store.hidden_states import StoredFeatures, append_features, read_features

QUESTIONS, LAYERS, WIDTH = 6, 4, 64


def states(dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(QUESTIONS, LAYERS, WIDTH, generator=generator).to(dtype)


def kept(root: Path, *parts: torch.Tensor) -> Artifact:
    artifact = Store(root, Console(quiet=True)).artifact("m", "d", "train", "features", {})
    with artifact.lock():
        for number, part in enumerate(parts):
            names = [f"q{number}{i}" for i in range(len(part))]
            append_features(artifact, names, names, part)
    return artifact


def stored(artifact: Artifact) -> StoredFeatures:
    return StoredFeatures(read_features(artifact).sort("question_id"))


def test_bfloat16_takes_half_the_room_and_reads_as_float32(tmp_path: Path) -> None:
    halves, wholes = states(), states().float()
    sizes = []
    for name, given in (("half", halves), ("whole", wholes)):
        artifact = kept(tmp_path / name, given)
        (part,) = artifact.folder.glob("part-*")
        sizes.append(part.stat().st_size)
        read = stored(artifact)
        assert read.shape == (QUESTIONS, LAYERS, WIDTH)
        for layer in range(LAYERS):
            assert torch.equal(read.layer(layer), wholes[:, layer])
            assert read.layer(layer).dtype == torch.float32
        assert torch.equal(read.rows([3, 0]), wholes[[3, 0]])
        for positions, block in read.blocks(4):
            assert torch.equal(block, wholes[positions])
    assert sizes[0] < 0.6 * sizes[1]


def test_parts_of_float32_stay_valid_beside_those_of_bfloat16(tmp_path: Path) -> None:
    old, new = states().float() + 1e-4, states()
    read = stored(kept(tmp_path, old, new))
    both = torch.cat([old, new.float()])
    assert torch.equal(read.rows(range(2 * QUESTIONS)), both)
    for layer in range(LAYERS):
        assert torch.equal(read.layer(layer), both[:, layer])


def test_parts_are_hashed_once_as_long_as_they_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "_SETTLED_SECONDS", -1.0)
    artifact = kept(tmp_path, states(), states() + 1)
    hashed: list[str] = []
    digest = hashlib.file_digest

    def counted(file, kind):
        hashed.append(file.name)
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    first = read_features(artifact)
    assert len(hashed) == 2
    assert pl.DataFrame.equals(read_features(artifact), first)
    assert len(hashed) == 2
    append_features(artifact, ["q20"], ["q20"], states()[:1])
    assert read_features(artifact).height == first.height + 1
    assert len(hashed) == 3


@pytest.mark.parametrize("change", ["a byte", "cut short", "longer", "another part"])
def test_a_part_that_changes_later_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(checksums, "_SETTLED_SECONDS", -1.0)
    artifact = kept(tmp_path, states(), states() + 1)
    read_features(artifact)
    first, second = sorted(artifact.folder.glob("part-*"))
    data = bytearray(first.read_bytes())
    if change == "a byte":
        data[-1] ^= 1
    elif change == "cut short":
        del data[-8:]
    elif change == "longer":
        data += b"x"
    else:
        data = bytearray(second.read_bytes())
    first.write_bytes(data)
    with pytest.raises(StoreError, match="is damaged"):
        read_features(artifact)
