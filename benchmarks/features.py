"""Time and memory of reading hidden states, against stacking all layers of padded batches.

    python benchmarks/features.py [--prompts 128] [--batch 16]

Each way runs in a process of its own, on the same random prompts of 30 to 600 tokens, and reports
its CPU seconds and peak memory; the values are compared.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from rich.console import Console

from benchmark.__main__ import CONF
from benchmark.config import register_schema
from benchmark.pipeline import build_engine
from benchmark.rules import checked


def main() -> None:
    """Run both ways and print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--way", choices=["capcal", "stacked"])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.way:
        measure(options)
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ("capcal", "stacked"):
            output = Path(folder) / f"{way}.pt"
            command = [sys.executable, __file__, "--way", way, "--output", output]
            command += ["--prompts", str(options.prompts), "--batch", str(options.batch)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results[way] = json.loads(printed.splitlines()[-1])
            results[way]["states"] = torch.load(output, weights_only=True)
            print(f"{way}: {results[way]['cpu']:.0f} CPU s, peak {results[way]['gb']:.2f} GB")
    ours, theirs = results["capcal"], results["stacked"]
    difference = (ours["states"] - theirs["states"]).abs()
    relative = difference.max() / theirs["states"].abs().max()
    print(f"CPU time: {theirs['cpu'] / ours['cpu']:.1f} x less, peak memory: "
          f"{theirs['gb'] / ours['gb']:.1f} x less")  # fmt: skip
    print(f"largest difference relative to the largest value: {relative:.1e}")


def measure(options: argparse.Namespace) -> None:
    """Read the states one way; print CPU seconds of that part and the process's peak memory."""
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["engine.device=cpu", "engine.dtype=float32"]
        config = checked(compose("config", overrides=overrides))
    engine = build_engine(config, Console(stderr=True))
    _ = engine._model
    prompts = make_prompts(options.prompts)
    before = cpu_seconds()
    if options.way == "capcal":
        states = torch.stack([states for _, states in engine.hidden_states(prompts)])
    else:
        states = stacked(engine, prompts, options.batch)
    cpu = cpu_seconds() - before
    torch.save(states, options.output)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"cpu": cpu, "gb": peak}))


def cpu_seconds() -> float:
    """Return the CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def make_prompts(count: int) -> dict[str, str]:
    """Return prompts whose rendered lengths spread over about 30 to 600 tokens."""
    torch.manual_seed(0)
    lengths = torch.randint(1, 560, (count,)).tolist()
    words = ["the", "number", "of", "cities", "in", "a", "country", "is", "seven", "and"]
    return {
        f"prompt-{i:04}": " ".join(words[(i + j * j) % len(words)] for j in range(length))
        for i, length in enumerate(lengths)
    }


@torch.inference_mode()
def stacked(engine, prompts: dict[str, str], batch: int) -> torch.Tensor:
    """The obvious way: pad, ask for all states and logits, stack, take the last token."""
    model = engine._model
    model.set_attn_implementation("sdpa")
    tokens = [engine._tokens(key, prompt) for key, prompt in prompts.items()]
    kept = []
    for start in range(0, len(tokens), batch):
        rows = tokens[start : start + batch]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [2] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        output = model(ids, attention_mask=mask, output_hidden_states=True)
        states = torch.stack(output.hidden_states, dim=1)
        last = mask.sum(-1) - 1
        kept.append(states[torch.arange(len(rows)), :, last])
    return torch.cat(kept)


if __name__ == "__main__":
    main()
