"""A trained probe: what the bank's choice leaves, small enough to be kept and used anywhere."""

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from benchmark.errors import DataError, StoreError
from benchmark.probes.features import feature_names, select_feature
from benchmark.records import PROBE_SELECTION, check_table

_ROWS = 1024


@dataclass(frozen=True)
class TrainedProbe:
    """A linear probe on one feature: sigmoid(((x - mean) / scale) weight + bias).

    Attributes:
        feature: its name among ``feature_names(layers)``.
        strength: L2 strength that it was trained with.
        layers: L, of the model that the features come from.
        weight: [D], float32, of the standardised feature.
        bias: [], float32.
        mean: [D], float32, over the training questions.
        scale: [D], float32, standard deviation over them; 1 where the feature is constant.
        selection: every probe that was tried, of schema ``PROBE_SELECTION``.
    """

    feature: str
    strength: float
    layers: int
    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    selection: pl.DataFrame

    def predict(self, features: torch.Tensor) -> torch.Tensor:
        """Return the confidences, [N] in [0, 1], in float64.

        Args:
            features: [N, L, D], of the model that the probe was trained on, finite.

        Raises:
            DataError: for another number of layers, another width, or features that are not finite.
        """
        expected = (self.layers, len(self.weight))
        if features.ndim != 3 or features.shape[1:] != expected:
            raise DataError(
                f"The probe expects features of [questions, {expected[0]} layers, width "
                f"{expected[1]}], not {list(features.shape)}: they come from another model."
            )
        index = feature_names(self.layers).index(self.feature)
        chunks = torch.split(features, _ROWS)
        logits = torch.cat([self._logits(select_feature(chunk, index)) for chunk in chunks])
        if not logits.isfinite().all():
            row = int((~logits.isfinite()).nonzero()[0])
            raise DataError(f"Row {row} of the features holds NaN or infinity at {self.feature}.")
        return logits.sigmoid()

    def _logits(self, rows: torch.Tensor) -> torch.Tensor:
        standardised = (rows.double() - self.mean.double()) / self.scale.double()
        return standardised @ self.weight.double() + self.bias.double()

    def save(self, folder: Path) -> None:
        """Write ``probe.safetensors``, ``probe.json`` and ``selection.parquet`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        save_file(tensors, folder / "probe.safetensors")
        card = {"feature": self.feature, "strength": self.strength, "layers": self.layers}
        (folder / "probe.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        self.selection.write_parquet(folder / "selection.parquet")

    @classmethod
    def load(cls, folder: Path) -> "TrainedProbe":
        """Return the probe that ``save`` wrote into ``folder``.

        Raises:
            StoreError: a file is missing or is not what ``save`` writes.
        """
        try:
            tensors = load_file(folder / "probe.safetensors")
            card = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
            selection = pl.read_parquet(folder / "selection.parquet")
            return cls(
                **{name: card[name] for name in _CARD},
                **{name: tensors[name] for name in _TENSORS},
                selection=check_table(selection, PROBE_SELECTION, "selection.parquet"),
            )
        except (OSError, ValueError, KeyError, SafetensorError, pl.exceptions.PolarsError) as error:
            raise StoreError(
                f"The probe in '{folder}' cannot be read ({error!r}); delete it and train it again."
            ) from error


_CARD = ("feature", "strength", "layers")
_TENSORS = ("weight", "bias", "mean", "scale")
