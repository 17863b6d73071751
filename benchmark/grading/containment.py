"""Tells whether an answer states a reference: "The capital of France is Paris." states Paris.

An answer doesn't state what it denies ("it wasn't Paris"), what it leaves open ("Paris or London"),
and what is only a part of another name in it: "New York City" isn't York, "Peking duck" no duck.
Capitals tell where a name goes on.
"""

import re

from benchmark.grading.spelling import Word, content, forms, is_article, joined, same, words

_LONGEST_ANSWER = 40  # words of an answer that may contain a reference
_CHOICE = re.compile(
    r"\bor\b|\s\|\s|(?<=[^\W\d_])\s?/\s?(?=[^\W\d_])|\bnor\b|\bv(?:ersu)?s\b"
    r"|[,;]\s(?:or\s)?(?:maybe|perhaps|possibly|alternatively)\s|\?\s(?=\S)|\((?=[^()]{1,60}\?\s?\))",
    re.IGNORECASE,
)
_PER = re.compile(
    r"(\d\s?[^\W\d_]{1,10})\s?/\s?(?=(?:s|h|hr|hour|min|minute|sec|second|kg|day|week|month|year)\b)",
    re.IGNORECASE,
)
_NOT = r"(?:isn|wasn|aren|weren|don|doesn|didn|can|won|couldn|wouldn|shouldn|hasn|haven|ain)"
_DENIED_BEFORE = re.compile(
    r"\b(?:not|never|neither|nor|cannot|without|except|excluding|nobody|nothing|unlike|hardly|scarcely|no(?!,))\b"
    r"|\b(?:other|rather)\sthan\b|\binstead\sof\b"
    rf"|\b{_NOT}['’]?t\b|\b(?:any|every|no|all)\w*\s(?:else\s)?but\b",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    rf"\A\s?(?:is|was|are|were)\s(?:not|wrong|incorrect|false|never)\b|\A\s{_NOT}['’]?t\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"[.;:!?]\s|,\s(?:it|he|she|they|but|rather|instead|actually)\b|\bnot\b[^.;]{0,80}?\bbut\b",
    re.IGNORECASE,
)
_LISTED = re.compile(
    r"\A\s?;\s?[A-Z]|\A,\s?[A-Z][^,]{1,40}(?:,[^,]{1,40}){0,8},?\s(?:and|or)\s[A-Z]"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FUNCTION = _words(
    "is was are were be been in on at by for to from with as it its he she they this that these"
    " those which who whom whose what when where how why if then so because since after before"
    " during between under over also likely probably perhaps maybe possibly definitely certainly"
    " surely clearly simply just about around approximately nearly almost roughly called named"
    " known i my we our you your his her their there here yes ok okay well answer final correct"
    " only both either year a an the has have had do does did would could should will can may"
    " might must think believe therefore thus hence than like famous american english british"
    " french german italian spanish"
)
_TITLES = _words(
    "mr mrs ms miss doctor sir dame lord lady prof professor president king queen prince"
    " princess pope emperor empress general captain colonel admiral senator governor minister"
    " chancellor judge justice reverend rev father mother brother sister mount river planet"
    " actor actress author singer footballer count countess baron duke duchess tsar sultan"
)
_BEHIND = _words(
    "river mountain mountains ocean desert inc ltd corporation company corp junior senior esq"
)
_KINDS = _words(
    "gas language country city people dynasty sea river state metal element island ocean team"
    " band group party tribe religion fish bird tree plant animal virus disease colour color"
    " year years bone coin acid"
)
_COUNTED = _words(
    "week number no day year chapter season episode group version channel level grade round age"
    " type page part volume act scene room route highway january february march april may june"
    " july august september october november december"
)
_ENLARGING = _words(
    "new north northern south southern east eastern west western great greater lower upper old"
    " first second third fourth last late early little big san santa los las saint fort port"
    " american soviet"
)
_OF_PLACE = _words(
    "city town state province republic kingdom island islands country village county planet"
    " name year month element region isle"
)
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th)\Z")
_ROMAN = re.compile(r"[IVXLC]+\Z")


def states(answer: str, references: tuple[str, ...]) -> bool:
    """Tell whether an answer states one of the references, and nothing else besides.

    Where it leaves a choice open, each of the choices must be a reference.

    Args:
        answer: without LaTeX.
        references: accepted answers.
    """
    if len(words(answer)) > _LONGEST_ANSWER:
        return False
    answer = _PER.sub(r"\1 per ", answer)
    choices = [part for part in _CHOICE.split(answer) if words(part)]
    if len(choices) > 1 and _CHOICE.search(answer):
        choices[0] = re.sub(r"\b(?:either|neither)\b", "", choices[0], flags=re.IGNORECASE)
        whole = any(_CHOICE.search(r) and _contains(answer, r) for r in references)
        return whole or all(
            any(same(part, r) or _contains(part, r) for r in references) for part in choices
        )
    return any(_contains(answer, reference) for reference in references)


def _contains(answer: str, reference: str) -> bool:
    given, wanted = words(answer), forms(reference)
    longest = max(map(len, wanted))
    if not longest:
        return False
    short = all(is_article(word) for word in words(reference))
    for start, word in enumerate(given):
        if is_article(word) and not short:
            continue
        for end in range(start + 1, len(given) + 1):
            part = joined(content(given[start:end]))
            if len(part) > longest:
                break
            ends = short or not is_article(given[end - 1])
            found = part in wanted and ends and _stands_alone(given, start, end)
            if found and not _denied(given, start, end):
                return True
    return False


def _denied(given: tuple[Word, ...], start: int, end: int) -> bool:
    before = "".join(f"{w.gap}{w.raw}" for w in given[:start]) + given[start].gap
    after = "".join(f"{w.gap}{w.raw}" for w in given[end:])
    clause = _CLAUSE.split(before)[-1]
    return bool(_DENIED_BEFORE.search(clause) or _DENIED_AFTER.search(after))


def _stands_alone(given: tuple[Word, ...], start: int, end: int) -> bool:
    """Tell whether the words from start to end aren't part of a longer name, number or list."""
    part = given[start:end]
    before, after = given[:start], given[end:]
    if all(_is_number(word) for word in part):
        left, right = before[-1:], after[:1]
        return not (left and _number_goes_on(left[0], part[0].gap, before)) and not (
            right and _number_goes_on(right[0], right[0].gap, after[::-1], behind=True)
        )
    if before and _joined_by(part[0].gap) and _goes_on_before(before, part):
        return False
    if _LISTED.match("".join(f"{w.gap}{w.raw}" for w in after)):
        return False
    joined_on = bool(after) and _joined_by(after[0].gap)
    return not (joined_on and _goes_on_behind(part, after, bare=not before))


def _joined_by(gap: str) -> bool:
    return not gap.strip(" -")


def _is_number(word: Word) -> bool:
    return word.key.strip("~").replace(".", "").isdigit()


def _number_goes_on(other: Word, gap: str, side: tuple[Word, ...], *, behind: bool = False) -> bool:
    """Tell whether a number is a part of a range, a time or a name: "Henry 5", "500 Miles".

    ``other`` is the word beside it, and the last of ``side``; ``gap`` is what stands between.
    """
    if _is_number(other):
        return not gap.strip(" -:/")
    if gap == "-":
        return True
    beyond = side[-2] if len(side) > 1 else None
    if other.key in {"to", "and", "through", "until"} and _joined_by(gap):
        return beyond is None or _is_number(beyond)
    named = other.raw[0].isupper() and _joined_by(gap) and other.key not in _FUNCTION
    return named and (behind or other.key not in _COUNTED)


def _goes_on_before(before: tuple[Word, ...], part: tuple[Word, ...]) -> bool:
    """Tell whether the name begins earlier: "New" before "York", "Duke of" before "Wellington"."""
    word = before[-1]
    if part[0].gap.strip() == "-":
        return True
    earlier = before[-2] if len(before) > 1 and _joined_by(word.gap) else None
    if is_article(word) and earlier is not None and earlier.key == "of":
        word, before = earlier, before[:-1]
        earlier = before[-2] if len(before) > 1 else None
    if word.key == "of":
        return earlier is not None and earlier.key not in _OF_PLACE
    if word.key == "and":
        return earlier is not None and (earlier.raw[0].isupper() or len(before) == 2)
    if _ORDINAL.match(word.key):
        return part[0].raw[0].isupper()
    if word.key in _FUNCTION or word.key in _TITLES or not word.raw[0].isupper():
        return False
    if part[0].raw[0].islower() or len(word.raw) == 1:  # a Peking duck is a duck; W. B. Yeats
        return False
    enlarged = word.key in _ENLARGING or part[0].key in _ENLARGING
    return enlarged or len(part) == 1 or len(before) > 1


def _goes_on_behind(part: tuple[Word, ...], after: tuple[Word, ...], *, bare: bool) -> bool:
    """Tell whether the name goes on: "City" behind "New York", "of York" behind "Duke"."""
    word = after[0]
    following = after[1] if len(after) > 1 and _joined_by(after[1].gap) else None
    if word.gap.strip() == "-":
        return True
    if word.key in {"of", "and", "de", "von", "van", "the"}:
        return following is not None and following.raw[0].isupper()
    if word.key in _FUNCTION or word.key in _BEHIND:
        return False
    if word.key[0].isdigit() or _ROMAN.match(word.raw):
        return len(word.key) < 4 or not word.key.isdigit()
    if word.raw[0].isupper():
        return not word.raw.isupper() or part[0].raw.isupper()
    compound = bare and len(after) == 1 and len(part) == 1 and part[0].raw[0].isupper()
    return compound and word.key not in _KINDS and not word.key.endswith("ly")
