"""Stage 5's probes: features of hidden states, a bank of probes trained at once, the chosen one."""

from benchmark.probes.bank import train_probe
from benchmark.probes.features import FeatureSet
from benchmark.probes.probe import TrainedProbe

__all__ = ["FeatureSet", "TrainedProbe", "train_probe"]
