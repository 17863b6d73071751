"""Counts from elsewhere: a CSV file becomes a cell, and what is wrong in it is named."""

import gzip
import io
import os
import socket
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from benchmark.capability.counts import count_outcomes
from benchmark.cell import csv_file
from benchmark.cell.counted import Counts, read_counts
from benchmark.errors import ConfigError, DataError
from benchmark.metrics.evaluate import evaluate
from benchmark.questions.counts import ColumnsConfig, CountedDataset
from benchmark.records import CONFIDENCE, GRADE, QUESTION
from tests.test_main import run

QUIET = Console(quiet=True)
PAPER = Path(__file__).parents[3] / "shared" / "paper" / "math500_gpt-oss-20b_per_question.csv"
PAPER_COLUMNS = ColumnsConfig("example_id", "num_samples", "num_correct")
EXAMPLE = """question_id,n,c,probe,asked,question,topic
b,4,1,0.25,,What is 2 + 2?,sums
a,3,3,0.9,1,What is 1 + 1?,sums
c,2,0,0,0.5,"What is ""pi"", roughly?",numbers
"""


def read(path: Path, text: str | bytes = EXAMPLE, console: Console = QUIET, **columns) -> Counts:
    path = path / "counts.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    config = CountedDataset(name="counts", path=str(path))
    return read_counts(replace(config, columns=ColumnsConfig(**columns)), console)


def test_a_row_becomes_its_counts_and_confidences(tmp_path):
    counts = read(tmp_path)
    assert counts.questions.schema == QUESTION
    assert counts.questions["question_id"].to_list() == ["a", "b", "c"]
    assert counts.questions["prompt"][2] == 'What is "pi", roughly?'
    assert counts.grades.schema == GRADE
    capability = count_outcomes(counts.grades).select("question_id", "n", "c")
    assert capability.rows() == [("a", 3, 3), ("b", 4, 1), ("c", 2, 0)]
    assert list(counts.estimates) == ["probe", "asked"]
    table = counts.estimates["asked"].confidences
    assert table.schema == CONFIDENCE
    assert table.select("question_id", "confidence", "status").rows() == [
        ("a", 1.0, "ok"), ("b", None, "unparsed"), ("c", 0.5, "ok"),
    ]  # fmt: skip
    assert table["prompt_tokens"].to_list() == [None] * 3  # not known, which isn't 0


def test_columns_that_hold_no_numbers_are_named_and_not_read(tmp_path):
    out = io.StringIO()
    read(tmp_path, console=Console(file=out, width=1000))
    assert "columns that hold no numbers are not read: topic." in out.getvalue()


def test_columns_may_have_any_names_and_the_confidences_be_chosen(tmp_path):
    text = "id,samples,right,p,length\nx,10,5,0.5,88\ny,10,1,0.2,13\n"
    names = {"question_id": "id", "n": "samples", "c": "right"}
    counts = read(tmp_path, text, confidences=["p"], **names)
    assert list(counts.estimates) == ["p"]
    assert counts.questions["prompt"].to_list() == ["x", "y"]  # nothing else names them
    with pytest.raises(DataError, match=r"column 'length', question 'x': '88' is no confidence"):
        read(tmp_path, text, **names)


def test_the_order_of_grades_is_random_but_fixed_and_not_that_of_the_rows(tmp_path):
    rows = [f"q{i:03},40,{i % 41},0.5" for i in range(200)]
    header = "question_id,n,c,p\n"
    grades = read(tmp_path, header + "\n".join(rows)).grades
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(200)]
    assert read(tmp_path, header + "\n".join(shuffled)).grades.equals(grades)
    assert grades["sample_index"].to_list() == list(range(40)) * 200
    right = grades.filter(pl.col("outcome") == "correct").group_by("sample_index").len()
    expected = sum(i % 41 for i in range(200)) / 40
    assert right["len"].to_numpy() == pytest.approx(np.full(40, expected), abs=25)  # 4 deviations


def test_what_spreadsheets_write_is_read(tmp_path):
    text = "\ufeffquestion_id, n ,c,p\r\nä,1e2, 50.0 ,0.5\r\n\r\nb,100,0,\r\n"
    counts = read(tmp_path, text)
    assert count_outcomes(counts.grades).select("n", "c").rows() == [(100, 0), (100, 50)]
    assert counts.questions["question_id"].to_list() == ["b", "ä"]


HEAD = "question_id,n,c,p\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ["is empty"]),
        (HEAD, ["no row", "'p'"]),
        ("question_id,n,p\na,1,0.5\n", ["no column 'c'", "dataset.columns"]),
        ("question_id;n;c\na;1;1\n", ["separated by ';'", "put commas"]),
        ("question_id\tn\tc\na\t1\t1\n", ["separated by '\\t'"]),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["LFS", "git lfs pull"]),
        (HEAD.encode() + "a,1,1,0.5\nfür,1,1,0\n".encode("latin-1"), ["line 3", "für", "LATIN1"]),
        ((HEAD + "a,1,1,0.5\n").encode("utf-16"), ["line 1", "iconv -f UTF-16"]),
        ('{"question_id": 1}\n{"question_id": 2}\n', ["no column 'question_id'"]),
        ("," * 100_000 + "\n", ["100,001 columns", "at most 1,000"]),
        ("," * 10 + "\n", ["11 columns ''"]),
        ("x" + ",".join(map(str, range(999))) + "\na\n", ["line 2", "999 columns"]),
        (HEAD + "a,1,1\n", ["line 2", "3 values under 4 columns"]),
        (HEAD + "a,1,1,0.5,9\n", ["line 2", "5 values"]),
        (b"\xff\xfe\x00PAR1", ["is not text in UTF-8"]),
        (HEAD + 'a,1,1,"0.5\n', ["line 2", "no CSV"]),
        ("question_id,n,c,p,p\na,1,1,0,0\n", ["2 columns 'p'"]),
        (HEAD + "a,1,1,0.5\na,1,0,0.5\n", ["question 'a' occurs twice"]),
        (HEAD + ",1,1,0.5\n", ["row 1", "no question id"]),
        (HEAD + "a,3,4,0.5\n", ["question 'a'", "'c' is 4", "'n' only 3"]),
        (HEAD + "a,0,0,0.5\n", ["column 'n'", "'0'", "at least 1"]),
        (HEAD + "a,2.5,1,0.5\n", ["column 'n'", "'2.5'", "whole number"]),
        (HEAD + "a,2,-1,0.5\n", ["column 'c'", "'-1'", "at least 0"]),
        (HEAD + "a,,1,0.5\n", ["column 'n'", "''", "whole number"]),
        (HEAD + "a,1_000,1,0.5\n", ["column 'n'", "'1_000'", "whole number"]),
        (HEAD + "a,inf,1,0.5\n", ["column 'n'", "'inf'"]),
        (HEAD + "a,many,1,0.5\n", ["column 'n'", "'many'"]),
        (HEAD + "a,1,nan,0.5\n", ["column 'c'", "'nan'"]),
        (HEAD + "a,999999999999,1,0.5\n", ["999,999,999,999 responses", "at most"]),
        (HEAD + "a,1,1,NaN\nb,1,1,0.5\n", ["column 'p'", "question 'a'", "'NaN'", "empty"]),
        (HEAD + "a,1,1,1.01\n", ["column 'p'", "'1.01'", "[0, 1]", "confidences="]),
        (HEAD + "a,1,1,-0.1\n", ["column 'p'", "'-0.1'"]),
        ("question_id,n,c,\x1b[31mp\na,1,1,0.5\n", ["column", "\\x1b[31mp", "plain name"]),
        ("question_id,n,c,p\u200b\na,1,1,0.5\n", ["column", "p\\u200b"]),
        ("\ufeff\ufeffquestion_id,n,c,p\na,1,1,0.5\n", ["column", "\\ufeffquestion_id"]),
        ("question_id,n,c,\u202ep\na,1,1,0.5\n", ["column", "\\u202ep"]),
        ("question_id,n,c,p\x00\na,1,1,0.5\n", ["p\\x00"]),
        (HEAD + "a\x1b]0;title\x07,1,1,0.5\n", ["question 'a\\x1b]0;", "control"]),
        (HEAD + "a\x9b2J,1,1,0.5\n", ["question 'a\\x9b2J", "control"]),
        (HEAD + f"a,{'9' * 5000},1,0.5\n", ["column 'n'", "'9999"]),
        (HEAD + f"a,1,1,{'x' * 200_000}\n", ["line 2", "field limit"]),
        (HEAD + "a,1,1,0.5" + " " * 10_000_000 + "\n", ["line 2", "10,000,000 characters"]),
        (gzip.compress(b"0" * 10_000_000), ["is not text in UTF-8"]),
        (b'{"a":' * 50_000, ["line 1", "no CSV"]),
        (b"\x00" * 100_000, ["\\x00"]),
        (HEAD + "a,\u0661,1,0.5\n", ["column 'n'", "whole number"]),
        (HEAD + "a,1,1,0x1p-1\nb,1,1,0\n", ["column 'p'", "'0x1p-1'"]),
        (HEAD + "a,1,1,0.5\nb,1,1,n/a\n", ["column 'p'", "question 'b'", "'n/a'"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, named):
    with pytest.raises(DataError) as refused:
        read(tmp_path, text)
    for word in ("counts.csv", *named):
        assert word in str(refused.value)


def test_one_long_id_costs_no_more_than_itself(tmp_path):
    rows = [f"{'x' * 100_000 * (i == 5)}{i},1,1,0.5" for i in range(20_000)]
    tracemalloc.start()
    counts = read(tmp_path, HEAD + "\n".join(rows))
    assert tracemalloc.get_traced_memory()[1] < 100e6  # 8 GB where each is padded to the longest
    tracemalloc.stop()
    assert counts.questions["question_id"].to_list() == sorted(row.split(",")[0] for row in rows)


def test_more_values_than_memory_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_file, "_MOST_VALUES", 12)
    read(tmp_path, HEAD + "a,1,1,0\nb,1,1,0\nc,1,1,0\n")
    with pytest.raises(DataError, match=r"counts\.csv, line 6: the file has more than 12 values"):
        read(tmp_path, HEAD + "a,1,1,0\nb,1,1,0\nc,1,1,0\n\nd,1,1,0\n")


def test_a_chosen_column_that_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="no column 'prob'"):
        read(tmp_path, confidences=["prob"])


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        config = CountedDataset(name="counts", path=str(path))
        with pytest.raises(ConfigError, match=rf"dataset\.path={path} can't be read"):
            read_counts(config, QUIET)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to a device", "dangling link"])
def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch, kind):
    path = tmp_path / "counts.csv"
    monkeypatch.chdir(tmp_path)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(path.name)
    else:
        path.symlink_to("/dev/zero" if "device" in kind else "nowhere")
    given = "/dev/zero" if kind == "device" else path
    config = CountedDataset(name="counts", path=str(given))
    with pytest.raises(ConfigError, match=rf"dataset\.path={given} can't be read"):
        read_counts(config, QUIET)


def test_a_file_larger_than_any_counts_is_refused_unread(tmp_path):
    with (tmp_path / "counts.csv").open("wb") as file:
        file.truncate(10**12)  # takes no place on the disk
    config = CountedDataset(name="counts", path=str(tmp_path / "counts.csv"))
    with pytest.raises(DataError, match="more than 1,000,000,000 bytes"):
        read_counts(config, QUIET)


def test_a_thousand_columns_without_numbers_are_told_in_a_line(tmp_path):
    out = io.StringIO()
    names = ",".join(f"t{i}" for i in range(900))
    text = f"question_id,n,c,{names}\na,1,1,{','.join(['x'] * 900)}\n"
    read(tmp_path, text, console=Console(file=out, width=10_000))
    assert "t0, t1," in out.getvalue()
    assert "t49 and 850 more." in out.getvalue()


def test_what_looks_like_settings_is_taken_as_it_is(tmp_path):
    name = "${oc.env:HOME}"
    counts = read(tmp_path, f"question_id,n,c,{name}\n{name},2,1,0.5\n")
    assert list(counts.estimates) == [name]
    assert counts.questions["question_id"].to_list() == [name]


def test_the_paper_s_counts_give_the_paper_s_numbers():
    if not PAPER.exists():
        pytest.skip(f"{PAPER.name} is not beside the checkout")
    config = CountedDataset(name="math_500", path=str(PAPER))
    counts = read_counts(replace(config, columns=PAPER_COLUMNS), QUIET)
    assert list(counts.estimates) == ["probe_confidence"]
    capability = count_outcomes(counts.grades)
    assert (capability["c"] / capability["n"]).mean() == pytest.approx(0.9319, abs=5e-5)
    metrics = evaluate(counts.estimates, counts.grades, np.random.default_rng(0), 0).metrics
    brier = metrics.filter(pl.col("metric") == "brier")["value"].item()
    assert brier == pytest.approx(0.0267, abs=5e-5)


def test_a_file_of_counts_runs_to_its_report_without_a_model(tmp_path, monkeypatch, capsys):
    (tmp_path / "my.csv").write_text(EXAMPLE.replace("topic", "topic [/a]"))
    settings = ["dataset=counts", f"dataset.path={tmp_path}/my.csv", "model.name=mine"]
    assert run(monkeypatch, tmp_path, *settings, every_figure=True) == 0
    printed = capsys.readouterr().out
    assert "9 responses that were judged elsewhere: correct 44.4 %" in printed
    assert "not read: topic [/a]." in printed  # as it is, though brackets are markup elsewhere
    (report,) = tmp_path.glob("out/*/*-mine-counts/report.html")
    metrics = pl.read_csv(report.parent / "metrics.csv")
    assert metrics["estimator"].unique(maintain_order=True).to_list() == [
        "probe", "asked", "random", "oracle_cc", "oracle_rc",
    ]  # fmt: skip
    brier = metrics.filter(pl.col("metric") == "brier", pl.col("estimator") == "asked")
    assert brier["value"].item() == pytest.approx(0.125)  # (0 + 0.25) / 2
    assert brier.select("answered", "questions").row(0) == (2, 3)
    page = report.read_text()
    assert "9 judged responses, 2 to 4 per question" in page
    assert "only counts were given" in page
    assert "<th>no answer found</th>" not in page  # the counts don't say
    assert {path.stem for path in report.parent.glob("figures/*")} >= {"divergence", "reliability"}
    assert not (report.parent / "figures" / "cost.png").exists()  # nothing is known to be spent
    assert not list((tmp_path / "cache").glob("models/*"))
    assert run(monkeypatch, tmp_path, *settings) == 0
    assert "finished before" in capsys.readouterr().out
    (tmp_path / "my.csv").write_text(EXAMPLE.replace("a,3,3", "a,3,2"))
    assert run(monkeypatch, tmp_path, *settings) == 0
    assert "correct 33.3 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["dataset.path=none.csv"], ["dataset.path=none.csv"]),
        ([], ["dataset.path"]),
        (["dataset.path={}", "dataset.columns.n=samples"], ["'samples'", "question_id"]),
        (["dataset.path={}", "dataset.columns.m=samples"], ["dataset.columns", "'m'"]),
        (["dataset.path={}", "estimator=[p_true]"], ["estimator.p_true", "oracle_cc", "random"]),
        (["dataset.path={}", "estimator=[consistency_5]"], ["estimator.consistency_5", "column"]),
        (
            [
                "dataset.path={}",
                "+estimator.asked={{_target_: benchmark.estimators.baselines.Random}}",
            ],
            ["estimator.asked", "column"],
        ),
        (["dataset.path={}", "dataset.limit=2"], ["dataset.limit=2", "counts"]),
        (["dataset.path={}", "grading=[exact]"], ["grading", "judged elsewhere"]),
    ],
)
def test_what_counts_cannot_give_is_refused(tmp_path, monkeypatch, capsys, overrides, named):
    (tmp_path / "my.csv").write_text(EXAMPLE)
    settings = ["dataset=counts", *(o.format(tmp_path / "my.csv") for o in overrides)]
    assert run(monkeypatch, tmp_path, *settings) == 1
    error = capsys.readouterr().err
    for word in named:
        assert word in error


def test_the_name_alone_of_a_model_runs_nothing_else(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, tmp_path, "model=label") == 1
    assert "model.hub_id=none" in capsys.readouterr().err
