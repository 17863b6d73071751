"""Stage 3, grading: responses and questions become a table of schema ``GRADE``.

A grader is a dataclass whose fields are its settings. A file in ``conf/grading`` names it as
``_target_``. It sees the text of one response, the prompt and the references. It never sees the
other responses to the question, nor what a response thinks between tags such as ``<think>``.
Grading again never samples.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from types import ModuleType
from typing import Any, Protocol, cast

import polars as pl
from omegaconf import MISSING, OmegaConf
from rich.console import Console

from benchmark.config.build import build_all
from benchmark.config.composing import CONF, own_folders
from benchmark.engines.reasoning import split_reasoning
from benchmark.errors import ConfigError, DataError
from benchmark.grading.verdict import Answer, Verdict
from benchmark.records import DISAGREEMENT, GRADE, QUESTION, RESPONSE, check_table
from benchmark.store.artifact import Artifact
from benchmark.store.rows import Row

__all__ = [
    "Answer",
    "Grader",
    "Verdict",
    "build_graders",
    "disagreements",
    "grade",
    "grade_text",
    "named_graders",
]


class Grader(Protocol):
    """Reads and compares answers."""

    @property
    def identity(self) -> dict[str, Any]:
        """What the verdicts depend on, for their fingerprint."""

    def grade(
        self, answers: Sequence[Answer], artifact: Artifact, console: Console
    ) -> list[Verdict]:
        """Return the verdict on each of N distinct answers; costly ones are kept in artifact."""


def build_graders(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Grader]:
    """Return the graders of ``conf/grading`` entries by name; the first decides.

    Raises:
        ConfigError: no grader, an unknown class or key, or a setting out of range.
    """
    if not isinstance(entries, Mapping) or not entries:
        shown = [*entries] if isinstance(entries, Mapping) else entries
        raise ConfigError(f"grading={shown} is not allowed: it must name at least one grader.")
    return build_all(entries, "grading", "grade")


def named_graders(names: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Return entries of ``conf/grading`` by name; None takes those that need no more settings."""
    found: dict[str, Any] = {}
    folders = [folder / "grading" for folder in (CONF, *reversed(own_folders()))]
    for path in (path for folder in folders for path in sorted(folder.glob("*.yaml"))):
        entry: Any = OmegaConf.to_container(OmegaConf.load(path))  # unresolved
        alone = MISSING not in entry.values() and "defaults" not in entry
        if path.stem in names if names is not None else alone:
            found[path.stem] = entry
    return found


def grade(
    responses: pl.DataFrame,
    questions: pl.DataFrame,
    name: str,
    grader: Grader,
    artifact: Artifact,
    console: Console,
    known: dict[Answer, Verdict] | None = None,
) -> pl.DataFrame:
    """Return the grade of every response, in the order of ``responses``.

    Equal texts to equal questions are graded once.

    Args:
        responses: table of schema ``RESPONSE``.
        questions: table of schema ``QUESTION``, in any order.
        name: name of the grader, for the grades.
        grader: the grader.
        artifact: store for judgements that cost something.
        console: place where progress is shown.
        known: verdicts that this grader gave before; new ones are added.

    Returns:
        A table of schema ``GRADE``.

    Raises:
        DataError: a response to a question that is not in ``questions``, one without a text, or one
            whose request failed.
    """
    check_table(questions, QUESTION, "questions")
    asked = {
        key: (prompt, tuple(references))
        for key, prompt, references in questions["question_id", "prompt", "references"].iter_rows()
    }
    rows = check_table(responses, RESPONSE, "responses").iter_rows(named=True)
    keys = [_asked_answer(row, asked) for row in rows]
    verdicts = {} if known is None else known
    new = [key for key in dict.fromkeys(keys) if key not in verdicts]
    verdicts |= zip(new, grader.grade(new, artifact, console), strict=True)
    found = pl.DataFrame(
        [verdicts[key] for key in keys],
        schema={column: GRADE[column] for column in ("answer", "outcome", "reason")},  # the rule
        orient="row",
    )
    graded = responses.select("question_id", "sample_index").hstack(found)
    return graded.with_columns(grader=pl.lit(name, pl.String)).select(list(GRADE))


def grade_text(grader: str, response: str, references: Sequence[str], prompt: str = "") -> Verdict:
    r"""Return the verdict of a grader, with its default settings, on one finished response.

    It is what a run's grade would be.

    Args:
        grader: a file's name in ``conf/grading``, but ``llm_judge``, whose judge a run names.
        response: text; thoughts in tags such as ``<think>`` are left out.
        references: accepted answers, at least one.
        prompt: the user turn, whose instruction about the box is no answer where it is repeated.

    Raises:
        ValueError: no such grader, or no reference, or one that is empty.

    Examples:
        >>> verdict = grade_text("number", r"So it is \boxed{70\,000}.", ["70000"])
        >>> verdict.outcome, verdict.rule
        ('correct', 'the last box with a number')
    """
    known = named_graders()
    if grader == "llm_judge":
        raise ValueError(
            "'llm_judge' is no grader of single texts: it asks a model, which a run's "
            f"configuration names (grading.llm_judge.model). Choose one of {[*known]}."
        )
    if grader not in known:
        near = get_close_matches(grader, known) or [*known]
        raise ValueError(f"{grader!r} is no grader of single texts; choose one of {near}.")
    if isinstance(references, str) or not references or not all(r.strip() for r in references):
        raise ValueError(f"references={references!r} must be a list of accepted answers.")
    answer = _answer(prompt, response, True, tuple(references))
    kept = cast(Artifact, _Unkept())
    with _no_main_module():
        (made,) = build_graders({grader: known[grader]}).values()
        verdicts = made.grade([answer], kept, Console(quiet=True))
    return verdicts[0]


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep worker processes from running the caller's script, of which they need nothing."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Unkept:
    """An artifact that keeps nothing, for the grading of one text."""

    def fill(
        self,
        wanted: pl.DataFrame,
        produce: Callable[[pl.DataFrame], Iterable[Row | None]],
        *_: object,
    ) -> pl.DataFrame:
        made = produce(wanted) if wanted.height else ()
        return pl.DataFrame([row for row in made if row is not None])


def disagreements(grades: Mapping[str, pl.DataFrame], questions: pl.DataFrame) -> pl.DataFrame:
    """Return where graders differ on whether a response is correct, most frequent first.

    Args:
        grades: of schema ``GRADE``, by grader, for the same responses.
        questions: of schema ``QUESTION``.

    Returns:
        A table of schema ``DISAGREEMENT``; empty with a single grader.
    """
    if len(grades) < 2:
        return DISAGREEMENT.to_frame()
    reason = pl.format("; {}", "reason").fill_null("")
    answer = pl.col("answer").fill_null("no answer")
    verdict = pl.format("{}: {} ({}{})", "grader", "outcome", answer, reason)
    every = pl.concat([t.with_columns(pl.lit(name).alias("grader")) for name, t in grades.items()])
    by_response = every.group_by("question_id", "sample_index", maintain_order=True).agg(
        verdicts=verdict.str.join("; "), differ=(pl.col("outcome") == "correct").n_unique() > 1
    )
    counted = by_response.filter("differ").group_by("question_id", "verdicts")
    references = questions.select("question_id", pl.col("references").list.join("; "))
    joined = counted.agg(responses=pl.len().cast(pl.Int64)).join(references, on="question_id")
    order = ["responses", "question_id", "verdicts"]
    return joined.sort(order, descending=[True, False, False])[list(DISAGREEMENT)]


def _answer(prompt: str, text: str, finished: bool, references: tuple[str, ...]) -> Answer:
    """Return a response as graders see it; one that ends inside its thoughts was cut off."""
    split = split_reasoning(text, "none")
    return Answer(prompt, split.text, finished and split.ended, references)


def _asked_answer(
    response: Mapping[str, Any], asked: Mapping[str, tuple[str, tuple[str, ...]]]
) -> Answer:
    """Return a row of schema ``RESPONSE`` as graders see it.

    Raises:
        DataError: its question is unknown, or it has no text to grade.
    """
    question_id, text, ended = (response[c] for c in ("question_id", "text", "finish_reason"))
    name = f"response {response['sample_index']} to '{question_id}'"
    if question_id not in asked:
        raise DataError(f"{name}: there is no such question; grade with the questions sampled.")
    if ended not in {"stop", "length"} or text is None:
        raise DataError(
            f"{name} has finish_reason '{ended}' and {'no' if text is None else 'a'} text; "
            f"only finished or truncated responses are graded. Sample it again."
        )
    prompt, references = asked[question_id]
    return _answer(prompt, text, ended == "stop", references)
