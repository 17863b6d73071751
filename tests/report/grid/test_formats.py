import math
import re
import shutil
import subprocess

import polars as pl
import pytest

from benchmark.report.outside import latex_text
from benchmark.report.tables.formats import (
    LONGEST,
    explained,
    latex,
    layout,
    markdown,
    write_table,
)
from benchmark.report.tables.grid import GRID_TABLE, GridTable, grid_tables


def row(model, dataset, estimator, value, rank=None, reported=None, answered=100, **more):
    difference = None if reported is None else value - reported
    return {
        "model": model, "dataset": dataset, "estimator": estimator, "metric": "brier",
        "value": value, "answered": answered, "questions": 100, "rank": rank,
        "reported": reported, "difference": difference, "source": reported and "Table C", **more,
    }  # fmt: skip


def table(*rows, **layout):
    shape = {"group": ("model",), "row": "estimator", "column": "dataset"} | layout
    return GridTable(
        "brier", "Brier & co", "A note.", pl.DataFrame(rows, schema=GRID_TABLE), **shape
    )


SHOWN = table(
    row("qwen3_8b", "math_500", "probe", 0.1104, "best", reported=0.1151),
    row("qwen3_8b", "math_500", "verbalized", math.nan),
    row("qwen3_8b", "triviaqa", "p_true", 0.12, "runner-up", reported=0.1),
    row("my_model|$", "triviaqa", "p_true", 0.5, answered=94),
)


def test_rows_and_columns_stand_in_the_style_s_order_and_gaps_stay_empty():
    shown = layout(SHOWN)
    assert shown.columns == ["TriviaQA", "MATH-500"]
    assert [block.heading for block in shown.blocks] == ["Qwen3-8B", "my_model|$"]
    assert [line.name for line in shown.blocks[0].lines] == ["Verbalized", "P(True)", "Probe"]
    assert [[bool(e) for e in line.entries] for line in shown.blocks[0].lines] == [
        [False, True], [True, False], [False, True],
    ]  # fmt: skip


def test_numbers_by_k_stand_in_its_order_below_model_and_dataset():
    by_k = [row("qwen3_8b", "gsm8k", "probe", 0.1, k=k) for k in (16, 1, 4)]
    shown = layout(table(*by_k, group=("model", "dataset"), column="k"))
    assert shown.columns == ["k = 1", "k = 4", "k = 16"]
    assert shown.blocks[0].heading == "Qwen3-8B, GSM8K"


def test_markdown_marks_the_best_and_shows_the_paper_s_number_and_the_difference():
    lines = markdown(SHOWN).splitlines()
    assert "| Probe |  | **0.110** (0.115, −0.005) |" in lines
    assert "| P(True) | *0.120* (0.100, +0.020) |  |" in lines
    assert "| Verbalized |  | – |" in lines
    assert r"| **my\_model\|\$** | | |" in lines
    assert "| P(True) | 0.500† |  |" in lines
    rows = [line for line in lines if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1


def test_latex_is_a_booktabs_table_with_the_paper_s_numbers_below():
    text = latex(SHOWN)
    lines = text.splitlines()
    for command in ("toprule", "midrule", "bottomrule"):
        assert rf"\{command}" in text
    at = lines.index(r"Probe &  & \textbf{0.110} \\")
    assert lines[at + 1] == r" &  & \scriptsize(0.115, $-$0.005) \\"
    assert r"P(True) & \textit{0.120} &  \\" in lines
    assert r"P(True) & 0.500$^\dagger$ &  \\" in lines
    assert r"my\_model\textbar{}\$" in text
    assert r"\caption{Brier \& co. A note." in text


def test_latex_has_as_many_columns_in_every_line_and_only_ascii():
    text = latex(SHOWN)
    assert text.isascii()
    body = [
        line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line
    ]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {2}


def test_a_long_table_is_several_that_each_fit_a_page(paper_grid):
    for table in grid_tables(paper_grid):
        text = latex(table)
        parts = text.split(r"\end{table*}")[:-1]
        assert max(part.count("\\\\\n") for part in parts) <= LONGEST + 1  # its head
        assert text.count(r"\begin{table*}") == len(parts)
        labels = re.findall(r"\\label{(.*)}", text)
        assert labels == [f"tab:{table.name}{f'-{i}' * (i > 1)}" for i in range(1, len(parts) + 1)]
        names = [line.name for block in layout(table).blocks for line in block.lines]
        rows = re.findall(r"^([^ &\\][^&\n]*) &", text, re.MULTILINE)
        assert rows == [latex_text(name) for name in names]
        assert text.count(r"\textsc{") >= len(table.rows.select(table.group).unique())
    assert len(parts) == 1  # the mean accuracies
    assert latex(table).count("continued") == 0


def test_a_block_longer_than_a_page_is_cut_below_the_same_heading():
    text = latex(table(*(row("qwen3_8b", "gsm8k", f"mine_{i}", 0.1) for i in range(100))))
    assert text.count(r"\textsc{Qwen3-8B}") == text.count(r"\begin{table*}") == 3
    assert "Brier \\& co, continued (3 of 3)." in text


def test_latex_typesets_every_table_of_a_large_grid_and_odd_names(paper_grid, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex is installed (Debian: apt-get install texlive-latex-recommended)")
    many = [row("qwen3_8b", f"data_{i}", "probe", 0.1) for i in range(25)]
    odd = [row("[abc] [x]", "data [x]", name, 0.1) for name in ("[abc]", "*star", "a]", "b")]
    tables = [*grid_tables(paper_grid), table(*odd), table(*many), SHOWN]
    parts = "\\clearpage\n".join(map(latex, tables))
    (tmp_path / "all.tex").write_text(
        r"\documentclass[twocolumn]{article}\usepackage[a4paper,margin=2cm]{geometry}"
        rf"\usepackage{{booktabs,graphicx}}\begin{{document}}{parts}\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert not re.findall(r"Overfull|Float too large|Illegal|Missing number", log)


@pytest.mark.parametrize("name", ["[abc]", "*star"])
def test_a_name_is_never_read_as_an_argument_of_the_line_before(name):
    text = latex(
        table(row("qwen3_8b", "gsm8k", "a", 0.1), row("qwen3_8b", f"long {name}", name, 0.2))
    )
    assert not re.search(r"\\\\\s*[\[*]", text)


def test_only_the_marks_that_occur_are_explained():
    assert explained(SHOWN).count(":") >= 4
    plain = table(row("qwen3_8b", "math_500", "probe", 0.1))
    assert explained(plain) == "A note."
    assert "In brackets" in explained(table(row("qwen3_8b", "gsm8k", "probe", 0.1, reported=0.2)))


def test_long_names_of_columns_are_broken_into_two_lines():
    text = latex(table(row("qwen3_8b", "simpleqa_verified", "probe", 0.1)))
    assert r" & \shortstack[r]{SimpleQA- \\ Verified} \\" in text


def test_special_characters_of_latex_are_text():
    assert latex_text(r"50 % of $x_{1}^2$ \& ~") == (
        r"50 \% of \$x\_\{1\}\textasciicircum{}2\$ \textbackslash{}\& \textasciitilde{}"
    )


def test_the_csv_holds_every_number_with_its_source(tmp_path):
    write_table(SHOWN, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"brier.md", "brier.tex", "brier.csv"}
    read = pl.read_csv(tmp_path / "brier.csv", schema_overrides=dict(GRID_TABLE))
    assert read.equals(SHOWN.rows, null_equal=True)
    assert read["source"][0] == "Table C"
    assert read["difference"][0] == pytest.approx(-0.0047)
