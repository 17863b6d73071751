"""What a grader is handed and what it returns."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rich.console import Console

from benchmark.config.build import dotted_path
from benchmark.records import Outcome

if TYPE_CHECKING:
    from benchmark.store.artifact import Artifact


class Answer(NamedTuple):
    """One response as a grader sees it.

    Attributes:
        prompt: the user turn that was answered.
        text: of the response, without reasoning.
        finished: False where the response was cut off.
        references: accepted answers.
    """

    prompt: str
    text: str
    finished: bool
    references: tuple[str, ...]


class Verdict(NamedTuple):
    """The grade of one response.

    Attributes:
        answer: as extracted from the text; None where none was found.
        outcome: correct or incorrect where there is an answer, else unparsed or truncated.
        rule: what decided, in a few words, or why there is no answer; None where the outcome says
            all. The grades' column ``reason`` holds it.
    """

    answer: str | None
    outcome: Outcome
    rule: str | None = None


# Reasons that another run may not meet: such verdicts are not stored, and their cell stays open.
PASSING = ("time limit", "memory limit", "worker died")

TRUNCATED = Verdict(None, "truncated")


@dataclass
class TextGrader(ABC):
    """A grader that needs nothing but one answer at a time.

    Attributes:
        kind: name of the class in fingerprints; empty takes the class's path.
        versions: numbers of the rules that the code holds, which rise when verdicts change.
    """

    kind: ClassVar[str] = ""
    versions: ClassVar[dict[str, int]] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """What the verdicts depend on: the class, its settings and its versions."""
        return {"kind": self.kind or dotted_path(type(self)), **asdict(self), **self.versions}

    def grade(
        self,
        answers: Sequence[Answer],
        artifact: "Artifact",  # noqa: ARG002 - for graders whose verdicts cost something
        console: Console,  # noqa: ARG002
    ) -> list[Verdict]:
        """Return the verdict on each answer."""
        return [self.verdict(answer) for answer in answers]

    @abstractmethod
    def verdict(self, answer: Answer) -> Verdict:
        """Return the verdict on one answer."""
