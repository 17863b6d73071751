"""The grader ``short_fact``, for TriviaQA and SimpleQA: string rules on normalised answers.

The rules stay apart, and the grade names the first that holds: ``exact`` (the first reference),
``alias`` (another one), ``containment`` (a reference's words occur in the answer, in order and
next to each other). Which of them count as correct is a setting. Words are compared after
TriviaQA's official normalisation: lower case, no punctuation, no articles.
"""

import re
import string
from dataclasses import dataclass, field

from benchmark.errors import ConfigError
from benchmark.grading.extract import final_answer
from benchmark.grading.verdict import TRUNCATED, Answer, TextGrader, Verdict

RULES = ("exact", "alias", "containment")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))
_LATEX = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|textit|emph)\s*\{([^{}]*)\}")
_HEDGED = frozenset({"not", "or", "nor", "neither", "either", "cannot"})
_MOST_WORDS = 40  # of an answer that may contain a reference


@dataclass
class ShortFact(TextGrader):
    """Compares short answers.

    Attributes:
        rules: of ``RULES``, those that count as correct.
    """

    kind: str = "short_fact"
    rules: list[str] = field(default_factory=lambda: list(RULES))

    def __post_init__(self) -> None:
        """Refuse rules that don't exist."""
        unknown = [rule for rule in self.rules if rule not in RULES]
        if unknown or not self.rules:
            raise ConfigError(f"short_fact: rules={self.rules} must be some of {list(RULES)}.")

    def verdict(self, answer: Answer) -> Verdict:
        """Return the answer that a response gives and which rule makes it right, if any."""
        if not answer.finished:
            return TRUNCATED
        found = final_answer(answer.text, answer.prompt)
        given = _LATEX.sub(r"\1", found).replace("\\", " ").strip(" $") if found else ""
        if not normalise(given):
            return Verdict(None, "unparsed", "no answer")
        rule = matching_rule(given, answer.references)
        correct = rule in self.rules
        return Verdict(given, "correct" if correct else "incorrect", rule)


def matching_rule(answer: str, references: tuple[str, ...]) -> str | None:
    """Return the first rule of ``RULES`` that holds, or None. An empty text matches nothing."""
    given = normalise(answer)
    accepted = [normalise(reference) for reference in references]
    if not given:
        return None
    if given == accepted[0]:
        return "exact"
    if given in accepted:
        return "alias"
    words = given.split()
    if len(words) > _MOST_WORDS or _HEDGED.intersection(answer.lower().split()):
        return None
    contained = any(reference and f" {reference} " in f" {given} " for reference in accepted)
    return "containment" if contained else None


def normalise(answer: str) -> str:
    """Return the answer in TriviaQA's official normal form (its evaluation script).

    Examples:
        >>> normalise("The  Beatles!")
        'beatles'
    """
    text = answer.replace("_", " ").lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())
