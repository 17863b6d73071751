"""TriviaQA without its documents: trivia questions with aliases of the answer (Joshi et al., 2017).

One row, shortened::

    {"question": "Of which African country is Niamey the capital?", "question_id": "tc_241",
     "answer": {"value": "Niger", "aliases": ["Republic of Niger", "Niger", "NG-NI", ...]}}
"""

from dataclasses import dataclass

from benchmark.questions.items import Item, Reader, Row


@dataclass
class TriviaQA(Reader):
    """Reads a question with the aliases of its answer."""

    columns = ("question", "question_id", "answer")

    def read(self, row: Row) -> Item:
        """Return the question; its references are the value, then the other aliases.

        Raises:
            ValueError: the answer is empty.
        """
        answer = row["answer"]
        references = dict.fromkeys([answer["value"], *answer["aliases"]])
        kept = tuple(reference for reference in references if reference and reference.strip())
        return Item(row["question"], kept, row_id=row["question_id"], identity=row["question_id"])
