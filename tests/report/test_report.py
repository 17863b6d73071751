from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest
from cells import only, with_texts

from benchmark.records import DISAGREEMENT
from benchmark.report.grid import make_grid
from benchmark.report.page.page import outcome_rows, status_rows
from benchmark.report.report import write_report
from benchmark.report.style import estimator_look
from benchmark.report.tables.cell import best_estimators, outcome_line

HOSTILE = "<script>alert(1)</script></pre>\"><img src=x onerror=alert(2)>{{ 7 * 7 }}&lt;'"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.text.append(data)


def written(folder, *cells, **more):
    return write_report(make_grid(cells), folder, **more)


@pytest.fixture(scope="module")
def hostile(cell, tmp_path_factory):
    odd = with_texts(only(cell, "p_true"), HOSTILE)
    odd = replace(odd, model=HOSTILE, failed={HOSTILE: HOSTILE})
    folder = tmp_path_factory.mktemp("hostile")
    return Page(written(folder, odd, provenance={HOSTILE: HOSTILE}).read_text())


def test_the_folder_holds_the_page_the_tables_and_the_figures(report):
    names = {str(path.relative_to(report.parent)) for path in report.parent.rglob("*.*")}
    assert names >= {
        "report.html", "metrics.csv", "differences.csv", "pass_at_k.csv", "tables/brier.tex",
        "figures/divergence.png", "figures/divergence.pdf",
    }  # fmt: skip


def test_the_csv_files_hold_every_value_of_every_cell_and_name_it(cell, tmp_path):
    cells = [cell, replace(cell, model="big")]
    written(tmp_path, *cells)
    tables = {"metrics": cell.metrics, "differences": cell.differences, **cell.applications}
    for name, table in tables.items():
        read = pl.read_csv(tmp_path / f"{name}.csv", schema_overrides=dict(table.schema))
        assert read.columns[:3] == ["model", "dataset", "split"]
        for one in cells:
            own = read.filter(model=one.model).select(table.columns)
            assert own.equals(table, null_equal=True)


def test_the_page_needs_no_other_file_and_no_network(report):
    page = Page(report.read_text())
    sources = [value for _, name, value in page.attributes if name in ("src", "srcset", "data")]
    assert sources
    assert all(value.startswith("data:image/png;base64,") for value in sources)
    links = {value for _, name, value in page.attributes if name == "href"}
    assert all(link.startswith("#") or link.endswith(".csv") for link in links)
    assert not {"link", "iframe", "object"} & set(page.tags)
    policies = [value for tag, name, value in page.attributes if (tag, name) == ("meta", "content")]
    assert any(policy.startswith("default-src 'none'; script-src 'sha256-") for policy in policies)


def test_the_page_of_one_cell_shows_what_was_run_and_all_metrics_of_all_estimators(report):
    text = " ".join(Page(report.read_text()).text)
    for word in ("SmolLM2-135M-Instruct", "Basics", "0123abc", "Signed", "Pearson", "Probe"):
        assert word in text
    assert "60 questions and 1,200 judged responses, 20 per question" in text


def test_the_page_compares_the_estimators_with_the_best_one(report, cell):
    text = report.read_text()
    first = best_estimators(cell, "brier")[0]
    assert f"Differences from {estimator_look(first).name}" in text
    others = len(cell.estimates) - 3  # no oracle, and not itself
    assert text.count("<small>p ") == 4 * others - 1  # the constant has no Spearman correlation
    assert 'href="differences.csv"' in text
    assert (report.parent / "differences.csv").is_file()


def test_a_single_estimator_is_compared_with_nobody(cell, tmp_path):
    assert "Differences from" not in written(tmp_path, only(cell, "p_true")).read_text()


def test_where_nobody_answered_nobody_is_best_and_nothing_is_compared(cell, tmp_path):
    nobody = cell.metrics.with_columns(value=pl.lit(float("nan")), answered=pl.lit(0, pl.Int64))
    assert "Differences from" not in written(tmp_path, replace(cell, metrics=nobody)).read_text()


def test_what_a_model_wrote_is_text_and_never_markup(hostile):
    scripts = [value for tag, name, value in hostile.attributes if (tag, name) == ("script", "src")]
    assert not scripts
    assert hostile.tags.count("img") == hostile.tags.count("figure")
    assert all(not name.startswith("on") for _, name, _ in hostile.attributes)
    assert "".join(hostile.text).count(HOSTILE) > 4


def test_outcome_rates_are_counted_overall_and_by_family(cell):
    rows = outcome_rows(cell, families=True)
    assert len(rows) == 1 + 6
    assert sum(row["responses"] for row in rows[1:]) == rows[0]["responses"] == len(cell.grades)
    assert all(sum(row["rates"].values()) == pytest.approx(1) for row in rows)
    right = (cell.grades["outcome"] == "correct").mean()
    assert rows[0]["rates"]["correct"] == pytest.approx(right)
    none = pl.Series([[]] * 60, dtype=cell.questions.schema["metadata"])
    bare = replace(cell, questions=cell.questions.with_columns(metadata=none))
    assert len(outcome_rows(bare, families=True)) == len(outcome_rows(cell, families=False)) == 1


def test_confidences_are_counted_by_status(cell):
    rows = {row["name"]: row for row in status_rows(cell)}
    verbalized = cell.estimates["verbalized"].confidences
    assert rows["Verbalized"]["unparsed"] == verbalized["confidence"].null_count()
    assert rows["Verbalized"]["ok"] + rows["Verbalized"]["unparsed"] == 60
    assert rows["Consistency of 10"]["samples_used"] == 10


def test_responses_that_are_left_out_still_show_in_the_outcomes(cell):
    cut = cell.grades["outcome"] == "truncated"
    counted = replace(cell, grades=cell.grades.filter(~cut), left_out=cell.grades.filter(cut))
    (row,), (whole,) = (outcome_rows(c, families=False) for c in (counted, cell))
    assert (row["rates"], row["left_out"], whole["left_out"]) == (whole["rates"], cut.sum(), 0)
    assert f"{cut.sum()} without an answer are left out" in outcome_line(counted)


def test_disagreements_are_listed_as_text_and_as_a_file(cell, tmp_path):
    listed = pl.DataFrame(
        [("basics/test/0001", HOSTILE, f"a: correct ({HOSTILE}); b: incorrect (9)", 3)],
        schema=DISAGREEMENT,
        orient="row",
    )
    page = written(tmp_path, replace(cell, disagreements=listed))
    parsed = Page(page.read_text())
    assert any(f"a: correct ({HOSTILE})" in text for text in parsed.text)
    read = pl.read_csv(tmp_path / "disagreements.csv")
    assert read.select(listed.columns).rows() == listed.rows()
    assert "Graders disagree on 3 of them" in outcome_line(replace(cell, disagreements=listed))
    written(tmp_path, cell)
    assert not (tmp_path / "disagreements.csv").exists()
