"""Graders one after another: the next is shown what none before it finds correct."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from benchmark.grading.verdict import Answer, Verdict

if TYPE_CHECKING:
    from benchmark.grading import Grader
    from benchmark.store.artifact import Artifact


def grade_in_turn(
    graders: Sequence["Grader"],
    answers: Sequence[Answer],
    artifact: "Artifact",
    console: Console,
) -> list[Verdict]:
    """Return the first verdict that is correct, of the others the last by who found an answer.

    Each grader's judgements are kept as if it graded alone, so that runs with and without the
    others share them.
    """
    found: dict[int, Verdict] = {}
    for grader in graders:
        left = [i for i in range(len(answers)) if i not in found or found[i].outcome != "correct"]
        own = artifact.beside({**artifact.inputs, "grader": grader.identity})
        made = grader.grade([answers[i] for i in left], own, console)
        for index, verdict in zip(left, made, strict=True):
            if verdict.answer is not None or index not in found:
                found[index] = verdict
    return [found[i] for i in range(len(answers))]
