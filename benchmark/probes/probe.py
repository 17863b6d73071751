"""A trained probe: what the bank's choice leaves, small enough to be kept and used anywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import load, save

from benchmark.errors import DataError, StoreError
from benchmark.probes.features import feature_names, select_feature
from benchmark.probes.settings import OBJECTIVES, Setting
from benchmark.store.hidden_states import StoredFeatures
from benchmark.store.names import open_plain

PARAMETERS = ("weight", "bias", "hidden_weight", "hidden_bias")
_FILE = "probe.safetensors"
_MOST_BYTES = 2**28  # of a probe's file
_MOST_NUMBERS = 2**26  # of a question's hidden states: a card that says more would fill the memory


@dataclass(frozen=True)
class TrainedProbe:
    """A probe on one feature: the logit of ((x - mean) / scale) as confidence.

    Attributes:
        feature: its name among ``feature_names(layers)``.
        objective: that it was trained with; squared clips its output, binomial gives logits.
        setting: hyper-parameters that were chosen.
        layers: L, of the model that the features come from.
        mean: [D], float32, over the training questions.
        scale: [D], float32, standard deviation over them; 1 where the feature is constant.
        parameters: ``weight`` [D] and ``bias`` [], float32; with a hidden layer ``weight`` [K],
            ``bias`` [], ``hidden_weight`` [D, K] and ``hidden_bias`` [K].
        selection: every probe that was tried, of schema ``PROBE_SELECTION``; None once loaded.
        step: difference between the numbers of two of the L layers that stand side by side.
    """

    feature: str
    objective: str
    setting: Setting
    layers: int
    mean: torch.Tensor
    scale: torch.Tensor
    parameters: dict[str, torch.Tensor]
    selection: pl.DataFrame | None = None
    step: int = 1

    def predict(self, features: torch.Tensor | StoredFeatures) -> torch.Tensor:
        """Return the confidences, [N] in [0, 1], in float64.

        Args:
            features: [N, L, D], of the model that the probe was trained on, finite.

        Raises:
            DataError: for another number of layers, another width, or features that are not finite.
        """
        expected = (self.layers, len(self.mean))
        if tuple(features.shape[1:]) != expected:
            raise DataError(
                f"The probe expects features of [questions, {expected[0]} layers, width "
                f"{expected[1]}], not {list(features.shape)}: they come from another model."
            )
        rows = select_feature(features, feature_names(self.layers, self.step).index(self.feature))
        if not rows.isfinite().all():
            row = int((~rows.isfinite()).any(dim=1).nonzero()[0])
            raise DataError(f"Row {row} of the features holds NaN or infinity at {self.feature}.")
        standardised = (rows.double() - self.mean.double()) / self.scale.double()
        own = {name: value.double()[None, None] for name, value in self.parameters.items()}
        return confidences_of(logits_of(own, standardised[None])[0, 0], self.objective)

    def save(self, folder: Path) -> None:
        """Write the numbers as ``probe.safetensors`` into ``folder``; ``card`` has the rest."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_bytes(self._numbers())

    def _numbers(self) -> bytes:
        tensors = {"mean": self.mean, "scale": self.scale, **self.parameters}
        data: bytes = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        return data

    def card(self) -> dict[str, Any]:
        """Return what the numbers mean, as JSON: what ``load`` needs beside them."""
        return {
            "feature": self.feature,
            "objective": self.objective,
            "setting": self.setting._asdict(),
            "layers": self.layers,
            "step": self.step,
            "sha256": sha256(self._numbers()).hexdigest(),
        }

    def validation(self) -> dict[str, float]:
        """Return the chosen probe's Brier scores, of schema ``PROBE_SELECTION``."""
        assert self.selection is not None
        chosen = self.selection.row(by_predicate=pl.col("chosen"), named=True)
        return {key: chosen[key] for key in ("train_brier", "validation_brier")}

    @classmethod
    def load(cls, folder: Path, card: dict[str, Any]) -> "TrainedProbe":
        """Return the probe that ``save`` wrote into ``folder``.

        Raises:
            StoreError: the file is missing or is not what ``save`` wrote beside this card.
        """
        try:
            with open_plain(folder / _FILE) as file:  # no pipe that is waited for
                numbers = file.read(_MOST_BYTES + 1)
            _require(len(numbers) <= _MOST_BYTES, f"{_FILE} has more than {_MOST_BYTES:,} bytes")
            _require(sha256(numbers).hexdigest() == card["sha256"], f"{_FILE} was changed")
            _require(card["objective"] in OBJECTIVES, f"objective={card['objective']!r}")
            tensors = load(numbers)
            most = _MOST_NUMBERS // max(1, len(tensors["mean"]))
            _require(0 < card["layers"] <= most, f"layers={card['layers']!r}")
            for name, tensor in tensors.items():
                _require(bool(tensor.isfinite().all()), f"{name} is not finite")
            _require(bool((tensors["scale"] > 0).all()), "scale is not above 0")
            probe = cls(
                feature=card["feature"],
                objective=card["objective"],
                setting=Setting(**card["setting"]),
                layers=card["layers"],
                step=card.get("step", 1),
                mean=tensors["mean"],
                scale=tensors["scale"],
                parameters={name: tensors[name] for name in PARAMETERS if name in tensors},
            )
            probe.predict(torch.zeros(1, probe.layers, len(probe.mean)))  # the parts fit together
        except Exception as error:  # of whatever the card or the file holds
            raise StoreError(
                f"The probe in '{folder}' cannot be read ({error!r}); export it again."
            ) from error
        return probe


def _require(holds: bool, fault: str) -> None:
    if not holds:
        raise ValueError(fault)


def logits_of(parameters: Mapping[str, torch.Tensor], features: torch.Tensor) -> torch.Tensor:
    """Return the logits [F, S, N] of F feature sets under S probes each.

    Args:
        parameters: ``weight`` [F, S, K] and ``bias`` [F, S]; for a hidden layer of K units also
            ``hidden_weight`` [F, S, D, K] and ``hidden_bias`` [F, S, K], else K = D.
        features: [F, N, D], standardised.
    """
    weight, bias = parameters["weight"], parameters["bias"][..., None]
    if "hidden_weight" not in parameters:
        return weight @ features.mT + bias
    hidden = features[:, None] @ parameters["hidden_weight"]
    units = (hidden + parameters["hidden_bias"][:, :, None]).relu()
    return (units @ weight[..., None]).squeeze(-1) + bias


def confidences_of(outputs: torch.Tensor, objective: str) -> torch.Tensor:
    """Return the confidences, in [0, 1], that a probe's outputs stand for."""
    return outputs.clamp(0, 1) if objective == "squared" else outputs.sigmoid()
