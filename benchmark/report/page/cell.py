"""Stage 8: one self-contained HTML page of a grid cell, with its tables as CSV and its figures.

What a model or a dataset wrote is untrusted text: every value is escaped by the template engine,
and the page's policy forbids scripts and the network.
"""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import polars as pl

from benchmark.records import OUTCOMES, CellResult
from benchmark.report import style
from benchmark.report.figures.cell import Draw, write_figures
from benchmark.report.plotted import ID, family_of
from benchmark.report.style import dataset_name, estimator_look, model_name
from benchmark.report.tables import cell as tables
from benchmark.store.files import write_whole

SHOWN_QUESTIONS = 40
SHOWN_RESPONSES = 8
SHOWN_DISAGREEMENTS = 100
MOST_CHARACTERS = 2000


class OutcomeRow(NamedTuple):
    """Outcomes of a group of responses."""

    name: str
    responses: int
    rates: dict[str, float]  # by outcome, in [0, 1]


class StatusRow(NamedTuple):
    """How many of an estimator's rows gave a confidence."""

    name: str
    rows: int
    ok: int
    unparsed: int
    error: int
    samples_used: int


def write_report(
    result: CellResult, folder: Path, provenance: dict[str, str], more: Iterable[Draw] = ()
) -> Path:
    """Write ``report.html``, its tables as CSV and ``figures/*.png``.

    The tables are ``metrics.csv``, ``differences.csv`` and one per application.

    ``report.html`` comes last, so that where it exists the rest is complete. It needs no other
    file and no network.

    Args:
        result: the cell.
        folder: is made if it doesn't exist; files of an older report are replaced.
        provenance: shown as it is, for example versions, commit, fingerprints.
        more: figures beside the harness's own.

    Returns:
        The path of ``report.html``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.unlink(missing_ok=True)
    plates = write_figures(result, folder / "figures", more)
    tables.write_metrics(result, folder / "metrics.csv")
    tables.write_differences(result, folder / "differences.csv")
    files = ["metrics.csv", "differences.csv", *tables.write_applications(result, folder)]
    disagreements = folder / "disagreements.csv"
    disagreements.unlink(missing_ok=True)
    if len(result.disagreements):
        result.disagreements.write_csv(disagreements)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["base64"] = lambda path: base64.b64encode(path.read_bytes()).decode()
    first = next(iter(tables.best_estimators(result, "brier")), None)
    html = environment.get_template("cell.html").render(
        title=f"{model_name(result.model)} on {dataset_name(result.dataset)}",
        facts=_facts(result),
        provenance=provenance,
        metric_groups=tables.metric_groups(result),
        metric_look=style.metric_look,
        rows=tables.metric_rows(result),
        table_caption=tables.CAPTION,
        reference=estimator_look(first).name if first else None,
        comparisons=tables.comparisons(result, first) if first else [],
        missing=style.MISSING,
        files=files,
        failed=result.failed,
        plates=plates,
        counted=result.counted,
        outcome_looks=style.COUNTED_OUTCOMES if result.counted else style.OUTCOMES,
        outcomes=outcome_rows(result),
        statuses=status_rows(result),
        disagreements=result.disagreements.head(SHOWN_DISAGREEMENTS).rows(named=True),
        disagreeing=len(result.disagreements),
        samples=question_samples(result),
        shown_responses=SHOWN_RESPONSES,
    )
    write_whole(page, html.encode())
    return page


def outcome_rows(result: CellResult) -> list[OutcomeRow]:
    """Return the outcome rates of all responses, and of each family where questions have one."""
    every = pl.concat([result.grades, result.left_out])
    rows = [_outcome_row("All", every)]
    by_family = every.join(family_of(result.questions), on=ID).sort("family")
    for (family,), grades in by_family.group_by("family", maintain_order=True):
        rows.append(_outcome_row(str(family), grades))
    return rows


def _outcome_row(name: str, grades: pl.DataFrame) -> OutcomeRow:
    counts = dict(grades["outcome"].value_counts().rows())
    return OutcomeRow(name, len(grades), {o: counts.get(o, 0) / len(grades) for o in OUTCOMES})


def status_rows(result: CellResult) -> list[StatusRow]:
    """Return how many confidences of each estimator are ok, unparsed and failed."""
    rows = []
    for name, estimate in result.estimates.items():
        counts = dict(estimate.confidences["status"].value_counts().rows())
        ok, unparsed, error = (counts.get(status, 0) for status in ("ok", "unparsed", "error"))
        total = len(estimate.confidences)
        look = estimator_look(name)
        rows.append(StatusRow(look.name, total, ok, unparsed, error, estimate.samples_used))
    return rows


class Sample(NamedTuple):
    """A question as the page shows it."""

    question_id: str
    family: str | None
    prompt: str
    references: str
    n: int
    c: int
    confidences: list[tuple[str, str]]  # estimator's name and confidence
    responses: list[dict[str, Any]]


def question_samples(result: CellResult) -> list[Sample]:
    """Return at most ``SHOWN_QUESTIONS`` questions, evenly spaced in the order of ``c / n``."""
    ordered = (
        result.capability.join(result.questions, on=ID)
        .join(family_of(result.questions), on=ID, how="left")
        .sort(pl.col("c") / pl.col("n"), ID)
    )
    shown = min(SHOWN_QUESTIONS, len(ordered))
    chosen = ordered[np.linspace(0, len(ordered) - 1, shown).round().astype(int)]
    responses = _shown_responses(result, chosen[ID])
    confidences = _single_confidences(result, chosen[ID])
    return [
        Sample(
            row[ID],
            row["family"],
            clip(row["prompt"]),
            clip("; ".join(row["references"])),
            row["n"],
            row["c"],
            confidences.get(row[ID], []),
            responses.get(row[ID], []),
        )
        for row in chosen.iter_rows(named=True)
    ]


def _shown_responses(result: CellResult, ids: pl.Series) -> dict[str, list[dict[str, Any]]]:
    """Return the first responses of the questions, with their grades, by question."""
    rows = (
        result.responses.filter(pl.col(ID).is_in(ids.implode()))
        .collect()
        .join(pl.concat([result.grades, result.left_out]), on=[ID, "sample_index"])
        .sort(ID, "sample_index")
        .group_by(ID, maintain_order=True)
        .head(SHOWN_RESPONSES)
    )
    shown: dict[str, list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        texts = {key: row[key] and clip(row[key]) for key in ("text", "reasoning", "answer")}
        shown.setdefault(row[ID], []).append(
            {
                **texts,
                "outcome": row["outcome"],
                "reason": row["reason"],
                "tokens": row["completion_tokens"],
            }
        )
    return shown


def _single_confidences(result: CellResult, ids: pl.Series) -> dict[str, list[tuple[str, str]]]:
    """Return the confidences by question, of the estimators that draw one per question."""
    shown: dict[str, list[tuple[str, str]]] = {}
    for name, estimate in result.estimates.items():
        rows = estimate.confidences.filter(pl.col(ID).is_in(ids.implode()))
        if rows[ID].is_duplicated().any():
            continue
        for row in rows.iter_rows(named=True):
            confidence, status = row["confidence"], row["status"]
            text = status if confidence is None else tables.number(confidence, 2)
            shown.setdefault(row[ID], []).append((estimator_look(name).name, text))
    return shown


def clip(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return the text, cut after ``most`` characters with a note of what is missing."""
    cut = len(text) - most
    return text if cut <= 0 else f"{text[:most]} … [{cut:,} more characters]"


def _facts(result: CellResult) -> dict[str, str]:
    """Return what was run, by name."""
    n = result.capability["n"].unique().sort().to_list()
    fewest, most = n[0], n[-1]
    responses = len(result.grades) + len(result.left_out)
    per_question = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    judged = "judged elsewhere, in random order" if result.counted else "graded"
    names = ", ".join(estimator_look(name).name for name in result.estimates)
    return {
        "Model": model_name(result.model),
        "Dataset": f"{dataset_name(result.dataset)}, {result.split}",
        "Questions": f"{len(result.questions):,}",
        "Responses": f"{responses:,} {judged}, {per_question} per question",
        **({"Left out": f"{len(result.left_out):,} responses"} if len(result.left_out) else {}),
        "Estimators": names,
    }
