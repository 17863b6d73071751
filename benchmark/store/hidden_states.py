"""Hidden states on the disk: safetensors parts of an artifact, mapped only while they are read.

They are kept in the precision of the model that gave them, and read as float32. Checksums of parts,
which are gigabytes together, are remembered beside them: every cell of a model reads the same ones.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import safetensors
import safetensors.torch
import torch

from benchmark.errors import DataError, StoreError
from benchmark.store.artifact import Artifact
from benchmark.store.checksums import file_checksum
from benchmark.store.names import refuse_links
from benchmark.store.rows import MARK, Row, Rows

_PART_ROWS = 64  # questions of one part: the states of a large model are megabytes each
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
    keys = zip(question_ids, hashes, features, strict=True)
    rows: list[Row] = [
        {"question_id": key, "prompt_hash": checksum, "states": states}
        for key, checksum, states in keys
    ]
    artifact.append(_pack(rows, artifact.fingerprint), ".safetensors")


def _pack(rows: list[Row], mark: str) -> bytes:
    ids, hashes = ([row[name] for row in rows] for name in ("question_id", "prompt_hash"))
    metadata = {"question_ids": json.dumps(ids), "prompt_hashes": json.dumps(hashes), MARK: mark}
    states = torch.stack([row["states"] for row in rows])
    return bytes(safetensors.torch.save({"features": states}, metadata=metadata))


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
        for path in self._places["path"].unique():
            if (found := _feature_slice(path).get_shape()[1:]) != [layers, width]:
                raise StoreError(
                    f"{path} holds states of {found} layers and dimensions, the other parts of "
                    f"{[layers, width]}: it is another model's. Move it away and run again."
                )
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
    return artifact.read(HIDDEN_STATES, ["question_id", "prompt_hash"])


def _read(path: Path) -> tuple[pl.DataFrame, str | None]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            shape = file.get_slice("features").get_shape()
        ids, hashes = (json.loads(metadata[name]) for name in ("question_ids", "prompt_hashes"))
        place = {"path": [str(path)] * len(ids), "row": range(len(ids))}
        table = pl.DataFrame({"question_id": ids, "prompt_hash": hashes, **place}, _PLACE)
    except (
        safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError,
        pl.exceptions.PolarsError,
    ) as error:  # fmt: skip
        raise DataError(f"It can't be read: {error}") from error
    nulls = table.null_count().row(0)
    if len(shape) != 3 or shape[0] != table.height or any(nulls):
        raise DataError(f"It holds states of shape {shape} for {table.height} questions.")
    return table, metadata.get(MARK)


def _remembered(path: Path) -> str:
    memory = path.parent / ".hashed"
    refuse_links(path.parent, memory.name, "checksums")  # which are written
    return file_checksum(path, memory)


HIDDEN_STATES = Rows(
    _PLACE.to_frame(), ".safetensors", _read, _pack, "questions", most=_PART_ROWS,
    checksum=_remembered,
)  # fmt: skip
