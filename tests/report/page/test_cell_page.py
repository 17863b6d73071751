from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest
from cells import only, with_texts

from benchmark.records import DISAGREEMENT
from benchmark.report.page.cell import (
    SHOWN_QUESTIONS,
    SHOWN_RESPONSES,
    outcome_rows,
    question_samples,
    status_rows,
    write_report,
)
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


@pytest.fixture(scope="module")
def hostile(cell, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    odd = with_texts(only(cell, "p_true"), HOSTILE)
    return Page(write_report(odd, folder, {HOSTILE: HOSTILE}).read_text())


def test_the_folder_holds_the_page_the_tables_and_the_figures(report):
    names = {str(path.relative_to(report.parent)) for path in report.parent.rglob("*.*")}
    assert {"report.html", "metrics.csv", "pass_at_k.csv", "figures/divergence.png"} <= names


def test_the_page_needs_no_other_file_and_no_network(report):
    page = Page(report.read_text())
    sources = [value for _, name, value in page.attributes if name in ("src", "srcset", "data")]
    assert sources
    assert all(value.startswith("data:image/png;base64,") for value in sources)
    links = {value for _, name, value in page.attributes if name == "href"}
    assert all(link.startswith("#") or link.endswith(".csv") for link in links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "default-src 'none'" in report.read_text()


def test_the_page_shows_what_was_run_and_all_metrics_of_all_estimators(report, cell):
    text = " ".join(Page(report.read_text()).text)
    for word in ("SmolLM2-135M-Instruct", "Basics", "0123abc", "Signed", "Pearson", "Probe"):
        assert word in text
    assert f"{len(cell.grades):,} graded, 20 per question" in text


def test_the_page_compares_the_estimators_with_the_best_one(report, cell):
    text = report.read_text()
    first = best_estimators(cell, "brier")[0]
    assert f"Differences from {estimator_look(first).name}" in text
    others = len(cell.estimates) - 3  # no oracle, and not itself
    assert text.count("<small>p ") == 4 * others - 1  # the constant has no Spearman correlation
    assert 'href="differences.csv"' in text
    assert (report.parent / "differences.csv").is_file()


def test_a_single_estimator_is_compared_with_nobody(cell, tmp_path):
    text = write_report(only(cell, "p_true"), tmp_path, {}).read_text()
    assert "Differences from" not in text


def test_what_a_model_wrote_is_text_and_never_markup(hostile):
    assert "script" not in hostile.tags
    assert all(not name.startswith("on") for _, name, _ in hostile.attributes)
    images = [value for tag, name, value in hostile.attributes if (tag, name) == ("img", "src")]
    assert all(value.startswith("data:") for value in images)
    whole = "".join(hostile.text)
    assert whole.count(HOSTILE) > SHOWN_RESPONSES * SHOWN_QUESTIONS


def test_questions_and_responses_are_bounded_and_long_texts_cut(cell):
    samples = question_samples(with_texts(cell, "long " * 1000))
    assert len(samples) == SHOWN_QUESTIONS < len(cell.questions)
    assert {len(sample.responses) for sample in samples} == {SHOWN_RESPONSES}
    text = samples[0].responses[0]["text"]
    assert len(text) < 2100
    assert text.endswith("[3,000 more characters]")


def test_the_shown_questions_reach_from_the_hardest_to_the_easiest(cell):
    shown = [sample.c / sample.n for sample in question_samples(cell)]
    accuracy = cell.capability["c"] / cell.capability["n"]
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (accuracy.min(), accuracy.max())


def test_a_missing_confidence_is_shown_by_its_status(cell):
    confidences = dict(question_samples(cell)[0].confidences)
    assert "Random" not in confidences  # many draws have no single confidence
    assert "Probe" in confidences
    silent = cell.estimates["verbalized"].confidences.with_columns(
        confidence=pl.lit(None, pl.Float64), status=pl.lit("unparsed")
    )
    estimates = {"verbalized": replace(cell.estimates["verbalized"], confidences=silent)}
    sample = question_samples(replace(cell, estimates=estimates))[0]
    assert dict(sample.confidences) == {"Verbalized": "unparsed"}


def test_outcome_rates_are_counted_overall_and_by_family(cell):
    rows = outcome_rows(cell)
    assert len(rows) == 1 + 6
    assert sum(row.responses for row in rows[1:]) == rows[0].responses == len(cell.grades)
    assert all(sum(row.rates.values()) == pytest.approx(1) for row in rows)
    right = (cell.grades["outcome"] == "correct").mean()
    assert rows[0].rates["correct"] == pytest.approx(right)


def test_confidences_are_counted_by_status(cell):
    rows = {row.name: row for row in status_rows(cell)}
    verbalized = cell.estimates["verbalized"].confidences
    assert rows["Verbalized"].unparsed == verbalized["confidence"].null_count()
    assert rows["Verbalized"].ok + rows["Verbalized"].unparsed == rows["Verbalized"].rows == 60
    assert rows["Consistency of 10"].samples_used == 10


def test_a_report_that_failed_leaves_no_page(cell, tmp_path):
    (tmp_path / "report.html").write_text("older")
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(FileExistsError):
        write_report(cell, tmp_path, {})
    assert not (tmp_path / "report.html").exists()


def test_responses_that_are_left_out_still_show_in_the_outcomes(cell):
    cut = cell.grades["outcome"] == "truncated"
    counted = replace(cell, grades=cell.grades.filter(~cut), left_out=cell.grades.filter(cut))
    assert outcome_rows(counted) == outcome_rows(cell)
    assert f"{cut.sum()} without an answer are left out" in outcome_line(counted)


def test_disagreements_are_listed_as_text_and_as_a_file(cell, tmp_path):
    listed = pl.DataFrame(
        [("basics/test/0001", HOSTILE, f"a: correct ({HOSTILE}); b: incorrect (9)", 3)],
        schema=DISAGREEMENT,
        orient="row",
    )
    page = write_report(replace(cell, disagreements=listed), tmp_path, {})
    parsed = Page(page.read_text())
    assert "script" not in parsed.tags
    assert any(f"a: correct ({HOSTILE})" in text for text in parsed.text)
    assert pl.read_csv(tmp_path / "disagreements.csv").rows() == listed.rows()
    assert "Graders disagree on 3 of them" in outcome_line(replace(cell, disagreements=listed))
    write_report(cell, tmp_path, {})
    assert not (tmp_path / "disagreements.csv").exists()
