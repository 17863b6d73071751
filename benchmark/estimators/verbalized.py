"""The model is asked for the probability that it answers the question correctly."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl
from omegaconf import MISSING

from benchmark.cell.asked import Asked
from benchmark.cell.cell import Cell
from benchmark.config.filling import filled
from benchmark.config.schema import Role
from benchmark.engines import Decoding
from benchmark.errors import ConfigError
from benchmark.estimators.asking import by_question, check_prompt, fill_prompts
from benchmark.estimators.estimator import Estimator
from benchmark.grading.extract import last_box
from benchmark.questions import order_key
from benchmark.records import Estimate

_REPLY_TOKENS = (256, 5000)  # least and most that a reply may have; the authors allow 5,000
# Bounded repetitions: a reply of any length is read in linear time.
_NUMBER = re.compile(
    r"(?:(?:[pP]\w{0,12}(?:\([^()]{0,40}\))?|[cC]onfidence)\s*[=:]\s*)?"
    r"(?P<value>\d{1,6}(?:\.\d{0,12})?|\.\d{1,12})\s*(?P<percent>\\?%)?\.?"
)
# LaTeX and Markdown around a number, which say nothing of its value.
_DRESSING = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\b|\\[,;:! ]|[{}$*]")
_PERCENT = re.compile(r"\s*\}\s*\\?%")  # behind a box


class Example(NamedTuple):
    """A training question with the model's own success in it."""

    question_id: str
    question: str
    n: int
    c: int


@dataclass
class Verbalized(Estimator):
    """One sampled reply to a prompt that asks for a probability inside a box.

    Few-shot prompts show training questions with the expected accuracy that was measured in them,
    c / n, as the confidence: the answer that would have been right, on any dataset.

    Attributes:
        prompt: wording, with ``{question}`` where the bare question goes, ``{response}`` for the
            response that is shown, if any, and ``{examples}`` for the examples, if any.
        max_new_tokens: longest reply in tokens; None allows what a response may have, but at least
            256 and at most 5,000. A model that reasons keeps its own cap.
        responses: number of sampled responses that are shown, each in a prompt of its own; 0 asks
            about the question alone.
        examples: number of training questions that are shown, one from each of as many equal parts
            of the range of expected accuracies.
        example: wording of one, with ``{question}`` and ``{confidence}``.
    """

    prompt: str = MISSING
    max_new_tokens: int | None = None
    responses: int = 0
    examples: int = 0
    example: str = ""

    def __post_init__(self) -> None:
        check_prompt(self.prompt, "verbalized", self.responses, self.examples)
        wanted = ("{question}", "{confidence}") if self.examples else ()
        missing = [place for place in wanted if place not in self.example]
        if missing:
            raise ConfigError(
                f"verbalized: the example has no '{missing[0]}' in it: {self.example[:80]!r}."
            )
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ConfigError(
                f"verbalized: max_new_tokens={self.max_new_tokens} must be at least 1, or null."
            )

    @property
    def reads(self) -> Mapping[str, int]:
        """The responses that are shown."""
        return {"responses": self.responses}

    @property
    def roles(self) -> tuple[Role, ...]:
        """The train split, where examples are shown."""
        return ("train",) if self.examples else ()

    def check(self, cell: Cell, role: Role = "evaluation") -> None:
        """Refuse a train split with fewer other questions than examples."""
        if self.examples:
            own = 1 if role == "train" else 0
            _check_pool(cell.questions["train"].height - own, self.examples)

    def requests(self, cell: Cell, role: Role = "evaluation") -> Iterable[Asked]:
        """Return a reply about each question, or about each response that is shown."""
        examples = self._examples(cell, role) if self.examples else lambda _: ""
        prompts = fill_prompts(self.prompt, cell, role, self.responses, examples)
        return [cell.replies(role, "verbalized", prompts, 1, self._decoding(cell))]

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the stated probability of each question, or null with the status that says why."""
        (asked,) = self.requests(cell, role)
        replies = cell.sample(asked, self._decoding(cell))
        failed = pl.col("finish_reason") == "error"
        texts = replies.select("text", "finish_reason").iter_rows()
        read = [
            parse_confidence(self._own_part(text), reason != "length") for text, reason in texts
        ]
        stated = pl.Series("confidence", read, pl.Float64)
        status = (
            pl.when(failed)
            .then(pl.lit("error"))
            .when(pl.col("confidence").is_null())
            .then(pl.lit("unparsed"))
            .otherwise(pl.lit("ok"))
        )
        table = replies.with_columns(stated).with_columns(status=status)
        return Estimate(by_question(table), samples_used=self.responses)

    def _decoding(self, cell: Cell) -> Decoding:
        least, most = _REPLY_TOKENS
        own = cell.config.model.decoding.max_new_tokens
        return cell.decoding(self.max_new_tokens or min(max(own, least), most))

    def _own_part(self, reply: str) -> str:
        """Return a reply without the further examples that small models add to it."""
        opening = self.example.partition("{question}")[0].strip()
        return re.split(rf"(?<=\S)\s*\n\s*{re.escape(opening)}", reply)[0] if opening else reply

    def _examples(self, cell: Cell, role: Role) -> Callable[[str], str]:
        """Return what is shown to the question of an id: examples, never the question itself."""
        train = cell.split("train")
        counted = train.capability.join(train.questions, on="question_id")
        pool = [Example(*row) for row in counted["question_id", "question", "n", "c"].iter_rows()]
        pool.sort(key=lambda e: order_key(cell.config.dataset.seed, e.question_id))

        def text(pool: list[Example]) -> str:
            return "\n\n".join(
                filled(self.example, {"question": e.question, "confidence": f"{e.c / e.n:.2f}"})
                for e in choose_examples(pool, self.examples)
            )

        shown = choose_examples(pool, self.examples) if role == "train" else []
        own = {e.question_id: text([other for other in pool if other != e]) for e in shown}
        usual = text(pool)
        return lambda question_id: own.get(question_id, usual)


def choose_examples(pool: Sequence[Example], count: int) -> list[Example]:
    """Return one example from each of ``count`` equal parts of [0, 1], by c / n, lowest first.

    It is the first of the pool whose accuracy lies in the part, lower end closed; where none does,
    the first of those nearest to the part's middle. None is taken twice.

    Raises:
        ConfigError: the pool is too small.
    """
    _check_pool(len(pool), count)
    chosen: list[Example] = []
    for part in range(count):

        def distance(example: Example, part: int = part) -> float:
            own = min(example.c * count // example.n, count - 1)
            return 0 if own == part else abs(example.c / example.n - (part + 0.5) / count)

        chosen.append(min((e for e in pool if e not in chosen), key=distance))
    return sorted(chosen, key=lambda e: e.c / e.n)


def _check_pool(questions: int, count: int) -> None:
    if questions < count:
        raise ConfigError(
            f"verbalized: {count} examples are to be shown, but there are only {questions} other "
            f"training questions; raise dataset.train_limit, or show fewer."
        )


def parse_confidence(text: str, finished: bool = True) -> float | None:
    r"""Return the probability that a reply states, or None.

    Read is the last ``\boxed{...}``, or the whole reply where it is finished and nothing but a
    number. Allowed are 0.85, .85, 85%, 85\%, P = 0.85, Confidence: 0.85, in bold or as text; values
    outside [0, 1] are not read.

    Examples:
        >>> parse_confidence(r"I am fairly sure. \boxed{ 85\% }")
        0.85
        >>> parse_confidence("0.7")
        0.7
        >>> parse_confidence(r"\boxed{7}") is None
        True
    """
    _, boxed, last = text.rpartition(r"\boxed")
    bare = text if finished and len(text) < 40 else ""
    content = (last_box(boxed + last) or "") if boxed else bare
    match = _NUMBER.fullmatch(_DRESSING.sub("", content).strip())
    if match is None:
        return None
    percent = match["percent"] or (boxed and _PERCENT.match(last.partition(content)[2]))
    value = float(match["value"]) / (100 if percent else 1)
    return value if 0 <= value <= 1 else None
