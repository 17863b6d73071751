"""Hidden states on the disk: safetensors parts of an artifact, mapped only while they are read.

They are kept in the precision of the model that gave them, and read as float32. Checksums of parts,
which are gigabytes together, are remembered beside them: every cell of a model reads the same ones.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import polars as pl
import safetensors
import safetensors.torch
import torch

from benchmark.store.artifact import Artifact
from benchmark.store.checksums import file_checksum
from benchmark.store.rows import Row, Rows

_PART_ROWS = 64  # questions of one part: a large model's states are megabytes each
_PLACE = pl.Schema(
    {
        "question_id": pl.String(),
        "prompt_hash": pl.String(),
        "path": pl.String(),  # of the part
        "row": pl.Int64(),  # in it
    }
)


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
        places: columns ``path`` and ``row`` of ``read_features``, in the order of the questions.

    Attributes:
        shape: (N, L, D).
    """

    def __init__(self, places: pl.DataFrame) -> None:
        self._places = places.select("path", "row")
        _, layers, width = _feature_slice(self._places["path"][0]).get_shape()
        self.shape = (self._places.height, layers, width)
        self._rows: dict[str, tuple[list[int], list[int]]] = {}
        for position, (path, row) in enumerate(self._places.iter_rows()):
            positions, rows = self._rows.setdefault(path, ([], []))
            positions.append(position)
            rows.append(row)

    def __add__(self, other: "StoredFeatures") -> "StoredFeatures":
        """Return the questions of both, one after the other."""
        return StoredFeatures(pl.concat([self._places, other._places]))

    def layer(self, index: int) -> torch.Tensor:
        """Return one layer of all questions, [N, D] in float32."""
        result = torch.empty(self.shape[0], self.shape[2])
        for path, (positions, rows) in self._rows.items():
            part = _feature_slice(path)[:, index : index + 1]
            result[positions] = part[rows, 0].float()
        return result

    def rows(self, positions: Sequence[int]) -> torch.Tensor:
        """Return the hidden states of some questions, [len(positions), L, D] in float32."""
        places = self._places[list(positions)].rows()
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


def _feature_slice(path: str) -> Any:
    """Return the hidden states of a part, to be read by slices; the mapping lives as long."""
    file: Any = safetensors.safe_open(path, framework="pt")
    return file.get_slice("features")


def read_features(artifact: Artifact) -> pl.DataFrame:
    """Return where hidden states lie: question_id, prompt_hash, path of the part, row in it."""
    tables = [_PLACE.to_frame()]
    checksum = partial(file_checksum, memory=artifact.folder)
    for path in artifact.parts(".safetensors", checksum):
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        ids, hashes = (json.loads(metadata[name]) for name in ("question_ids", "prompt_hashes"))
        place = {"path": [str(path)] * len(ids), "row": range(len(ids))}
        tables.append(pl.DataFrame({"question_id": ids, "prompt_hash": hashes, **place}, _PLACE))
    return pl.concat(tables)


def _append(artifact: Artifact, rows: list[Row]) -> None:
    ids, hashes = ([row[name] for row in rows] for name in ("question_id", "prompt_hash"))
    append_features(artifact, ids, hashes, torch.stack([row["states"] for row in rows]))


HIDDEN_STATES = Rows(read_features, _append, "questions", most=_PART_ROWS)
