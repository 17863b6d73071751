"""Finds questions that are nearly the same: few words differ, the numbers and the answer don't.

Questions of one template with other numbers or other answers are different questions. Similarity
is the share of common pairs of neighbouring words (Jaccard), computed exactly: an index of each
question's rarest pairs finds all that can be similar enough.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from benchmark.questions.content import content, lines

SIMILAR = 0.7  # share of common word pairs from which on two questions are nearly the same
_COMPARED = 1000  # questions that one question is compared with, where very many have its words
_WORD = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"\d+")
_LETTER = re.compile(r"\W*([A-Za-z]?)\W*")

Numbers = tuple[str, ...]  # in a question, sorted
Pair = tuple[tuple[str, str], tuple[str, str]]  # id and text on each side


class _Asked(NamedTuple):
    """A question as it is compared."""

    row: tuple[str, str]
    words: frozenset[tuple[str, str]]
    answers: frozenset[str]  # accepted ones; empty where they are letters of unknown choices


def near_duplicates(a: pl.DataFrame, b: pl.DataFrame) -> list[Pair]:
    """Return the questions of two tables that are nearly the same, the most similar first.

    Args:
        a: table of schema ``QUESTION``.
        b: table of schema ``QUESTION``.
    """
    by_numbers: dict[Numbers, list[_Asked]] = defaultdict(list)
    for numbers, asked in _asked(b):
        by_numbers[numbers].append(asked)
    indexes = {numbers: _index(group) for numbers, group in by_numbers.items()}
    found = []
    for numbers, asked in _asked(a, indexes.keys()):
        index, group = indexes[numbers], by_numbers[numbers]
        near = {at for word in asked.words if word in index for at in index[word][:_COMPARED]}
        for other in (group[at] for at in sorted(near)[:_COMPARED]):
            common = len(asked.words & other.words)
            similarity = common / (len(asked.words) + len(other.words) - common)
            answers = asked.answers, other.answers
            if similarity >= SIMILAR and (not all(answers) or answers[0] & answers[1]):
                found.append((similarity, (asked.row, other.row)))
    found.sort(key=lambda each: -each[0])
    return [pair for _, pair in found]


def _asked(
    table: pl.DataFrame, known: Container[Numbers] | None = None
) -> Iterator[tuple[Numbers, _Asked]]:
    """Yield the numbers in each question, and the question, where these numbers are ``known``."""
    for key, text, references in table.select("question_id", "question", "references").iter_rows():
        parts = lines(text)
        numbers = tuple(sorted(number for part in parts for number in _NUMBER.findall(part)))
        if known is None or numbers in known:
            worded = [_WORD.findall(part) for part in parts]
            pairs = frozenset(
                pair
                for words in worded
                for pair in (pairwise(words) if words[1:] else [(*words, "")])
            )
            answers = frozenset(content(_spelled_out(r, text)) for r in references)
            yield numbers, _Asked((key, text), pairs, answers - {""})


def _spelled_out(reference: str, text: str) -> str:
    """Return the choice that a letter stands for, "" for an unknown one, or else the reference."""
    letter = _LETTER.fullmatch(reference)
    if letter is None:
        return reference
    choice = re.search(rf"^\W?{letter[1]}[.):\]]+[ \t]+(.+)$", text, re.MULTILINE)
    return choice[1] if letter[1] and choice else ""


def _index(group: list[_Asked]) -> dict[tuple[str, str], list[int]]:
    """Return which questions have a pair of words among their rarest ones.

    A question that lacks all of another's rarest pairs can't be ``SIMILAR`` to it.
    """
    times = Counter(pair for asked in group for pair in asked.words)
    index: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, asked in enumerate(group):
        rarest = sorted(asked.words, key=lambda pair: (times[pair], pair))
        for pair in rarest[: int(len(rarest) * (1 - SIMILAR)) + 1]:
            index[pair].append(at)
    return index
