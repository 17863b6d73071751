"""Grading MATH: deduplicated and pooled, against one response after the other.

    python perf/grading.py [--questions 500] [--samples 100] [--repeats 0.9]
                                 [--one-by-one 1000]

Responses are simulated: every answer is an expression of its own that equals the reference or
not, and a share of the responses repeats an answer already given to the same question. One by one
is timed on a part of them, spread over all questions, and scaled up; the verdicts are compared.
"""

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from measured import Result, parser, peak_mb, tell
from rich.console import Console

from benchmark.grading import math_equality
from benchmark.grading.extract import last_box, without_echo
from benchmark.grading.math_verify import MathVerify
from benchmark.grading.verdict import Answer
from benchmark.store.artifact import Store

PROMPT = "Find the value.\n\nPut the final answer inside \\boxed{}."


def main() -> None:
    """Grade the same responses both ways and print times, their ratio and the memory."""
    command = parser(__doc__)
    command.add_argument("--questions", type=int, default=500)
    command.add_argument("--samples", type=int, default=100)
    command.add_argument("--repeats", type=float, default=0.9, help="share of repeated answers")
    command.add_argument("--one-by-one", type=int, default=1000, help="responses timed that way")
    options = command.parse_args()
    if options.smoke:
        options.questions, options.samples, options.one_by_one = 20, 20, 50
    tell(measure(options), options)


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Yield the time of grading everything, and of grading what the store knows."""
    answers = simulate(options.questions, options.samples, options.repeats)
    repeated = 1 - len(set(answers)) / len(answers)
    step = max(1, len(answers) // options.one_by_one)
    part = answers[::step]
    signal.signal(signal.SIGPROF, math_equality._expire)
    start = time.perf_counter()
    slow = [one_by_one(answer) for answer in part]
    theirs = (time.perf_counter() - start) * len(answers) / len(part)

    quiet = Console(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        artifact = Store(Path(folder), quiet).artifact("m", "math", "test", "verdicts", {})
        with Peak() as peak:
            start = time.perf_counter()
            verdicts = MathVerify().grade(answers, artifact, quiet)
            ours = time.perf_counter() - start
        start = time.perf_counter()
        again = MathVerify().grade(answers, artifact, quiet)
        stored = time.perf_counter() - start
    if [v.outcome for v in verdicts[::step]] != slow or verdicts != again:
        sys.exit("The ways judge differently.")
    what = f"grading {len(answers):,} MATH responses, {repeated:.0%} repeats"
    against = f"one by one, {len(part):,} timed: {theirs:.0f} s, the same verdicts"
    yield Result(what, f"{ours:.1f} s", against, theirs / ours, peak.mb)
    yield Result(
        f"{what}, again", f"{stored:.1f} s", f"the first time: {ours:.1f} s", ours / stored
    )


def simulate(questions: int, samples: int, repeats: float) -> list[Answer]:
    """Return responses whose answers are fractions, roots, polynomials and tuples."""
    rng = random.Random(0)
    answers = []
    for question in range(questions):
        a, b = rng.randint(2, 60), rng.randint(2, 60)
        reference, variants = FORMS[question % len(FORMS)](a, b)
        given = [next(variants)]
        for _ in range(samples):
            if rng.random() >= repeats:
                given.append(next(variants))
            text = f"After some steps I find \\boxed{{{rng.choice(given)}}}."
            answers.append(Answer(f"{question}. {PROMPT}", text, True, (reference,)))
    return answers


def _fraction(a: int, b: int):
    return f"\\frac{{{a}}}{{{b}}}", (
        f"\\frac{{{a * i}}}{{{b * i + i % 3 // 2}}}" for i in range(1, 10**6)
    )


def _root(a: int, b: int):
    return f"{a}\\sqrt{{{b}}}", (
        f"\\sqrt{{{a * a * b + i % 3 // 2}}}+{i}-{i}" for i in range(1, 10**6)
    )


def _polynomial(a: int, b: int):
    return f"x^2+{a}x+{b}", (f"{b}+{i}+x^2+{a}x-{i + i % 3 // 2}" for i in range(1, 10**6))


def _tuple(a: int, b: int):
    return f"({a},{b})", (f"({a}+{i}-{i},{b}+{i % 3 // 2}-0)" for i in range(1, 10**6))


FORMS = (_fraction, _root, _polynomial, _tuple)


def one_by_one(answer: Answer) -> str:
    """The obvious way: extract, parse and compare each response on its own."""
    math_equality._read.cache_clear()
    box = last_box(without_echo(answer.text, answer.prompt))
    return math_equality.judge_pair(answer.references[0], box, 5)[0]


class Peak:
    """Watches the largest memory of this process and its children while a block runs."""

    def __enter__(self) -> "Peak":
        self._most, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            total = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self._most = max(self._most, total)

    @property
    def mb(self) -> float:
        """The largest sum seen, at least this process's own peak, in MB."""
        return max(self._most / 2**20, peak_mb())


if __name__ == "__main__":
    main()
