r"""AIME: competition problems whose answer is an integer from 0 to 999.

One row of AIME 2025; the years before 2024 have ``Question``, ``Answer``, ``ID`` and ``Year``::

    {"problem": "Find the sum of all integer bases $b>9$ for which $17_b$ is a divisor of $97_b.$",
     "answer": "70", "id": "0"}
"""

from dataclasses import dataclass

from benchmark.questions.items import Item, Reader, Row

_HIGHEST = 999
_CONTAMINATED = 2024  # this year's problems belong to evaluation sets


@dataclass
class AIME(Reader):
    """Reads a problem of one year."""

    columns = ("problem", "answer", "id")

    def read(self, row: Row) -> Item:
        """Return the problem and its integer.

        Raises:
            ValueError: the answer is no integer from 0 to 999.
        """
        return _item(row["problem"], row["answer"], row["id"])


@dataclass
class EarlierAIME(Reader):
    """Reads the problems of the years before 2024, and leaves out those of later years."""

    columns = ("Question", "Answer", "ID", "Year")

    def read(self, row: Row) -> Item | None:
        """Return a problem and its integer.

        Raises:
            ValueError: as ``AIME.read``.
        """
        year = int(row["Year"])
        if year >= _CONTAMINATED:
            return None
        return _item(row["Question"], row["Answer"], row["ID"], year=str(year))


def _item(problem: str, answer: object, row_id: object, **metadata: str) -> Item:
    text = str(answer).strip()
    if not text.isdecimal() or int(text) > _HIGHEST:
        raise ValueError(f"the answer is {text!r}, not an integer from 0 to {_HIGHEST}.")
    return Item(problem, (str(int(text)),), row_id=str(row_id), metadata=metadata)
