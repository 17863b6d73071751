"""Greedy budget allocation: one threshold for all samples, against one argmax per sample.

    python benchmarks/budget.py [--every] [--million]

Confidences are drawn from Beta(1/2, 1/2). The step-by-step way takes, for every sample, the largest
gain conf (1 - conf)^j over all questions: with the gains worked out anew at each step, with them
kept and one of them updated, and with a heap. The first two are timed on a part and extrapolated;
--every times them all. At the end, in a process of its own (--million alone), a million questions.
Times are CPU time; all ways run on one core.
"""

import argparse
import heapq
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmark.applications import greedy_budget_allocation

QUESTIONS, PER_QUESTION = 14_042, 32
MANY, PER_MANY = 1_000_000, 8
TIMED = 4_000  # steps of the slow ways
REPEATS = 20


def main() -> None:
    """Time all ways on the same confidences and compare what they allocate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", action="store_true", help="time every step of the slow ways")
    parser.add_argument("--million", action="store_true", help="a million questions only")
    options = parser.parse_args()
    if options.million:
        million()
        return
    confidences, budget = draw(QUESTIONS), PER_QUESTION * QUESTIONS
    greedy_budget_allocation(confidences, budget)  # loads what numpy loads late
    start = time.process_time()
    for _ in range(REPEATS):
        ours = greedy_budget_allocation(confidences, budget)
    seconds = (time.process_time() - start) / REPEATS
    print(f"{QUESTIONS:,} questions x {PER_QUESTION}: {1000 * seconds:.1f} ms (mean of {REPEATS})")
    for name, way in WAYS.items():
        steps = budget - QUESTIONS if options.every or way is heap else TIMED
        start = time.process_time()
        theirs = way(confidences, steps)
        whole = (time.process_time() - start) * (budget - QUESTIONS) / steps
        part = greedy_budget_allocation(confidences, QUESTIONS + steps)
        note = "all steps" if steps == budget - QUESTIONS else f"from {steps:,} steps"
        same = "same allocation" if np.array_equal(theirs, part) else "OTHER ALLOCATION"
        print(f"{name}: {whole:.2f} s ({note}), {whole / seconds:,.0f} x slower, {same}")
    print(f"expected solved questions: {(1 - (1 - confidences) ** ours).sum():.6f}")
    subprocess.run([sys.executable, __file__, "--million"], check=True)


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


def million() -> None:
    """Allocate to many questions and print time and peak memory."""
    confidences = draw(MANY)
    start = time.process_time()
    samples = greedy_budget_allocation(confidences, PER_MANY * MANY)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{MANY:,} questions x {PER_MANY}: {seconds:.2f} s, peak memory {peak:.0f} MiB "
        f"(at most {samples.max()} of one question, {samples.sum():,} in all)"
    )


if __name__ == "__main__":
    main()
