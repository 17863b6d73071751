"""Time, Brier score and memory of the probe bank, against one probe at a time as in the paper.

    python perf/probes.py [--every]        # N = 4000 + 1000, 9 layers, D = 1024
    python perf/probes.py --large          # N = 11,500 + 1,000, 33 layers, D = 4096, on disk

Features are synthetic: correlated like hidden states, with a planted logit that one layer holds but
for some noise, and counts c of n = 100 (10 for --large). The paper's way trains every layer and
their mean with SGD, batch 32, 100 epochs, at 6 learning rates x 2 standardisations: 120 probes, of
which --every trains all; else 4 are timed (on the planted layer at the highest rates) and the rest
is extrapolated. Each way runs in a process of its own, and reports its peak memory; features lie in
safetensors files, mapped while they're read.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from measured import Result, parser, peak_mb, tell
from rich.console import Console

from benchmark.probes import FeatureSet, ProbeSettings, train_probe
from benchmark.probes.features import select_feature
from benchmark.store.artifact import Store
from benchmark.store.hidden_states import StoredFeatures, append_features, read_features

STRENGTHS = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0]
RATES = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4]
EPOCHS, BATCH = 100, 32
TIMED = 4  # probes of the paper's way
PART = 250  # questions of a file
SIZES = {  # training and validation questions, layers, width, n
    "full": (4_000, 1_000, 9, 1024, 100),
    "large": (11_500, 1_000, 33, 4096, 10),
    "smoke": (300, 100, 3, 64, 100),
}


def main() -> None:
    """Make the features, run both ways and print the ratio."""
    command = parser(__doc__)
    command.add_argument("--every", action="store_true", help="train all probes of the paper's way")
    command.add_argument("--large", action="store_true", help="33 layers, width 4096, 6.8 GB")
    command.add_argument("--way", choices=[*WAYS], help="one, in --folder, as JSON")
    command.add_argument("--folder", type=Path)
    options = command.parse_args()
    if options.way:
        print(json.dumps(WAYS[options.way](options)))
        return
    tell(measure(options), options)


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Yield what the bank took, against one probe after the other but for --large."""
    train, validation, layers, width, _ = SIZES[size_of(options)]
    with tempfile.TemporaryDirectory() as folder:
        run("make", options, folder)
        bank = run("bank", options, folder)
        what = (
            f"{bank['probes']} probes: {layers} layers and 2 poolings x {len(STRENGTHS)} strengths,"
            f" {train:,} + {validation:,} questions, width {width:,}"
        )
        took = f"{bank['seconds']:.1f} s, validation Brier {bank['brier']:.4f}"
        if options.large:
            yield Result(what, took, peak_mb=bank["mb"])
            return
        paper = run("paper", options, folder)
        note = "all trained" if options.every else f"{TIMED} timed, the likely best"
        against = (
            f"SGD, one after another, {paper['probes']} probes ({note}): {paper['seconds']:.0f} s, "
            f"validation Brier {paper['brier']:.4f}"
        )
        yield Result(what, took, against, paper["seconds"] / bank["seconds"], bank["mb"])


def size_of(options: argparse.Namespace) -> str:
    """Return which of the sizes is asked for."""
    return "smoke" if options.smoke else "large" if options.large else "full"


def run(way: str, options: argparse.Namespace, folder: str) -> dict:
    """Return what one way measured in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--folder", folder]
    flags = ("--every", "--large", "--smoke")
    command += [flag for flag in flags if getattr(options, flag[2:])]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def make(options: argparse.Namespace) -> dict:
    """Write features and counts, a part at a time."""
    train, validation, layers, width, n = SIZES[size_of(options)]
    generator = torch.Generator().manual_seed(0)
    spread = torch.arange(1, width + 1) ** -0.5  # of the principal axes, as in hidden states
    weight = torch.randn(width, generator=generator)
    planted = planted_layer(layers)
    counts = {}
    for split, questions in (("train", train), ("validation", validation)):
        artifact = artifact_of(options.folder, split)
        rates = []
        with artifact.lock():
            for start in range(0, questions, PART):
                rows = min(PART, questions - start)
                states = torch.randn(rows, layers, width, generator=generator) * spread
                logit = states[:, planted] @ (weight / (spread * weight).norm())
                unseen = torch.randn(rows, generator=generator)
                rates.append((2 * logit + 0.8 * unseen).sigmoid())
                ids = [f"{split}/{start + row:05d}" for row in range(rows)]
                append_features(artifact, ids, ids, mix(states))
        tries = torch.full((questions,), float(n))
        counts[split] = torch.binomial(tries, torch.cat(rates), generator=generator).tolist()
    (options.folder / "counts.json").write_text(json.dumps({"n": n, **counts}))
    return {"layer": planted}


def planted_layer(layers: int) -> int:
    """Return the layer that holds the logit."""
    return 2 * layers // 3


def mix(states: torch.Tensor) -> torch.Tensor:
    """Return the states with their axes mixed, by a fixed orthogonal transform."""
    size = states.shape[-1]
    signs = torch.where(torch.rand(size, generator=torch.Generator().manual_seed(1)) < 0.5, -1, 1)
    mixed = (states * signs).reshape(*states.shape[:-1], size)
    half = 1
    while half < size:  # Walsh and Hadamard's transform
        pairs = mixed.reshape(*states.shape[:-1], size // (2 * half), 2, half)
        mixed = torch.stack([pairs[..., 0, :] + pairs[..., 1, :],
                             pairs[..., 0, :] - pairs[..., 1, :]], dim=-2)  # fmt: skip
        mixed = mixed.reshape(*states.shape[:-1], size)
        half *= 2
    return (mixed / size**0.5).contiguous()


def artifact_of(folder: Path, split: str):
    """Return where the features of a split lie."""
    return Store(folder, Console(stderr=True)).artifact("planted", "synthetic", split, "f", {})


def splits(folder: Path) -> list[FeatureSet]:
    """Return both splits, their features on the disk."""
    counts = json.loads((folder / "counts.json").read_text())
    sets = []
    for split in ("train", "validation"):
        places = read_features(artifact_of(folder, split))
        places = places.sort("question_id")
        correct = torch.tensor(counts[split]).long()
        n = torch.full_like(correct, counts["n"])
        ids = places["question_id"].to_list()
        sets.append(FeatureSet(ids, StoredFeatures(places), n, correct))
    return sets


def bank(options: argparse.Namespace) -> dict:
    """Train all probes at once."""
    train, validation = splits(options.folder)
    start = time.perf_counter()
    probe = train_probe(train, validation, ProbeSettings(strengths=STRENGTHS))
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "probes": len(probe.selection),
        "brier": probe.selection["validation_brier"].min(),
        "mb": peak_mb(),
    }


def paper(options: argparse.Namespace) -> dict:
    """Train one probe after another with mini-batch SGD."""
    train, validation = splits(options.folder)
    layers = train.features.shape[1]
    features = [*range(layers), layers]  # every layer, and their mean
    grid = [(f, rate, scaled) for f in features for rate in RATES for scaled in (False, True)]
    on_planted = [setting for setting in grid if setting[0] == planted_layer(layers)]
    todo = grid if options.every else on_planted[-TIMED:]  # the highest rates
    briers = []
    start = time.perf_counter()
    for feature, rate, scaled in todo:
        x, held = (select_feature(split.features, feature) for split in (train, validation))
        if scaled:
            mean, scale = x.mean(0), x.std(0)
            x, held = (x - mean) / scale, (held - mean) / scale
        model = sgd(x, (train.c / train.n).float(), rate, 2 if options.smoke else EPOCHS)
        with torch.no_grad():
            error = model(held).squeeze(-1).sigmoid() - validation.c / validation.n
        briers.append(error.square().mean().item())
    seconds = (time.perf_counter() - start) * len(grid) / len(todo)
    return {"seconds": seconds, "probes": len(grid), "brier": min(briers)}


def sgd(x: torch.Tensor, target: torch.Tensor, rate: float, epochs: int) -> torch.nn.Linear:
    """Return a linear probe trained as in the paper's search."""
    torch.manual_seed(42)
    model = torch.nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=0.01)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            logits = model(x[rows]).squeeze(-1)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


WAYS = {"make": make, "bank": bank, "paper": paper}

if __name__ == "__main__":
    main()
