"""Greedy budget allocation: one threshold for all samples, against one argmax per sample.

    python perf/budget.py [--every]

Confidences are drawn from Beta(1/2, 1/2). The step-by-step way takes, for every sample, the largest
gain conf (1 - conf)^j over all questions: with the gains worked out anew at each step, with them
kept and one of them updated, and with a heap. The first two are timed on a part and extrapolated;
--every times them all. At the end, in a process of its own, a million questions. Times are CPU
time; all ways run on one core.
"""

import heapq
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from measured import Result, parser, peak_mb, tell

from benchmark.applications import greedy_budget_allocation

PER_QUESTION, PER_MANY = 32, 8
REPEATS = 20


def main() -> None:
    """Time all ways on the same confidences and compare what they allocate."""
    command = parser(__doc__)
    command.add_argument("--every", action="store_true", help="time every step of the slow ways")
    command.add_argument("--many", type=int, help="that many questions only, as JSON")
    options = command.parse_args()
    if options.many:
        print(json.dumps(many(options.many)))
        return
    tell(measure(options.every, *((500, 200, 20_000) if options.smoke else FULL)), options)


FULL = 14_042, 4_000, 1_000_000  # questions, timed steps of the slow ways, many questions


def measure(every: bool, questions: int, timed: int, many: int) -> Iterator[Result]:
    """Yield our time against each other way, then that of many questions."""
    confidences, budget = draw(questions), PER_QUESTION * questions
    greedy_budget_allocation(confidences, budget)  # loads what numpy loads late
    start = time.process_time()
    for _ in range(REPEATS):
        greedy_budget_allocation(confidences, budget)
    seconds = (time.process_time() - start) / REPEATS
    for name, way in WAYS.items():
        steps = budget - questions if every or way is heap else timed
        start = time.process_time()
        theirs = way(confidences, steps)
        whole = (time.process_time() - start) * (budget - questions) / steps
        part = greedy_budget_allocation(confidences, questions + steps)
        if not np.array_equal(theirs, part):
            sys.exit(f"{name} allocates otherwise.")
        note = "all steps" if steps == budget - questions else f"from {steps:,} steps"
        yield Result(
            f"greedy allocation, {questions:,} questions x {PER_QUESTION} samples",
            f"{1000 * seconds:.1f} ms",
            f"{name}: {whole:.2g} s ({note}), the same allocation",
            whole / seconds,
        )
    command = [sys.executable, __file__, "--many", str(many)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, memory = json.loads(printed)
    yield Result(
        f"greedy allocation, {many:,} questions x {PER_MANY} samples", f"{seconds:.2f} s",
        peak_mb=memory,
    )  # fmt: skip


def draw(questions: int) -> np.ndarray:
    """Return confidences of which most are near 0 or 1."""
    return np.random.default_rng(0).beta(0.5, 0.5, questions)


def anew(confidences: np.ndarray, steps: int) -> np.ndarray:
    """Take the largest gain, worked out anew for all questions at each step."""
    samples = np.ones(len(confidences), dtype=np.int64)
    for _ in range(steps):
        samples[np.argmax(confidences * (1 - confidences) ** samples)] += 1
    return samples


def kept(confidences: np.ndarray, steps: int) -> np.ndarray:
    """Take the largest gain and update that question's."""
    samples = np.ones(len(confidences), dtype=np.int64)
    gains = confidences * (1 - confidences)
    for _ in range(steps):
        best = np.argmax(gains)
        samples[best] += 1
        gains[best] *= 1 - confidences[best]
    return samples


def heap(confidences: np.ndarray, steps: int) -> np.ndarray:
    """Take the largest gain from a heap."""
    samples = np.ones(len(confidences), dtype=np.int64)
    entries = [(-gain, i) for i, gain in enumerate((confidences * (1 - confidences)).tolist())]
    heapq.heapify(entries)
    for _ in range(steps):
        gain, best = entries[0]
        samples[best] += 1
        heapq.heapreplace(entries, (gain * (1 - confidences[best]), best))
    return samples


WAYS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "argmax, gains anew at each step": anew,
    "argmax, gains kept": kept,
    "heap": heap,
}


def many(questions: int) -> tuple[float, float]:
    """Return the seconds of allocating to many questions, and the peak memory in MB."""
    confidences = draw(questions)
    start = time.process_time()
    greedy_budget_allocation(confidences, PER_MANY * questions)
    return time.process_time() - start, peak_mb()


if __name__ == "__main__":
    main()
