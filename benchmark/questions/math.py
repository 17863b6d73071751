r"""MATH: competition problems (Hendrycks et al., 2021); MATH-500 is its usual test subset.

One row of MATH-500; the full MATH has no ``answer`` and ``unique_id``, and ``type`` for ``subject``::

    {"problem": "Convert the point $(0,3)$ in rectangular coordinates to polar coordinates. ...",
     "solution": "We have that $r = \sqrt{0^2 + 3^2} = 3.$ ... \boxed{\left( 3, \frac{\pi}{2} \right)}.$",
     "answer": "\left( 3, \frac{\pi}{2} \right)",
     "subject": "Precalculus", "level": "2", "unique_id": "test/precalculus/807.json"}
"""  # noqa: E501

from dataclasses import dataclass

from benchmark.grading.extract import last_box
from benchmark.questions.items import Item, Reader, Row


@dataclass
class MATH(Reader):
    """Reads a problem, and the answer or the solution that boxes it."""

    columns = ("problem", "solution")
    optional = ("answer", "subject", "type", "level", "unique_id")
    nullable = ("solution",)

    def read(self, row: Row) -> Item:
        """Return the problem and its answer: given, or the last box of the solution."""
        answer = row.get("answer") or last_box(row["solution"] or "") or ""
        subject, level = row.get("subject") or row.get("type"), row.get("level")
        metadata = {"family": str(subject)} if subject else {}
        if level is not None:
            metadata["level"] = str(level).removeprefix("Level ")
        return Item(row["problem"], (answer,), row_id=row.get("unique_id"), metadata=metadata)
