"""The grader ``short_fact``, for TriviaQA and SimpleQA: rules on evened-out answers.

The grade names the first rule that holds: ``exact`` (the answer equals the first reference),
``alias`` (it equals another one) or ``containment`` (it is a phrase or sentence that states one). A
setting says which of them count as correct. As in TriviaQA's evaluation script, case, punctuation
and articles don't count, nor do differences of spelling. Signs and symbols do: -12 isn't 12.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar

from benchmark.config.rules import require
from benchmark.grading.containment import states
from benchmark.grading.extract import READING, final_answer
from benchmark.grading.latex import plain
from benchmark.grading.spelling import same
from benchmark.grading.verdict import TRUNCATED, Answer, TextGrader, Verdict

RULES = ("exact", "alias", "containment")
_READ = 2000  # characters of an answer
_REFUSAL = re.compile(r"\W*n\s?/\s?a\W*\Z", re.IGNORECASE)


@dataclass
class ShortFact(TextGrader):
    """Compares short answers.

    Attributes:
        rules: of ``RULES``, those that count as correct.
    """

    kind: ClassVar[str] = "short_fact"
    versions: ClassVar[dict[str, int]] = {"reading": READING, "version": 3}
    rules: list[str] = field(default_factory=lambda: list(RULES))

    def __post_init__(self) -> None:
        """Refuse rules that don't exist."""
        known = bool(self.rules) and {*self.rules} <= {*RULES}
        require(known, "grading.short_fact.rules", self.rules, f"some of {[*RULES]}")

    def verdict(self, answer: Answer) -> Verdict:
        """Return the answer that a response gives and which rule makes it right, if any."""
        if not answer.finished:
            return TRUNCATED
        found = final_answer(answer.text, answer.prompt) or ""
        given = found if found in answer.references else plain(found[:_READ])
        rule = matching_rule(given, answer.references)
        worded = any(c.isalnum() for c in "".join(answer.references))
        if not given or (rule is None and worded and not any(c.isalnum() for c in given)):
            return Verdict(None, "unparsed", "no answer")
        correct = rule in self.rules
        return Verdict(given, "correct" if correct else "incorrect", rule or "no reference")


def matching_rule(answer: str, references: tuple[str, ...]) -> str | None:
    """Return the first rule of ``RULES`` that holds, or None. An empty text matches nothing."""
    if not answer or (_REFUSAL.match(answer) and answer not in references):
        return None
    for reference in references:
        if same(answer, reference):
            return "exact" if reference == references[0] else "alias"
    return "containment" if states(answer, references) else None
