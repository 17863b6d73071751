r"""The grader ``math_verify``, for MATH: the last box, compared in killable worker processes.

A pair (reference, answer) is compared once, whatever number of responses gave it, and its
judgement is stored. An answer that takes too long, needs too much memory or kills its worker is
``unparsed`` with the reason; the worker is replaced.
"""

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import inf
from typing import TYPE_CHECKING

import polars as pl
from pebble import ProcessExpired, ProcessFuture, ProcessPool
from rich.console import Console

from benchmark.errors import ConfigError
from benchmark.grading.extract import last_box, visible, without_echo
from benchmark.grading.verdict import TRUNCATED, Answer, Verdict
from benchmark.progress import meter

if TYPE_CHECKING:
    from benchmark.grading.math_equality import Judgement
    from benchmark.store import Artifact

_VERSION = 1  # of the normalisation in math_equality; raise it when verdicts change
_WAITED = 500  # judgements of one stored part
_GROUP = 16  # pairs that travel to a worker together
_LOST = (FutureTimeoutError, ProcessExpired, MemoryError)

JUDGEMENT = pl.Schema(
    {
        "reference": pl.String(),
        "answer": pl.String(),
        "outcome": pl.String(),
        "reason": pl.String(),
    }
)

Pair = tuple[str, str]


@dataclass
class MathVerify:
    """Compares mathematical expressions.

    Attributes:
        seconds: of CPU time for one pair; its worker is killed after three times that by the clock.
        memory_mb: that a worker may allocate for one pair.
        most_characters: of an answer; longer ones are ``unparsed``.
        workers: processes; the verdicts don't depend on it.
    """

    kind: str = "math_verify"
    seconds: float = 5.0
    memory_mb: int = 1024
    most_characters: int = 2000
    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse limits that would let nothing through."""
        for name, value in asdict(self).items():
            if name != "kind" and not 0 < value < inf:
                raise ConfigError(f"math_verify: {name}={value} must be above 0 and finite.")

    @property
    def identity(self) -> dict[str, object]:
        """What the verdicts depend on."""
        return {
            "kind": self.kind, "seconds": self.seconds, "memory_mb": self.memory_mb,
            "most_characters": self.most_characters, "normalisation": _VERSION,
            "math-verify": version("math-verify"),
        }  # fmt: skip

    def grade(
        self, answers: Sequence[Answer], artifact: "Artifact", console: Console
    ) -> list[Verdict]:
        """Return the verdicts; judgements come from ``artifact`` or are added to it."""
        found = [self._extracted(answer) for answer in answers]
        pairs = {
            (reference, verdict.answer)
            for answer, verdict in zip(answers, found, strict=True)
            if verdict.rule is None and verdict.answer is not None
            for reference in answer.references
        }
        judgements = self._judgements(pairs, artifact, console)
        return [
            self._verdict(answer, verdict, judgements)
            for answer, verdict in zip(answers, found, strict=True)
        ]

    def _extracted(self, answer: Answer) -> Verdict:
        """Return the boxed answer with a provisional outcome, or why there is none."""
        if not answer.finished:
            return TRUNCATED
        box = last_box(without_echo(answer.text, answer.prompt))
        if box is None:
            return Verdict(None, "unparsed", "no box")
        box = " ".join(visible(box).split())
        if not box:
            return Verdict(None, "unparsed", "no box")
        if len(box) > self.most_characters:
            return Verdict(
                box[:200], "unparsed", f"longer than {self.most_characters:,} characters"
            )
        return Verdict(box, "incorrect")

    def _verdict(
        self, answer: Answer, found: Verdict, judgements: "dict[Pair, Judgement]"
    ) -> Verdict:
        if found.answer is None or found.rule is not None:
            return found
        of_pairs = [judgements[reference, found.answer] for reference in answer.references]
        outcome, reason = min(
            of_pairs, key=lambda j: ("correct", "incorrect", "unparsed").index(j[0])
        )
        return Verdict(found.answer, outcome, reason)

    def _judgements(
        self, pairs: set[Pair], artifact: "Artifact", console: Console
    ) -> "dict[Pair, Judgement]":
        with artifact.lock():
            known = {
                (row[0], row[1]): (row[2], row[3])
                for row in artifact.read_table(JUDGEMENT).iter_rows()
            }
            missing = sorted(pairs - known.keys())
            if missing:
                with meter(console, "Comparing answers", len(missing)) as progress:
                    fresh: list[tuple[str, ...]] = []
                    for pair, judgement in compare(missing, self):
                        known[pair] = judgement
                        fresh.append((*pair, *judgement))
                        progress.advance()
                        if len(fresh) == _WAITED:
                            artifact.append_table(pl.DataFrame(fresh, JUDGEMENT, orient="row"))
                            fresh = []
                    if fresh:
                        artifact.append_table(pl.DataFrame(fresh, JUDGEMENT, orient="row"))
            artifact.write_manifest({"pairs": len(known)}, {})
        return known


def compare(pairs: Sequence[Pair], limits: MathVerify) -> "Iterable[tuple[Pair, Judgement]]":
    """Yield each pair's judgement in the order given, from a pool of killable workers.

    Pairs travel in small groups; a group that doesn't come back is compared pair by pair.
    """
    from benchmark.grading.math_equality import judge_pairs, limit_worker  # sympy behind it is slow

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmark.grading.math_equality"])
    groups = [pairs[at : at + _GROUP] for at in range(0, len(pairs), _GROUP)]
    with ProcessPool(
        max_workers=min(limits.workers, len(groups)),
        initializer=limit_worker,
        initargs=(limits.memory_mb,),
        context=context,
    ) as pool:

        def schedule(group: Sequence[Pair]) -> "ProcessFuture[list[Judgement]]":
            return pool.schedule(
                judge_pairs, args=[group, limits.seconds], timeout=3 * limits.seconds
            )

        futures = [schedule(group) for group in groups]
        for group, future in zip(groups, futures, strict=True):
            try:
                judgements = future.result()
            except _LOST:
                alone = [schedule([pair]) for pair in group]
                judgements = [_result(single) for single in alone]
            yield from zip(group, judgements, strict=True)


def _result(future: "ProcessFuture[list[Judgement]]") -> "Judgement":
    try:
        return future.result()[0]
    except FutureTimeoutError:
        return "unparsed", "time limit"
    except ProcessExpired:
        return "unparsed", "worker died"
    except MemoryError:
        return "unparsed", "memory limit"
