r"""GSM8K: grade-school word problems whose answer is a number (Cobbe et al., 2021).

One row::

    {"question": "A robe takes 2 bolts of blue fiber and half that much white fiber.  How many
                  bolts in total does it take?",
     "answer": "It takes 2/2=<<2/2=1>>1 bolt of white fiber\nSo the total amount of fabric is
                2+1=<<2+1=3>>3 bolts of fabric\n#### 3"}
"""

from dataclasses import dataclass

from benchmark.questions.items import Item, Reader, Row


@dataclass
class GSM8K(Reader):
    """Reads the question and the number behind ``####``."""

    columns = ("question", "answer")

    def read(self, row: Row) -> Item:
        """Return the question and the number behind ``####``.

        Raises:
            ValueError: the answer has no ``####``.
        """
        _, mark, number = row["answer"].rpartition("####")
        if not mark:
            raise ValueError(f"'answer' has no '####': {row['answer'][-80:]!r}.")
        return Item(row["question"], (number.strip().replace(",", ""),))
