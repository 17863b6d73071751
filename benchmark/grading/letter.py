r"""The grader ``letter``, for multiple-choice questions: the letter of the chosen answer.

The last box that holds exactly one letter counts; else the letter behind the last "answer" or
"choice"; else the last capital letter of a choice that stands alone. The grade names the rule.
"""

import re
from dataclasses import dataclass

from benchmark.errors import ConfigError
from benchmark.grading.extract import last_box, without_echo
from benchmark.grading.verdict import TRUNCATED, Answer, TextGrader, Verdict

_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|textit)\s*\{([^{}]*)\}")


@dataclass
class Letter(TextGrader):
    """Compares letters.

    Attributes:
        letters: of the choices, in order.
    """

    kind: str = "letter"
    letters: str = "ABCD"

    def __post_init__(self) -> None:
        """Refuse what isn't capital letters, each of them once."""
        capitals = re.fullmatch("[A-Z]+", self.letters) is not None
        if not capitals or len(set(self.letters)) < len(self.letters):
            raise ConfigError(
                f"letter: letters={self.letters!r} must be capital letters from A to Z, each once."
            )

    def verdict(self, answer: Answer) -> Verdict:
        """Return the letter that a response chooses and whether it is the reference's."""
        if not answer.finished:
            return TRUNCATED
        found = self._found(without_echo(answer.text, answer.prompt)[-20_000:])
        if found is None:
            return Verdict(None, "unparsed", "no letter")
        letter, rule = found
        return Verdict(letter, "correct" if letter in answer.references else "incorrect", rule)

    def _found(self, text: str) -> tuple[str, str] | None:
        """Return the letter and the rule that found it."""
        box = last_box(text)
        if box is not None and (letter := self._boxed(box)):
            return letter, "box"
        either = self.letters + self.letters.lower()
        said = re.findall(  # possessive, since white space and brackets come in any number
            rf"\b(?:answer|choice|option)\b(?:\s++(?:is|would be|should be))?+\s*+[:=]?+\s*+"
            rf"[*_(\"'\[]*+([{either}])(?![\w'])",
            text,
            flags=re.IGNORECASE,
        )
        capitals = [letter for letter in said if letter.isupper()] or said
        if capitals:
            return capitals[-1].upper(), "answer is"
        # "A" before a word in small letters is an article, "I" and "A" before "'" are words.
        alone = re.findall(rf"(?<![\w'\\])([{self.letters}])(?![\w']|\s+[a-z])", text)
        return (alone[-1], "alone") if alone else None

    def _boxed(self, box: str) -> str | None:
        r"""Return the one letter of a box such as ``B``, ``\text{(B)}`` or ``B. Paris``."""
        content = _WRAPPED.sub(r"\1", box).strip(" $*_.:\t")
        match = re.fullmatch(
            rf"[(\[]?\s*([{self.letters}{self.letters.lower()}])\s*(?:[)\].:](?:\s.*)?)?",
            content,
            flags=re.DOTALL,
        )
        return match[1].upper() if match else None
