"""Stage 5's probes: features of hidden states, a bank of probes trained at once, the chosen one."""

from typing import TYPE_CHECKING, Any

from benchmark.probes.capability_probe import CapabilityProbe
from benchmark.probes.features import FeatureSet
from benchmark.probes.probe import TrainedProbe
from benchmark.probes.settings import ProbeSettings

if TYPE_CHECKING:
    from benchmark.probes.bank import train_probe

__all__ = ["CapabilityProbe", "FeatureSet", "ProbeSettings", "TrainedProbe", "train_probe"]


def __getattr__(name: str) -> Any:
    """Import Lightning, which takes seconds, only where a probe is trained."""
    if name != "train_probe":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from benchmark.probes.bank import train_probe

    return train_probe
