r"""The grader ``math_verify``, for MATH: the last box, compared in killable worker processes.

Boxes that only a comma, "and" or "or" parts from the last one belong to it.

A pair of a reference and an answer is compared once, however many responses gave it, and its
judgement is stored. A pair that takes too long, needs too much memory or kills its worker is
compared once more alone. If that fails, too, it is ``unparsed`` with the reason; this is not
stored, and the next run tries again. Time is CPU time, so that no verdict depends on what else the
machine does.
"""

import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import inf
from typing import TYPE_CHECKING, ClassVar

import polars as pl
from pebble import ProcessExpired, ProcessFuture, ProcessPool
from rich.console import Console

from benchmark.config.rules import require
from benchmark.grading.extract import last_boxes, visible, without_echo
from benchmark.grading.verdict import PASSING, TRUNCATED, Answer, Verdict
from benchmark.store.rows import table_rows

if TYPE_CHECKING:
    from benchmark.grading.math_equality import Judgement
    from benchmark.store.artifact import Artifact
    from benchmark.store.rows import Row

_VERSION = 3  # of the reading and comparison in mathematics/; it rises when verdicts change
_FRUITLESS_POOLS = 3  # in a row that judge nothing, before the rest is given up
_GROUP = 16  # pairs that are sent to a worker at once: sending one costs as much as comparing it

JUDGEMENT = pl.Schema(
    {
        "reference": pl.String(),
        "answer": pl.String(),
        "outcome": pl.String(),
        "reason": pl.String(),
    }
)
JUDGEMENTS = table_rows(JUDGEMENT, "pairs")
_PAIR = ["reference", "answer"]

Pair = tuple[str, str]


@dataclass
class MathVerify:
    """Compares mathematical expressions.

    Attributes:
        seconds: longest CPU time in seconds for one pair.
        memory_mb: most memory in MiB that a worker may allocate for one pair.
        most_characters: longest answer in characters; a longer one is ``unparsed``.
        workers: number of processes; the verdicts don't depend on it.
    """

    kind: ClassVar[str] = "math_verify"
    seconds: float = 5.0
    memory_mb: int = 1024
    most_characters: int = 2000
    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse limits that would let nothing through."""
        for name, value in asdict(self).items():
            require(0 < value < inf, f"grading.math_verify.{name}", value, "above 0 and finite")

    @property
    def identity(self) -> dict[str, object]:
        """What the verdicts depend on."""
        return {
            "kind": self.kind, "seconds": self.seconds, "memory_mb": self.memory_mb,
            "most_characters": self.most_characters, "rules": _VERSION, "sympy": version("sympy"),
        }  # fmt: skip

    def grade(
        self, answers: Sequence[Answer], artifact: "Artifact", console: Console
    ) -> list[Verdict]:
        """Return the verdicts; judgements come from ``artifact`` or are added to it."""
        found = [self._extracted(answer) for answer in answers]
        both = list(zip(answers, found, strict=True))
        pairs = {
            (reference, verdict.answer)
            for answer, verdict in both
            if verdict.rule is None and verdict.answer is not None
            for reference in answer.references
        }
        judgements = self._judgements(pairs, artifact, console)
        return [_decided(answer.references, verdict, judgements) for answer, verdict in both]

    def _extracted(self, answer: Answer) -> Verdict:
        """Return the boxed answer with a provisional outcome, or why there is none."""
        if not answer.finished:
            return TRUNCATED
        box = last_boxes(without_echo(answer.text, answer.prompt))
        box = " ".join(visible(box or "").split())
        if not box:
            return Verdict(None, "unparsed", "no box")
        if len(box) > self.most_characters:
            too_long = f"longer than {self.most_characters:,} characters"
            return Verdict(box[:200], "unparsed", too_long)
        return Verdict(box, "incorrect")

    def _judgements(
        self, pairs: set[Pair], artifact: "Artifact", console: Console
    ) -> "dict[Pair, Judgement]":
        """Return the judgements; those that will last are kept in ``artifact``."""
        passing: dict[Pair, Judgement] = {}
        wanted = pl.DataFrame(sorted(pairs), dict.fromkeys(_PAIR, pl.String()), orient="row")

        def judged(missing: pl.DataFrame) -> "Iterator[Row | None]":
            for pair, judgement in compare(missing.rows(), self):
                if judgement[1] in PASSING:
                    passing[pair] = judgement
                    yield None
                else:
                    yield dict(zip(JUDGEMENT, (*pair, *judgement), strict=True))

        kept = artifact.fill(wanted, judged, JUDGEMENTS, "Comparing answers")
        if passing:
            console.print(
                f"{len(passing):,} of {len(pairs):,} answers could not be compared within "
                f"{self.seconds:g} s of CPU time and {self.memory_mb:,} MB, the first "
                f"'{next(iter(passing))[1][:60]}'. They count as unparsed; the next run tries "
                f"again."
            )
        return passing | {(row[0], row[1]): (row[2], row[3]) for row in kept.iter_rows()}


def _decided(
    references: Sequence[str], found: Verdict, judgements: "dict[Pair, Judgement]"
) -> Verdict:
    """Return the best of the judgements on an answer and its references."""
    if found.answer is None or found.rule is not None:
        return found
    # "Incorrect" beside a comparison that a limit stopped would hide that it may be right.
    order = ("correct", "stopped", "incorrect", "unparsed")
    outcome, reason = min(
        (judgements[reference, found.answer] for reference in references),
        key=lambda j: order.index("stopped" if j[1] in PASSING else j[0]),
    )
    return Verdict(found.answer, outcome, reason)


def compare(pairs: Sequence[Pair], limits: MathVerify) -> "Iterable[tuple[Pair, Judgement]]":
    """Yield each pair's judgement in the order given, from killable workers.

    Where a worker dies between two groups, its pool gives up what is left; another pool goes on.
    """
    done, fruitless = 0, 0
    while done < len(pairs) and fruitless < _FRUITLESS_POOLS:
        before = done
        try:
            for judged in _in_one_pool(pairs[done:], limits):
                done += 1
                yield judged
        except RuntimeError:  # BrokenProcessPool, or what a pool that is broken says to more work
            fruitless = 0 if done > before else fruitless + 1
    for pair in pairs[done:]:
        yield pair, ("unparsed", "worker died")


def _in_one_pool(pairs: Sequence[Pair], limits: MathVerify) -> "Iterable[tuple[Pair, Judgement]]":
    """Yield judgements from one pool; what a limit stops in a group is compared again alone."""
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
            return pool.schedule(judge_pairs, args=[group, limits.seconds])

        futures = [schedule(group) for group in groups]
        for group, future in zip(groups, futures, strict=True):
            judgements = _result(future)
            if len(judgements) < len(group):  # its worker was lost
                judgements = judgements * len(group)
            again = {
                pair: schedule([pair])
                for pair, judgement in zip(group, judgements, strict=True)
                if judgement[1] in PASSING and len(group) > 1
            }
            for pair, judgement in zip(group, judgements, strict=True):
                yield pair, _result(again[pair])[0] if pair in again else judgement


def _result(future: "ProcessFuture[list[Judgement]]") -> "list[Judgement]":
    """Return the judgements of a group, or one for all of it where its worker was lost."""
    try:
        return future.result()
    except ProcessExpired as lost:
        late = lost.exitcode == -signal.SIGXCPU
        return [("unparsed", "time limit" if late else "worker died")]
    except MemoryError:
        return [("unparsed", "memory limit")]
