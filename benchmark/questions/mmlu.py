"""MMLU: multiple-choice questions of 57 subjects (Hendrycks et al., 2021).

One row::

    {"question": "Find the order of the factor group Z_6/<3>.", "subject": "abstract_algebra",
     "choices": ["2", "3", "6", "12"], "answer": 1}
"""

from dataclasses import dataclass

from benchmark.questions.items import LETTERS, Item, Reader, Row


@dataclass
class MMLU(Reader):
    """Reads a question with its choices."""

    columns = ("question", "subject", "choices", "answer")

    def read(self, row: Row) -> Item:
        """Return the question with its choices and the right one's letter.

        Raises:
            ValueError: the label points at no choice.
        """
        choices, label = tuple(row["choices"]), row["answer"]
        if not 0 <= label < len(choices):
            raise ValueError(f"the label {label} points at none of {len(choices)} choices.")
        metadata = {"family": row["subject"].replace("_", " ")}
        return Item(row["question"], (LETTERS[label],), choices, metadata=metadata)
