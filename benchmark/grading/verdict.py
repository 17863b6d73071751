"""What a grader returns."""

from typing import NamedTuple

from benchmark.records import Outcome


class Verdict(NamedTuple):
    """The grade of one response.

    Attributes:
        answer: as extracted from the text; None where none was found.
        outcome: correct or incorrect where there is an answer, else unparsed or truncated.
    """

    answer: str | None
    outcome: Outcome
