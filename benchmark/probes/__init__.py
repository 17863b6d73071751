"""Stage 5's probes: features of hidden states, a bank of probes trained at once, the chosen one."""

from benchmark.probes.bank import train_probe
from benchmark.probes.capability_probe import CapabilityProbe
from benchmark.probes.features import FeatureSet
from benchmark.probes.probe import TrainedProbe
from benchmark.probes.settings import ProbeSettings

__all__ = ["CapabilityProbe", "FeatureSet", "ProbeSettings", "TrainedProbe", "train_probe"]
