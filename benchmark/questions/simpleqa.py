"""SimpleQA and SimpleQA-Verified: short factual questions with one answer.

One row of SimpleQA-Verified (Haas et al., 2025), shortened; ``original_index`` is the row number
in SimpleQA (Wei et al., 2024), whose rows have ``problem`` and ``answer``::

    {"original_index": 8, "problem": "What is the name of the former Prime Minister of Iceland who
     worked as a cabin crew member until 1971?", "answer": "Jóhanna Sigurðardóttir",
     "topic": "Politics"}
"""

from dataclasses import dataclass

from benchmark.questions.items import Item, Reader, Row


@dataclass
class SimpleQAVerified(Reader):
    """Reads the rows of SimpleQA-Verified."""

    columns = ("original_index", "problem", "answer", "topic")

    def read(self, row: Row) -> Item:
        """Return a verified question; it is the one of SimpleQA that ``original_index`` counts."""
        index = str(row["original_index"])
        metadata = {"family": row["topic"]}
        return Item(row["problem"], (row["answer"],), (), index, index, metadata)


@dataclass
class SimpleQA(Reader):
    """Reads the rows of SimpleQA."""

    columns = ("problem", "answer")

    def read(self, row: Row) -> Item:
        """Return a question of SimpleQA."""
        return Item(row["problem"], (row["answer"],), identity=str(row["index"]))
