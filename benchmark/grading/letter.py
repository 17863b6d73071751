r"""The grader ``letter``, for multiple-choice questions: the letter of the chosen answer.

The last box that holds a letter decides. Where boxes hold none, there is no answer, whatever the
text says. Without a box it is the letter behind the last "the answer is", else one that is chosen
by name ("option B is correct", "I choose B"), else one that stands on a line of its own. Several
letters are an answer that is wrong. The grade names the rule.
"""

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import ClassVar

from benchmark.config.rules import require
from benchmark.grading.extract import (
    READING,
    boxes,
    corrections,
    own_turn,
    stated_answers,
    without_echo,
)
from benchmark.grading.latex import plain
from benchmark.grading.verdict import TRUNCATED, Answer, TextGrader, Verdict

_READ = 20_000  # characters; the answer stands at the end
_ROMAN = "IVX"  # numerals, unless they are choices

_BEFORE = r"(?<![\w'’\-+.])"
_AFTER = r"(?![A-Za-z0-9À-ӿ'’^_+=(]|[\-–]\w|\.\w)"
_JOINER = r"\s?(?:,\s?(?:and|or)\b|[,;/&]|\b(?:and|or|und|oder|et|ou)\b|和|或|、)\s?"
_JOINER += r"(?:(?:possibly|maybe|perhaps|even)\s)?"
_SEVERAL = re.compile(
    rf"(?:[Bb]oth\s|[Ee]ither\s)?[(\[]?[A-Z][)\]]?(?:{_JOINER}[(\[]?[A-Z][)\]]?{_AFTER}"
    rf"(?!(?:{_JOINER}[(\[]?[A-HJ-Z][)\]]?){{0,8}}\s(?:is|was|are|were|can|would|has|have|does|do)\b)){{1,12}}"
)
_LEAD = re.compile(
    r"(?:[\s*_\"'`“‘«<:(\[]|I\s(?:think|believe|guess|would\ssay|choose)\b|(?:indeed|most\slikely|likely|therefore|thus|clearly|definitely|probably|the|letter|option"
    r"|choice|answer|alternative|la|le|el|il|die|der|réponse|opción|opção|lettre|letra|respuesta"
    r"|resposta|antwort)\b|选项|选)*",
    re.IGNORECASE,
)
_NOT = re.compile(r"(?:not|neither|none|never)\b", re.IGNORECASE)
_NOT_BUT = re.compile(r"not\b[^.\n]{0,60}?\bbut\s", re.IGNORECASE)
_FIRST = re.compile(
    rf"([A-Za-z])(?P<closed>(?:[)\]*_`\"”]|['’](?!\w))*){_AFTER}(?P<rest>.*)", re.DOTALL
)
_ARTICLE = re.compile(
    r"\s(?!(?:because|since|as|and|but|or|which|with|for|from|by|in|is|was|not|due|based|so|given"
    r"|when|while|if|according|where)\b)[a-z]",
    re.IGNORECASE,
)
_SET_OFF = re.compile(r"(?<![\w'’])([A-Z])(?=[*_`]{1,3}(?:\W|\Z))")  # bold, so no article
_WITH_TEXT = re.compile(
    r"(?:\(([A-Z])\)|([A-Z])\s?(?:[).:\]]|[\-–—,](?=\s)|(?=\s\()))(?!\w).*", re.DOTALL
)
_WITH_WORDS = re.compile(r"([B-Z])\s[A-Z0-9].*", re.DOTALL)
_CLOSED = r"(?:\s{0,3}(?:$|[.,;:!])|\s(?:because|since)\b)"
_WORTH = r"(?:the\s)?(?:only\s)?(?:correct|right|best|proper)\b"
_CONCLUDED = (
    r"(?=(?:(?:option|choice|answer)\s)?[(*\[]{0,4}[A-Z][)\]*]{0,4}"
    r"(?:\s{0,3}(?:$|[.,;:!])|\s(?:because|since|or|and)\b))"
)
_NAMED = re.compile(
    rf"(?:both\s)?(?:\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer)s?\s)?{_BEFORE}(?P<of>\([a-z]\)|[(\[]?[A-Z][)\]]?"
    rf"(?:{_JOINER}[(\[]?[A-Z][)\]]?){{0,12}}){_AFTER}\s(?:is|are)\s(?:both\s|all\s)?{_WORTH}"
    rf"|\b(?:(?:correct|right|best|closest|nearest)\s(?:option|choice|alternative|letter|statement)|guess)\b[^.\n]{{0,30}}?"
    rf"(?:\s(?:is|would be|must be)\b|:)(?P<is>[^\n]{{1,40}})"
    rf"|\b(?:(?:[Cc]hoice|[Oo]ption)[\"']?\s?[:=]|(?:[Ii]|[Ww]e|I'll|I'd)\s(?:would\s|will\s)?(?:choose"
    rf"|pick|select|say|go\swith|opt\sfor|chose)\b|(?:[Ss]o|[Tt]hus|[Hh]ence|[Tt]herefore),?\s(?:it\s"
    rf"is\s|it's\s|it\smust\sbe\s)?{_CONCLUDED}|[Ii]t(?:\smust\sbe|\sis|'s)\s{_CONCLUDED})"
    rf"(?P<pick>[^\n]{{1,40}})"
    rf"|(?:选项\s?[:：是为]|选择?(?!项)|選択?)(?P<cjk>[^\n]{{1,20}})",
    re.MULTILINE,
)
_CORRECT_FORM = re.compile(
    rf"(?:option\s|choice\s)?[(*]{{0,3}}[A-Z]\b[)*]{{0,3}}{_CLOSED}", re.IGNORECASE
)
_LINE = re.compile(
    r"^[\s\-*_`\"'(\[>#=→⇒∴]*(?:(?:(?:final|correct|best)\s)?(?:option|choice|letter|correct|conclusion"
    r"|solution|ans|choose|pick|select)[.:]?\s[(*]{0,3})?([A-Za-z])"
    r"(?:(?P<bare>[\s*_`\"')\].:!]*)$|(?:[).:!]|\s[-–—]|,?\s(?:because|since|it\sis)\b).*$)",
    re.MULTILINE | re.IGNORECASE,
)
_LAST_BOLD = re.compile(r"\bis:?\s\*\*\(?([A-Z])[).]{0,2}\*\*[.!]?\s*\Z")


@dataclass
class Letter(TextGrader):
    """Compares letters.

    Attributes:
        letters: of the choices, in order.
    """

    kind: ClassVar[str] = "letter"
    versions: ClassVar[dict[str, int]] = {"reading": READING, "version": 3}
    letters: str = "ABCD"

    def __post_init__(self) -> None:
        """Refuse what isn't capital letters, each of them once."""
        capitals = re.fullmatch("[A-Z]+", self.letters) is not None
        once = capitals and len(set(self.letters)) == len(self.letters)
        rule = "capital letters from A to Z, each once"
        require(once, "grading.letter.letters", self.letters, rule)

    def verdict(self, answer: Answer) -> Verdict:
        """Return the letter that a response chooses and whether it is the reference's."""
        if not answer.finished:
            return TRUNCATED
        text = own_turn(without_echo(answer.text, answer.prompt)[-_READ:])
        others = {r for r in answer.references if re.fullmatch("[A-Z]", r)} - {*self.letters}
        reader = replace(self, letters=self.letters + "".join(sorted(others)))
        found, rule = reader._found(unicodedata.normalize("NFKC", text))
        if found is None:
            return Verdict(None, "unparsed", rule)
        correct = found in answer.references
        return Verdict(found, "correct" if correct else "incorrect", rule)

    def _found(self, text: str) -> tuple[str | None, str]:
        """Return the letter, or several, and the rule that found them."""
        if boxed := boxes(text):
            return self._of_boxes(text, boxed)
        corrected = [rest for rest in corrections(text) if _CORRECT_FORM.match(rest)]
        for rest in (*corrected, *stated_answers(text)):
            if letter := self._chosen(plain(_SET_OFF.sub(r"(\1)", rest))):
                return letter, "the stated answer"
        bold = _LAST_BOLD.search(text[-200:])
        text = plain(text)
        for match in reversed(list(_NAMED.finditer(text))):
            part = match["of"] or match["is"] or match["pick"] or match["cjk"]
            if letter := self._chosen(part):
                return letter, "the choice that is named"
        if bold:
            return bold[1], "the choice that is named"
        return self._on_its_own(text)

    def _of_boxes(self, text: str, boxed: list[tuple[int, int, str]]) -> tuple[str | None, str]:
        """Return the letter of the last box with one; boxes joined by "or" are one answer."""
        letters = [(start, end, self._boxed(content)) for start, end, content in boxed]
        letters = [found for found in letters if found[2]]
        if not letters:
            return None, "no letter in a box"
        start, _, letter = letters[-1]
        for left, end, other in reversed(letters[:-1]):
            between = plain(text[end:start])
            if other == letter or not re.fullmatch(r",|/|&|,?\s?(?:and|or)", between):
                break
            letter, start = f"{other}, {letter}", left
        return letter, "the last box with a letter"

    def _boxed(self, box: str) -> str | None:
        r"""Return the letter of a box such as ``B``, ``\text{(B)}`` or ``B. Paris``."""
        content = plain(box).strip(" _.:\"'\t\n")
        content = content[_LEAD.match(content).end() :] if len(content) > 3 else content  # type: ignore[union-attr]
        content = content.removeprefix("is ").strip()
        bare = content.strip(" ()[].:")
        if re.fullmatch("[A-Za-z]", bare):
            return self._single(bare.upper(), numeral=bare in _ROMAN)
        joined = bare if re.fullmatch(f"[{self.letters}]{{2,}}", bare) else ""
        if joined or _SEVERAL.fullmatch(bare):
            return ", ".join(dict.fromkeys(joined or re.findall(r"\b[A-Z]\b", bare)))
        for form in (_WITH_TEXT, _WITH_WORDS):
            if (match := form.fullmatch(content)) and (letter := max(filter(None, match.groups()))):
                return letter if letter in self.letters else None
        return None

    def _single(self, letter: str, *, numeral: bool) -> str | None:
        return None if numeral and letter not in self.letters else letter

    def _chosen(self, text: str) -> str | None:
        """Return the letter that a text begins with: "B", "(b)", "option B, since", "B or C"."""
        begun = text.lstrip(" *_`")
        if but := _NOT_BUT.match(begun):
            begun = begun[but.end() :]
        elif _NOT.match(begun):
            return None
        lead = _LEAD.match(begun)
        begun = begun[lead.end() :] if lead else begun
        if several := _SEVERAL.match(begun):
            return ", ".join(dict.fromkeys(re.findall(r"\b[A-Z]\b", several.group())))
        match = _FIRST.match(begun)
        if match is None:
            return None
        letter, ended = match[1], bool(re.match(r"\W*\Z|[.,;:)!]", match["rest"].lstrip(" ")))
        if letter.islower() or letter not in self.letters:
            known = letter.upper() in self.letters or letter.isupper()
            single = self._single(letter.upper(), numeral=letter in _ROMAN)
            return single if ended and known else None
        article = letter == "A" and not match["closed"] and _ARTICLE.match(match["rest"])
        return None if article else letter

    def _on_its_own(self, text: str) -> tuple[str | None, str]:
        """Return the one letter that lines give, alone or before a choice's text."""
        several = _SEVERAL.fullmatch(text.strip(" \n.*"))
        if several:
            return ", ".join(re.findall(r"\b[A-Z]\b", several.group())), "a line of its own"
        lines = [m for m in _LINE.finditer(text) if m[1].upper() in self.letters]
        bare = {m[1].upper() for m in lines if m["bare"] is not None}
        found = bare or {m[1].upper() for m in lines}  # behind a list of the choices
        return (found.pop(), "a line of its own") if len(found) == 1 else (None, "no letter")
