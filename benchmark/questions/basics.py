"""The dataset ``basics``: short questions that a very small model solves sometimes.

    basics/test/capital-peru
    "What is the capital of Peru? Just give the answer."    ("Lima",)    {"family": "capital"}

Sums, differences, products, quotients, comparisons and word problems are generated; the other
families come from ``basics.yaml``. Their wording stands in the configuration, one template per
family. The split of a question is a hash of the fact that it asks for, so that adding questions
moves none, and 3 + 4, 4 + 3, 7 - 4 and a story about 3 and 4 apples never meet across splits.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import accumulate, product
from operator import add, mul
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmark.config.schema import DatasetConfig
from benchmark.errors import ConfigError, DataError
from benchmark.questions.content import normalised
from benchmark.records import Question

SPLITS = {"test": 24, "validation": 18, "train": 58}  # percent of the facts
_FACTS = Path(__file__).with_name("basics.yaml")
_Pair = tuple[int, int]


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
        unknown = sorted(set(self.prompts) - set(FAMILIES))
        if unknown or not self.prompts:
            raise ConfigError(
                f"dataset.prompts: there is no family {unknown}; choose among {sorted(FAMILIES)}."
            )
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


def _chosen(count: int, items: Iterable[_Item]) -> list[_Item]:
    """Return ``count`` items, chosen by a hash, so that they lie all over a family's range."""
    return sorted(items, key=lambda item: _hash(f"choice/{item.slug}"))[:count]


def _numeric(slug: str, fact: str, answer: int, *numbers: int) -> _Item:
    values = {name: str(number) for name, number in zip("ab", numbers, strict=False)}
    return _Item(slug, fact, values, (str(answer),))


def _unordered(sign: str, a: int, b: int) -> str:
    return f"{min(a, b)} {sign} {max(a, b)}"


def _pairs(sign: str, answer: Callable[[int, int], int], pairs: Iterable[_Pair]) -> list[_Item]:
    """Return an item for each pair, whose order makes no other fact."""
    return [_numeric(f"{a}-{b}", _unordered(sign, a, b), answer(a, b), a, b) for a, b in pairs]


def _without_carry() -> Iterator[_Pair]:
    return ((a, b) for a in range(10, 50) for b in range(10, a) if a % 10 + b % 10 < 10)


def _in_one_order() -> Iterator[_Pair]:
    """Yield numbers that aren't neighbours, each two of them in one of their two orders."""
    for a, b in product(range(3, 100), repeat=2):
        if abs(a - b) > 1 and _hash(_unordered("<", a, b)) % 2 == (a < b):
            yield a, b


def _of_facts(family: str, field: str) -> list[_Item]:
    listed = {k: [v] if isinstance(v, str) else v for k, v in _facts()[family].items()}
    return [
        _Item(key.lower().replace(" ", "-"), f"{family} {key}", {field: key}, tuple(answers))
        for key, answers in listed.items()
    ]


@cache
def _facts() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(_FACTS.read_text(encoding="utf-8"))
    return found


FAMILIES: dict[str, Callable[[], list[_Item]]] = {
    "sum": lambda: _pairs("+", add, product(range(2, 13), range(2, 10))),
    "two_digit_sum": lambda: _chosen(60, _pairs("+", add, _without_carry())),
    "difference": lambda: [
        _numeric(f"{a}-{b}", _unordered("+", b, a - b), a - b, a, b)
        for a in range(4, 11)
        for b in range(2, a - 1)
    ],
    "product": lambda: _pairs("x", mul, product(range(2, 13), range(2, 10))),
    "quotient": lambda: [
        _numeric(f"{a * b}-{b}", _unordered("x", a, b), a, a * b, b)
        for a, b in product(range(2, 16), range(2, 7))
    ],
    "next": lambda: _chosen(
        80, (_numeric(str(a), _unordered("+", a, 1), a + 1, a) for a in range(5, 100))
    ),
    "larger": lambda: _chosen(60, _pairs("<", max, _in_one_order())),
    "apples": lambda: _pairs("+", add, product(range(2, 11), range(2, 10))),
    "first_letter": lambda: [
        _Item(word, f"letters of {word}", {"word": word}, (word[0], word[0].upper()))
        for word in _facts()["word"]
    ],
    "capital": lambda: _of_facts("capital", "country"),
    "symbol": lambda: _of_facts("symbol", "element"),
    "plural": lambda: _of_facts("plural", "word"),
    "opposite": lambda: [  # one fact, in whichever direction it is asked for
        item._replace(fact=f"opposites {sorted((item.slug, item.references[0]))}")
        for item in _of_facts("opposite", "word")
    ],
}
