"""Time and memory of reading hidden states, against stacking all layers of padded batches.

    python perf/features.py [--prompts 128] [--batch 16]

Each way runs in a process of its own, on the same random prompts of 30 to 600 tokens, and reports
its CPU seconds and peak memory; the values are compared.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from measured import Result, cpu_seconds, parser, peak_mb, tell
from rich.console import Console

from benchmark.config.checks import checked
from benchmark.config.composing import CONF
from benchmark.config.schema import register_schema
from benchmark.runs.one_cell import build_engine


def main() -> None:
    """Run both ways and print the ratios."""
    command = parser(__doc__)
    command.add_argument("--prompts", type=int)
    command.add_argument("--batch", type=int)
    command.add_argument("--way", choices=["capcal", "stacked"], help="one, as JSON")
    command.add_argument("--output", type=Path)
    options = command.parse_args()
    options.prompts = options.prompts or (6 if options.smoke else 128)
    options.batch = options.batch or (3 if options.smoke else 16)
    if options.way:
        read(options)
    else:
        tell(measure(options), options)


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Yield the CPU time and the memory of both ways, whose states are compared."""
    took = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ("capcal", "stacked"):
            output = Path(folder) / f"{way}.pt"
            command = [sys.executable, __file__, "--way", way, "--output", output]
            command += ["--prompts", str(options.prompts), "--batch", str(options.batch)]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            took[way] = json.loads(printed.splitlines()[-1])
            took[way]["states"] = torch.load(output, weights_only=True)
    ours, theirs = took["capcal"], took["stacked"]
    difference = (ours["states"] - theirs["states"]).abs().max() / theirs["states"].abs().max()
    what = f"hidden states of {options.prompts} prompts of 30 to 600 tokens"
    against = f"all layers stacked, padded, batches of {options.batch}"
    yield Result(
        what, f"{ours['cpu']:.0f} CPU s", f"{against}: {theirs['cpu']:.0f} CPU s, states differ by "
        f"{difference:.0e}", theirs["cpu"] / ours["cpu"], ours["mb"],
    )  # fmt: skip
    yield Result(
        f"{what}, memory", f"{ours['mb']:,.0f} MB", f"{against}: {theirs['mb']:,.0f} MB",
        theirs["mb"] / ours["mb"], ours["mb"],
    )  # fmt: skip


def read(options: argparse.Namespace) -> None:
    """Read the states one way; print CPU seconds of that part and the process's peak memory."""
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["engine.device=cpu", "engine.dtype=float32"]
        config = checked(compose("config", overrides=overrides))
    engine = build_engine(config, Path.cwd(), Console(stderr=True))
    _ = engine._model
    prompts = make_prompts(options.prompts)
    before = cpu_seconds()
    if options.way == "capcal":
        states = torch.stack([states for _, states in engine.hidden_states(prompts)])
    else:
        states = stacked(engine, prompts, options.batch)
    cpu = cpu_seconds() - before
    torch.save(states, options.output)
    print(json.dumps({"cpu": cpu, "mb": peak_mb()}))


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
    tokens = [*engine._tokens(prompts).values()]
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
