"""The dataset ``basics``: short questions that a very small model solves sometimes.

    basics/test/capital-peru
    "What is the capital of Peru? Just give the answer."    ("Lima",)    {"family": "capital"}

Sums, differences, products, quotients, comparisons and word problems are generated; the other
families come from ``basics_tables``. Their wording stands in the configuration, one template per
family. The split of a question is a hash of the fact that it asks for, so that adding questions
moves none, and 3 + 4, 4 + 3, 7 - 4 and a story about 3 and 4 apples never meet across splits.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple

from benchmark.config.schema import DatasetConfig
from benchmark.errors import ConfigError, DataError
from benchmark.questions import basics_tables as tables
from benchmark.questions.overlap import normalised
from benchmark.records import Question

SPLITS = {"test": 24, "validation": 18, "train": 58}  # percent of the facts


class _Item(NamedTuple):
    """What one question asks for: the fact decides its split, the values fill its template."""

    slug: str
    fact: str
    values: dict[str, str]
    references: tuple[str, ...]


@dataclass
class Basics(DatasetConfig):
    """Generated questions of the families that ``prompts`` words."""

    def load(self, split: str) -> list[Question]:
        """Return all questions of a split.

        Raises:
            ConfigError: an unknown split, a family without a template, or a template that its
                values don't fill.
            DataError: two questions have the same text, in one split or across splits.
        """
        if split not in SPLITS:
            raise ConfigError(
                f"dataset={self.name}: there is no split '{split}'; choose one of {list(SPLITS)}."
            )
        _check_prompts(self)
        questions: dict[str, list[Question]] = {name: [] for name in SPLITS}
        for family in self.prompts:
            for name, item in _items(family):
                questions[name].append(_question(self, family, name, item))
        _refuse_same_text([question for part in questions.values() for question in part])
        return questions[split]


@cache
def _items(family: str) -> tuple[tuple[str, _Item], ...]:
    """Return a family's items with their splits: the same for every split and every wording."""
    return tuple((_split_of(item.fact), item) for item in FAMILIES[family]())


def _check_prompts(config: Basics) -> None:
    unknown = sorted(set(config.prompts) - set(FAMILIES))
    if unknown or not config.prompts:
        raise ConfigError(
            f"dataset.prompts: there is no family {unknown}; choose among {sorted(FAMILIES)}."
        )


def _question(config: Basics, family: str, split: str, item: _Item) -> Question:
    try:
        text = config.prompts[family].format(**item.values)
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(
            f"dataset.prompts.{family}: '{config.prompts[family]}' can't be filled ({error}); "
            f"its fields are {sorted(item.values)}."
        ) from error
    return Question(
        question_id=f"basics/{split}/{family}-{item.slug}",
        prompt=f"{text} {config.instruction}".strip(),
        question=text,
        references=item.references,
        metadata={"family": family},
    )


def _refuse_same_text(questions: list[Question]) -> None:
    seen: dict[str, str] = {}
    for question in questions:
        other = seen.setdefault(normalised(question.prompt), question.question_id)
        if other != question.question_id:
            raise DataError(
                f"'{question.question_id}' and '{other}' ask the same: '{question.prompt}'. Every "
                f"template of dataset.prompts must use all fields of its family."
            )


def _hash(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")


def _split_of(fact: str) -> str:
    percent = _hash(fact) % 100
    bounds = zip(SPLITS, accumulate(SPLITS.values()), strict=True)
    return next(name for name, bound in bounds if percent < bound)


def _some(items: Iterator[_Item], count: int) -> list[_Item]:
    """Return ``count`` items, chosen by a hash, so that they lie all over a family's range."""
    return sorted(items, key=lambda item: _hash(f"choice/{item.slug}"))[:count]


def _numeric(slug: str, fact: str, answer: int, *numbers: int) -> _Item:
    values = {name: str(number) for name, number in zip("ab", numbers, strict=False)}
    return _Item(slug, fact, values, (str(answer),))


def _unordered(sign: str, a: int, b: int) -> str:
    return f"{min(a, b)} {sign} {max(a, b)}"


def _sum() -> list[_Item]:
    return [
        _numeric(f"{a}-{b}", _unordered("+", a, b), a + b, a, b)
        for a in range(2, 13)
        for b in range(2, 10)
    ]


def _two_digit_sum() -> list[_Item]:
    """Without carry."""
    items = (
        _numeric(f"{a}-{b}", _unordered("+", a, b), a + b, a, b)
        for a in range(10, 50)
        for b in range(10, a)
        if a % 10 + b % 10 < 10
    )
    return _some(items, 60)


def _difference() -> list[_Item]:
    return [
        _numeric(f"{a}-{b}", _unordered("+", b, a - b), a - b, a, b)
        for a in range(4, 11)
        for b in range(2, a - 1)
    ]


def _product() -> list[_Item]:
    return [
        _numeric(f"{a}-{b}", _unordered("x", a, b), a * b, a, b)
        for a in range(2, 13)
        for b in range(2, 10)
    ]


def _quotient() -> list[_Item]:
    return [
        _numeric(f"{a * b}-{b}", _unordered("x", a, b), a, a * b, b)
        for a in range(2, 16)
        for b in range(2, 7)
    ]


def _next() -> list[_Item]:
    items = (_numeric(str(a), _unordered("+", a, 1), a + 1, a) for a in range(5, 100))
    return _some(items, 80)


def _larger() -> list[_Item]:
    items = (
        _numeric(f"{a}-{b}", _unordered("<", a, b), max(a, b), a, b)
        for a in range(3, 100)
        for b in range(3, 100)
        if abs(a - b) > 1 and _hash(_unordered("<", a, b)) % 2 == (a < b)  # one of the two orders
    )
    return _some(items, 60)


def _apples() -> list[_Item]:
    return [
        _numeric(f"{a}-{b}", _unordered("+", a, b), a + b, a, b)
        for a in range(2, 11)
        for b in range(2, 10)
    ]


def _first_letter() -> list[_Item]:
    return [
        _Item(word, f"letters of {word}", {"word": word}, (word[0], word[0].upper()))
        for word in tables.WORDS
    ]


def _from_table(about: str, field: str, table: dict[str, tuple[str, ...]]) -> list[_Item]:
    return [
        _Item(key.lower().replace(" ", "-"), f"{about} {key}", {field: key}, references)
        for key, references in table.items()
    ]


def _opposite() -> list[_Item]:
    return [
        _Item(word, f"opposites {sorted((word, answers[0]))}", {"word": word}, answers)
        for word, answers in tables.OPPOSITES.items()
    ]


FAMILIES: dict[str, Callable[[], list[_Item]]] = {
    "sum": _sum,
    "two_digit_sum": _two_digit_sum,
    "difference": _difference,
    "product": _product,
    "quotient": _quotient,
    "next": _next,
    "larger": _larger,
    "apples": _apples,
    "first_letter": _first_letter,
    "capital": lambda: _from_table("capital", "country", tables.CAPITALS),
    "symbol": lambda: _from_table("symbol", "element", tables.SYMBOLS),
    "plural": lambda: _from_table("plural", "word", tables.PLURALS),
    "opposite": _opposite,
}
