"""GPQA: multiple-choice questions written by experts in biology, physics and chemistry.

One row, invented here since the authors (Rein et al., 2023) ask not to publish real ones::

    {"Question": "How many moons has the fictional planet Zog?", "Correct Answer": "two",
     "Incorrect Answer 1": "one", "Incorrect Answer 2": "three", "Incorrect Answer 3": "none",
     "High-level domain": "Physics", "Record ID": "rec06pnAkLOr2t2mp"}
"""

import random
from dataclasses import dataclass

from benchmark.questions.items import LETTERS, Item, Reader, Row

_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


@dataclass
class GPQA(Reader):
    """Reads a question and puts its choices into an order of their own."""

    columns = ("Question", "Correct Answer", *_WRONG, "High-level domain", "Record ID")

    def read(self, row: Row) -> Item:
        """Return the question; its choices come in an order that the record id fixes.

        The paper's order, shuffled by row number, would change with the file's order.

        Raises:
            ValueError: two of the choices are the same.
        """
        right = row["Correct Answer"].strip()
        choices = [right, *(row[column].strip() for column in _WRONG)]
        if len(set(choices)) < len(choices):
            raise ValueError(f"choices of record {row['Record ID']} repeat: {choices}.")
        random.Random(row["Record ID"]).shuffle(choices)
        return Item(
            row["Question"].strip(),
            (LETTERS[choices.index(right)],),
            tuple(choices),
            row_id=row["Record ID"],
            identity=row["Record ID"],
            metadata={"family": row["High-level domain"]},
        )
