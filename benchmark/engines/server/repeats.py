"""Samples that a server repeats whole, where chance can't explain it: a cache, or a broken seed.

Two rules look at the texts while they come. Neither takes a model for broken that answers alike:

- *Order.* The samples of a question are draws of one distribution, so that all orders of the texts
  of two replies are equally likely. It is counted how often the second reply repeats the first in
  the same order, or each reply holds one text alone, and how often that was to be expected. Texts
  that are all the same say nothing here, short answers hardly anything.
- *Length.* A text is long where its compressed size, in bytes, times the warmth of the sampling is
  at least 160: about 60 tokens of prose at temperature 1. Such a text hardly ever comes twice. The
  rule speaks where it did in most questions, three or more: one may ask for a poem that the model
  knows by heart. The warmth is 0 below temperature 0.3, where models repeat themselves.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb, factorial, prod

from scipy.stats import poisson

from benchmark.engines import Decoding

_COLDEST = 0.3  # temperature below which nothing is said
_LONG = 160  # bytes, compressed, at temperature 1
_QUESTIONS = 3  # fewest questions with a long text that came twice
_CHANCE = 1e-9  # of what may be seen without anything being wrong


def warmth(decoding: Decoding) -> float:
    """Return how far from its most probable text a model samples, in [0, 1]."""
    if decoding.temperature < _COLDEST or decoding.top_k == 1:
        return 0.0
    kept = decoding.top_p * (1 - (decoding.min_p or 0.0))
    return min(decoding.temperature, 1.0) * kept


@dataclass
class Repeats:
    """What was seen of the samples of one way to decode.

    Attributes:
        warmth: as the function of this name gives it.
    """

    warmth: float
    _waiting: dict[str, list[int]] = field(default_factory=dict)  # a reply without its pair
    _long: dict[str, Counter[int]] = field(default_factory=dict)  # long texts, by question
    _again: set[str] = field(default_factory=set)  # questions with a long text that came twice
    _expected: float = 0.0
    _seen: int = 0

    def add(self, question: str, texts: Sequence[str]) -> str | None:
        """Take in the texts of one reply; return what is wrong, or None.

        Args:
            question: names it; samples of other questions are never compared.
            texts: all that was generated, one for each sample, in order.
        """
        if not self.warmth or not texts:
            return None
        self._compare(question, [hash(text) for text in texts])
        for text in texts:
            if len(zlib.compress(text.encode("utf-8", "replace"), 9)) * self.warmth >= _LONG:
                known = self._long.setdefault(question, Counter())
                known[hash(text)] += 1
                if known[hash(text)] > 1:
                    self._again.add(question)
        return self._finding()

    def _compare(self, question: str, reply: list[int]) -> None:
        """Compare each reply with the one before it, and no reply twice: such pairs are apart."""
        other = self._waiting.pop(question, None)
        if other is None:
            self._waiting[question] = reply
            return
        size = min(len(reply), len(other))
        first, second = Counter(other[:size]), Counter(reply[:size])
        if size > 1 and sorted((first + second).values()) == [size, size]:
            self._expected += 2 / comb(2 * size, size)
            self._seen += len(first) == len(second) == 1
        if first == second and len(first) > 1:
            self._expected += prod(map(factorial, first.values())) / factorial(size)
            self._seen += other[:size] == reply[:size]

    def _finding(self) -> str | None:
        if self._seen and poisson.sf(self._seen - 1, self._expected) < _CHANCE:
            return (
                f"{self._seen} of its replies repeat others whole, where {self._expected:.2g} were "
                f"to be expected"
            )
        asked = sum(known.total() > 1 for known in self._long.values())
        if len(self._again) >= max(_QUESTIONS, asked / 2):
            return (
                f"in {len(self._again)} of {asked} questions it gave the same long text for "
                f"several samples"
            )
        return None
