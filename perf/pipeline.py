"""A whole cell but for its model: 14,042 questions x 100 responses, from grading to the report.

    python perf/pipeline.py [--questions 14042] [--samples 100] [--shares 0.0625 0.25 1]

The engine draws answers to questions like MMLU's at random and at once; everything else is the
pipeline's own: the store, grading, capability, 16 estimators (12 that cost responses, states or
training, isotonic and Platt's rows among them), every metric with 1,000 resamples, all paired
differences, the applications and the report. Each size runs in a process of its own; printed are
the seconds of each stage, their sum per response, and the peak memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from measured import Result, parser, peak_mb, tell
from rich.console import Console

from benchmark.applications import build_applications
from benchmark.cell.cell import Cell
from benchmark.cell.saved import save_cell
from benchmark.cell.stages import SAMPLED
from benchmark.config.checks import checked
from benchmark.config.composing import CONF
from benchmark.config.schema import Config, register_schema
from benchmark.engines import ChoiceProbabilities, Decoding, Response, SampleRequest
from benchmark.estimators import build_estimators
from benchmark.records import Question, question_table
from benchmark.report.grid import make_grid
from benchmark.report.report import write_report
from benchmark.runs.one_cell import _apply, _evaluate
from benchmark.store.artifact import Store

ESTIMATORS = (
    "random", "oracle_cc", "oracle_rc", "verbalized", "p_true", "consistency_5", "consistency_10",
    "consistency_20", "consistency_response", "train_mean", "family_mean", "question_length",
    "tfidf", "probe_own", "verbalized_isotonic", "p_true_platt",
)  # fmt: skip
FAMILIES = 57
LAYERS, WIDTH = 3, 256
REASONING = "The options are compared one by one, and what contradicts the question is left out. "


class SimulatedEngine:
    """Solves question i with a probability that is drawn for it, and knows it but for noise."""

    identity: Mapping[str, object] = {"weights": "simulated"}
    precisions: Mapping[str, str] = {}
    settings: Mapping[str, object] = {}

    def __init__(self) -> None:
        self._known: dict[int, float] = {}

    def p(self, prompt: str) -> float:
        """Return the expected accuracy of the prompt's question."""
        number = int(prompt.rpartition("What holds of number ")[2].split("?")[0])
        if number not in self._known:
            rng = np.random.default_rng(number)
            self._known[number] = float(rng.beta(1.2, 0.8))
        return self._known[number]

    def sample(self, requests: Sequence[SampleRequest], _: Decoding) -> Iterator[Response]:
        """Yield a reasoned answer, or what is stated where a probability is asked for."""
        for request in requests:
            p, rng = self.p(request.prompt), np.random.default_rng(request.seeds[0])
            stated = "probability" in request.prompt
            right = rng.random(len(request.seeds)) < p
            cut, wrong = rng.random(len(right)) < 0.02, rng.integers(3, size=len(right))
            for i, (index, seed) in enumerate(
                zip(request.sample_indices, request.seeds, strict=True)
            ):
                said = f"{np.clip(p + rng.normal(0, 0.2), 0, 1):.2f}" if stated else ""
                answer = said or ("A" if right[i] else "BCD"[wrong[i]])
                text = f"{REASONING * 3}So it is \\boxed{{{answer}}}."
                reason = "length" if cut[i] and not stated else "stop"
                yield Response(request.question_id, index, text, None, reason, 120, 60, seed)

    def choice_probabilities(
        self, requests: Sequence[SampleRequest], *_: object
    ) -> Iterator[tuple[str, ChoiceProbabilities]]:
        """Yield P(True), which is overconfident."""
        for request in requests:
            yes = self.p(request.prompt) ** 0.5
            choices = {"Yes": yes, "No": 1 - yes}
            yield request.question_id, ChoiceProbabilities(choices, 120)

    def hidden_states(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield states of which one holds the logit."""
        for key, prompt in prompts.items():
            p = self.p(prompt)
            seed = torch.Generator().manual_seed(zlib.crc32(prompt.encode()))
            states = torch.randn(LAYERS, WIDTH, generator=seed)
            states[1, 0] += 2 * np.log(p / (1 - p))
            yield key, states

    def prompt_tokens(self, _: Mapping[str, str]) -> dict[str, int]:
        """Return nothing: no server renders these prompts in another way."""
        return {}

    def close(self) -> None:
        """Do nothing."""


def main() -> None:
    """Run each size in a process of its own and print what it took."""
    command = parser(__doc__)
    command.add_argument("--questions", type=int, default=14_042)
    command.add_argument("--samples", type=int, default=100)
    command.add_argument("--shares", type=float, nargs="+", default=[1 / 16, 1 / 4, 1])
    command.add_argument("--one", action="store_true", help="this size, here, as JSON")
    options = command.parse_args()
    if options.smoke:
        options.questions, options.samples, options.shares = 200, 30, [1]
    if options.one:
        print(json.dumps(run(options.questions, options.samples)))
    else:
        tell(measure(options), options)


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Yield the seconds of each size, all its stages together and apart."""
    for share in options.shares:
        questions = round(share * options.questions)
        command = [sys.executable, __file__, "--one", "--questions", str(questions)]
        command += ["--samples", str(options.samples)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        took = json.loads(printed.splitlines()[-1])
        whole = sum(took["seconds"].values())
        each = 1e6 * whole / (questions * options.samples)
        stages = ", ".join(f"{name} {value:.0f} s" for name, value in took["seconds"].items())
        yield Result(
            f"a cell of {questions:,} questions x {options.samples}, {len(ESTIMATORS)} estimators, "
            "all but its model",
            f"{whole:.0f} s ({each:.0f} µs a response): {stages}",
            peak_mb=took["mb"],
        )


def run(questions: int, samples: int) -> dict:
    """Return the seconds of each stage and the peak memory of the process."""
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [
            "dataset=mmlu", f"estimator=[{','.join(ESTIMATORS)}]", f"sampling.k={samples}"
        ]  # fmt: skip
        config: Config = checked(compose("config", overrides=overrides))
    seconds: dict[str, float] = {}
    quiet = Console(file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store", quiet)
        asked = {
            role: question_table(simulated_questions(role, count))
            for role, count in (("evaluation", questions), ("train", 1_500), ("validation", 300))
        }
        cell = Cell(config, asked, SimulatedEngine(), store, quiet, SAMPLED)
        clock = Clock(seconds)
        cell.sample(cell.responses("evaluation"), cell.decoding())
        clock.lap("responses to the store")
        cell.split("evaluation")
        clock.lap("grading and capability")
        result = _evaluate(cell, {}, build_estimators(config.estimator, config.sampling))
        clock.lap("estimators and metrics")
        artifact = store.artifact("m", "mmlu", "test", "cell", {})
        result, _ = _apply(result, build_applications(config.application), artifact, config)
        clock.lap("applications")
        save_cell(result, artifact, {}, complete=True)
        clock.lap("finished cell")
        write_report(make_grid([result]), Path(folder) / "report")
        clock.lap("report")
    return {"seconds": seconds, "mb": peak_mb()}


class Clock:
    """Tells the stages' times apart."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds, self._last = seconds, time.perf_counter()

    def lap(self, stage: str) -> None:
        """Note the time since the last lap."""
        now = time.perf_counter()
        self._seconds[stage], self._last = now - self._last, now


def simulated_questions(role: str, count: int) -> list[Question]:
    """Return questions with four choices in 57 families."""
    choices = "\n".join(f"{letter}. Choice {letter}" for letter in "ABCD")
    offset = {"evaluation": 0, "train": 10**6, "validation": 2 * 10**6}[role]
    return [
        Question(
            f"mmlu/{role}/{i:05d}",
            f"What holds of number {offset + i}?\n\n{choices}\n\nGive the letter.",
            f"What holds of number {offset + i}?",
            ("A",),
            {"family": f"family {i % FAMILIES}"},
        )
        for i in range(count)
    ]


if __name__ == "__main__":
    main()
