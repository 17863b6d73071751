"""The grader ``exact``: the whole response is the answer, compared without case and white space."""

from dataclasses import dataclass

from benchmark.grading.verdict import Answer, TextGrader, Verdict


@dataclass
class Exact(TextGrader):
    """Compares whole responses."""

    kind: str = "exact"

    def verdict(self, answer: Answer) -> Verdict:
        """Return the response as the answer and whether it is a reference."""
        return grade_response(answer.text, answer.references, finished=answer.finished)


def grade_response(text: str, references: tuple[str, ...], *, finished: bool) -> Verdict:
    """Return the response as the answer; a final full stop doesn't count.

    Args:
        text: of the response.
        references: accepted answers.
        finished: False where the response was cut off.
    """
    answer = _folded(text)
    if not finished:
        return Verdict(None, "truncated")
    if not answer:
        return Verdict(None, "unparsed")
    correct = answer in {_folded(reference) for reference in references}
    return Verdict(answer, "correct" if correct else "incorrect")


def _folded(text: str) -> str:
    return " ".join(text.casefold().strip().removesuffix(".").split())
