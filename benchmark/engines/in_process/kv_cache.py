"""Keys and values of the rows that a batch is decoding, in tensors that grow with room to spare."""

from collections.abc import Sequence

import torch
from torch.nn import functional


class KVCache:
    """Keys and values of the running rows, per layer [rows, kv heads, positions, width].

    Attributes:
        lengths: tokens kept of each row [rows], on the CPU.
    """

    def __init__(self) -> None:
        self.lengths = torch.zeros(0, dtype=torch.long)
        self._positions = 0
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def reserve(self, rows: int, positions: int) -> None:
        """Grow, where needed, to hold ``rows`` rows of ``positions`` tokens, with room to spare."""
        had_rows, had_positions = len(self.lengths), self._positions
        if rows <= had_rows and positions <= had_positions:
            return
        rows = had_rows if rows <= had_rows else max(rows, 2 * had_rows)
        if positions > had_positions:
            self._positions = max(positions + 64, int(1.25 * had_positions))
        self.lengths = functional.pad(self.lengths, (0, rows - had_rows))
        for index, (keys, values) in self._layers.items():
            self._layers[index] = (
                _grown(keys, rows, self._positions),
                _grown(values, rows, self._positions),
            )

    def layer(
        self, index: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's keys and values; at first use made for such [1, heads, N, width]."""
        if index not in self._layers:
            rows, positions = len(self.lengths), self._positions
            keys, values = (
                new.new_zeros((rows, new.shape[1], positions, new.shape[3])) for new in (key, value)
            )
            self._layers[index] = (keys, values)
        return self._layers[index]

    @torch.inference_mode()  # as the passes that made the tensors
    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy the rows ``sources`` onto the rows ``targets``; none may be in both."""
        if not sources:
            return
        source, target = torch.tensor(sources), torch.tensor(targets)
        longest = int(self.lengths[source].max())
        self.lengths[target] = self.lengths[source]
        for keys, values in self._layers.values():
            keys[target, :, :longest] = keys[source, :, :longest]
            values[target, :, :longest] = values[source, :, :longest]

    @torch.inference_mode()
    def clear(self, rows: Sequence[int]) -> None:
        """Make the keys and values of rows 0."""
        for keys, values in self._layers.values():
            keys[list(rows)] = 0
            values[list(rows)] = 0


def _grown(tensor: torch.Tensor, rows: int, positions: int) -> torch.Tensor:
    had_rows, heads, had_positions, width = tensor.shape
    grown = tensor.new_empty((rows, heads, positions, width))
    grown[:had_rows, :, :had_positions] = tensor
    # What is masked must still be a number.
    grown[:had_rows, :, had_positions:] = 0
    grown[had_rows:] = 0
    return grown
