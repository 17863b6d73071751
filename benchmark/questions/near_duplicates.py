"""Finds questions that are nearly the same: few words differ, the numbers and the answer don't.

Questions of one template with other numbers, answers or names are different questions. Similarity
is the share of common pairs of neighbouring words (Jaccard), where pairs that many questions of
both tables have weigh little. An index of each question's rarest pairs finds all that are similar.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from benchmark.questions.content import content, lines

SIMILAR = 0.7  # share of common word pairs from which on two questions are nearly the same
_COMPARED = 1000  # questions that one question is compared with, where very many have its words
_WORD = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"\d+")
_LETTER = re.compile(r"\W*([A-Za-z]?)\W*")

WordPair = tuple[str, str]
Times = Counter[WordPair]
Numbers = tuple[str, ...]  # in a question, sorted
Pair = tuple[tuple[str, str], tuple[str, str]]  # id and text on each side


class _Asked(NamedTuple):
    """A question as it is compared."""

    row: tuple[str, str]
    words: frozenset[WordPair]
    answers: frozenset[str]


def near_duplicates(a: pl.DataFrame, b: pl.DataFrame) -> list[Pair]:
    """Return the questions of two tables that are nearly the same, the most similar first.

    Args:
        a: table of schema ``QUESTION``.
        b: table of schema ``QUESTION``.
    """
    sides = _by_numbers(a), _by_numbers(b)
    found = []
    for numbers in sides[0].keys() & sides[1].keys():
        group, others = sides[0][numbers], sides[1][numbers]
        times = [
            Counter(pair for asked in side for pair in asked.words) for side in (group, others)
        ]

        def weight(pairs: Iterable[WordPair], times: list[Times] = times) -> float:
            return sum(1 / max(1, min(times[0][pair], times[1][pair])) for pair in pairs)

        index = _index(others, weight)
        for asked in group:
            near = {at for word in asked.words if word in index for at in index[word][:_COMPARED]}
            for other in (others[at] for at in sorted(near)[:_COMPARED]):
                similarity = weight(asked.words & other.words) / weight(asked.words | other.words)
                answers = asked.answers, other.answers
                if similarity >= SIMILAR and (not all(answers) or answers[0] & answers[1]):
                    found.append((similarity, (asked.row, other.row)))
    found.sort(key=lambda each: (-each[0], each[1]))
    return [pair for _, pair in found]


def _by_numbers(table: pl.DataFrame) -> dict[Numbers, list[_Asked]]:
    """Return the questions of a table by the numbers in them."""
    found: dict[Numbers, list[_Asked]] = defaultdict(list)
    for key, text, references in table.select("question_id", "question", "references").iter_rows():
        parts = lines(text)
        numbers = tuple(sorted(number for part in parts for number in _NUMBER.findall(part)))
        worded = [_WORD.findall(part) for part in parts]
        pairs = frozenset(
            pair for words in worded for pair in (pairwise(words) if words[1:] else [(*words, "")])
        )
        answers = frozenset(content(_spelled_out(r, text)) for r in references)
        found[numbers].append(_Asked((key, text), pairs, answers - {""}))
    return found


def _spelled_out(reference: str, text: str) -> str:
    """Return the text of the choice that a reference names by its letter, else the reference."""
    letter = _LETTER.fullmatch(reference)
    if letter is None:
        return reference
    choice = re.search(rf"^\W?{letter[1]}[.):\]]+[ \t]+(.+)$", text, re.MULTILINE)
    return choice[1] if letter[1] and choice else reference


def _index(
    group: list[_Asked], weight: Callable[[Iterable[WordPair]], float]
) -> dict[WordPair, list[int]]:
    """Return which questions have a pair of words among their rarest ones.

    A question that lacks all of another's rarest pairs can't be ``SIMILAR`` to it.
    """
    index: dict[WordPair, list[int]] = defaultdict(list)
    for at, asked in enumerate(group):
        left = limit = weight(asked.words)
        for pair in sorted(asked.words, key=lambda pair: (-weight([pair]), pair)):
            if left < SIMILAR * limit:
                break
            index[pair].append(at)
            left -= weight([pair])
    return index
