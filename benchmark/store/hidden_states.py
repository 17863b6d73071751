"""Hidden states on the disk: safetensors parts of an artifact, mapped only while they are read."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from benchmark.store.artifact import Artifact


def append_features(
    artifact: Artifact, question_ids: list[str], hashes: list[str], features: torch.Tensor
) -> None:
    """Write hidden states [N, L + 1, D] with their question ids as one safetensors part."""
    metadata = {"question_ids": json.dumps(question_ids), "prompt_hashes": json.dumps(hashes)}
    data = safetensors.torch.save({"features": features.contiguous()}, metadata=metadata)
    artifact.append(data, ".safetensors")


class StoredFeatures:
    """Hidden states of N questions in safetensors files, which are mapped only while they're read.

    Args:
        places: file and row in it, of each question.

    Attributes:
        shape: (N, L, D).
    """

    def __init__(self, places: Sequence[tuple[Path, int]]) -> None:
        self._places = list(places)
        _, layers, width = _feature_slice(self._places[0][0]).get_shape()
        self.shape = (len(self._places), layers, width)
        self._rows: dict[Path, tuple[list[int], list[int]]] = {}
        for position, (path, row) in enumerate(self._places):
            positions, rows = self._rows.setdefault(path, ([], []))
            positions.append(position)
            rows.append(row)

    def __add__(self, other: "StoredFeatures") -> "StoredFeatures":
        """Return the questions of both, one after the other."""
        return StoredFeatures(self._places + other._places)

    def layer(self, index: int) -> torch.Tensor:
        """Return one layer of all questions, [N, D] in float32."""
        result = torch.empty(self.shape[0], self.shape[2])
        for path, (positions, rows) in self._rows.items():
            part = _feature_slice(path)[:, index : index + 1]
            result[positions] = part[rows, 0].float()
        return result

    def rows(self, positions: Sequence[int]) -> torch.Tensor:
        """Return the hidden states of some questions, [len(positions), L, D] in float32."""
        places = [self._places[position] for position in positions]
        parts = {path: _feature_slice(path) for path in {path for path, _ in places}}
        return torch.cat([parts[path][row : row + 1] for path, row in places]).float()

    def blocks(self, most: int) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Yield positions and hidden states [at most ``most``, L, D], in float32, of all."""
        for path, (positions, rows) in self._rows.items():
            for start in range(0, len(rows), most):
                chosen = rows[start : start + most]
                low, high = min(chosen), max(chosen) + 1
                part = _feature_slice(path)[low:high]
                yield (
                    positions[start : start + most],
                    part[[row - low for row in chosen]].float(),
                )


def _feature_slice(path: Path) -> Any:
    """Return the hidden states of a part, to be read by slices; the mapping lives as long."""
    file: Any = safetensors.safe_open(path, framework="pt")
    return file.get_slice("features")


def read_features(artifact: Artifact) -> dict[tuple[str, str], tuple[Path, int]]:
    """Return where hidden states lie, file and row, by (question id, prompt hash)."""
    places: dict[tuple[str, str], tuple[Path, int]] = {}
    for path in artifact.parts(".safetensors"):
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        keys = zip(
            json.loads(metadata["question_ids"]), json.loads(metadata["prompt_hashes"]), strict=True
        )
        places.update({key: (path, row) for row, key in enumerate(keys)})
    return places
