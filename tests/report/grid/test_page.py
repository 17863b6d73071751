import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from cells import only, simulate_cell, with_texts

from benchmark.records import COUNTED, OUTCOMES
from benchmark.report.figures.write import write_figures
from benchmark.report.grid import make_grid
from benchmark.report.page.page import embedded, write_page
from benchmark.report.tables.grid import grid_tables

HOSTILE = "<script>alert(1)</script></pre>\"><img src=x onerror=alert(2)>{{ 7 * 7 }}&lt;'\u2028<!--"
EDGE = 0.04  # of the scatterplots' axes, beyond 0 and 1


def write(grid, path, figures=None):
    plates, lacking = write_figures(grid, figures) if figures else ([], {"layers": "a probe"})
    write_page(grid, grid_tables(grid), plates, lacking, path)
    return path


def opened(chromium, path, **settings):
    """Return the page; what it complains of, asks for or pops up is in ``page.heard``."""
    page = chromium.new_page(**settings)
    page.heard = []
    page.on("console", lambda message: page.heard.append(message.text))
    page.on("pageerror", lambda error: page.heard.append(str(error)))
    page.on("request", lambda request: page.heard.append(request.url))
    page.on("dialog", lambda dialog: (page.heard.append(dialog.message), dialog.dismiss()))
    page.goto(path.as_uri())
    page.wait_for_selector("#list tbody tr")
    return page


@pytest.fixture(scope="module")
def path(grid, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return write(grid, folder / "report.html", folder)


@pytest.fixture
def page(chromium, path):
    page = opened(chromium, path)
    yield page
    page.close()


def texts(page, selector):
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def test_the_page_opens_without_complaint_and_asks_for_nothing_but_itself(page, path):
    assert page.heard == [path.as_uri()]
    assert page.title() == "Capability calibration: 2 models, 2 datasets"
    assert page.locator(".u-over").count() == 10
    broken = "e => e.filter(i => !i.naturalWidth).length"
    assert page.locator("#figures img").count() == 7
    assert page.eval_on_selector_all("img", broken) == 0


def test_no_script_but_the_page_s_own_runs(page):
    page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.hacked = 1';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.hacked = 1">');
    }""")
    page.wait_for_timeout(100)
    assert page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in message for message in page.heard)


def test_the_heat_map_shows_the_chosen_metric_and_opens_a_cell(page, grid):
    def shown():
        return texts(page, "#heat tbody td")

    def expected(metric, estimator, decimals=3):
        places = [(m, d) for m in ("olmo3_7b", "gpt_oss_20b") for d in ("triviaqa", "math_500")]
        rows = [
            grid.cells[p].metrics.filter(metric=metric, estimator=estimator)["value"].item()
            for p in places[:3]
        ]
        return [*(f"{row:.{decimals}f}" for row in rows), "not run"]

    assert shown() == expected("brier", "probe")
    page.get_by_label("Metric").select_option("ece")
    page.get_by_label("Estimator").first.select_option("p_true")
    assert shown() == expected("ece", "p_true")
    page.locator("#heat td button").nth(2).click()
    page.wait_for_function("document.querySelector('#browser-controls select').value === '2'")
    assert page.get_by_label("Cell").input_value() == "2"


def test_tables_sort_by_numbers_both_ways_with_what_is_missing_last(page):
    table = page.locator("#tables table").filter(has_text="Consistency of 5").first
    head = table.locator("thead th").nth(2)
    assert head.inner_text().startswith("TriviaQA")

    def column():
        values = table.locator("tbody tr").evaluate_all("r => r.map(r => r.cells[2].dataset.value)")
        return [float(value) if value else None for value in values]

    before = column()
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(before)
    head.get_by_role("button").click()
    assert column() == sorted(before, reverse=True)
    spearman = page.locator("#tables table").nth(2)
    for _ in range(2):  # the correlation of a constant confidence is undefined
        spearman.locator("thead button").nth(2).click()
        last = spearman.locator("tbody tr").last
        assert "Train mean" in last.inner_text()
    spearman.locator("thead button").nth(1).click()
    assert spearman.locator("tbody tr").first.inner_text().split("\t")[1] == "Consistency of 10"


def test_a_question_is_shown_under_the_pointer_and_opened_by_a_click(chromium, tmp_path):
    cell = simulate_cell(n_questions=8, k=24)
    page = opened(chromium, write(make_grid([cell]), tmp_path / "report.html"))
    rows = cell.questions.join(cell.estimates["probe"].confidences, on="question_id")
    rows = rows.join(cell.capability, on="question_id")
    place = np.array([rows["confidence"], rows["c"] / rows["n"]]).T
    apart = np.linalg.norm(place[:, None] - place[None], axis=-1) + 9 * np.eye(len(place))
    row = rows.row(int(apart.min(axis=1).argmax()), named=True)
    panel = page.locator("figure").filter(has_text="Probe").locator(".u-over")
    panel.scroll_into_view_if_needed()
    box = panel.bounding_box()
    x, y = ((v + EDGE) / (1 + 2 * EDGE) for v in (row["confidence"], row["c"] / row["n"]))
    at = box["x"] + x * box["width"], box["y"] + (1 - y) * box["height"]
    page.mouse.move(*at)
    assert page.locator(".tip").inner_text().splitlines() == [
        f"{row['c']} of {row['n']} correct", row["question"],
    ]  # fmt: skip
    assert page.locator(".ring:visible").count() == sum(
        cell.estimates[name].confidences.filter(question_id=row["question_id"])["confidence"][0]
        is not None
        for name in cell.estimates
    )
    page.mouse.click(*at)
    page.wait_for_selector("dialog[open] .response")
    dialog = page.locator("dialog")
    text = dialog.inner_text()
    for part in (row["question_id"], row["prompt"], f"Accepted: {row['references'][0]}"):
        assert part in text
    assert dialog.locator(".response").count() == 16
    names = texts(page, "dialog table tbody td:first-child")
    assert len(names) == len(cell.estimates)
    assert f"Probe\t{row['confidence']:.3f}" in text
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.close()


def test_questions_are_filtered_by_outcome_and_by_words(page, grid):
    cell = grid.cells["olmo3_7b", "triviaqa"]
    cut = cell.grades.filter(outcome="truncated")["question_id"].n_unique()
    assert 0 < cut < 40
    for outcome in OUTCOMES[:3]:
        page.locator(f"#browser-controls [data-outcome={outcome}]").uncheck()
    assert texts(page, "#count")[0].startswith(f"{cut} of 40 questions")
    assert page.locator("#list tbody tr").count() == cut
    page.locator("#list tbody button").first.click()
    page.wait_for_selector("dialog[open] .response")
    assert all("truncated" in text for text in texts(page, "dialog .response > span"))
    page.locator("dialog [data-outcome=incorrect]").check()
    assert any("incorrect" in text for text in texts(page, "dialog .response > span"))
    page.keyboard.press("Escape")
    for outcome in OUTCOMES[:3]:
        page.locator(f"#browser-controls [data-outcome={outcome}]").check()
    page.get_by_label("Search").fill("7 + 7")
    assert texts(page, "#list tbody td:first-child") == ["7 + 7?"]


def test_the_list_of_questions_sorts_by_any_estimator(page):
    page.locator("#list thead button").filter(has_text="P(True)").click()
    column = texts(page, "#list thead th").index("P(True)")
    assert page.locator("#list thead th").nth(column).get_attribute("aria-sort") == "ascending"
    shown = [float(row.split("\t")[column]) for row in texts(page, "#list tbody tr")]
    assert shown == sorted(shown)
    assert len(shown) == 40


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_reader_s_colours_and_can_be_switched(chromium, path, scheme):
    page = opened(chromium, path, color_scheme=scheme)

    def lightness():
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert (lightness() < 384) == (scheme == "dark")
    page.get_by_role("button", name="Dark / light").click()
    assert (lightness() < 384) == (scheme == "light")
    assert page.locator(".u-over").count() == 10
    page.close()


def test_what_a_model_or_a_dataset_wrote_is_text_and_never_markup(chromium, tmp_path):
    cell = replace(with_texts(simulate_cell(n_questions=6, k=24), HOSTILE), model=HOSTILE)
    path = write(make_grid([cell]), tmp_path / "report.html")
    assert "<script>alert" not in path.read_text()
    page = opened(chromium, path)
    assert page.locator("#list tbody td bdi").first.text_content() == HOSTILE[:120]
    page.locator("#list tbody button").first.click()
    page.wait_for_selector("dialog[open] .response")
    wrote = [*page.locator("dialog pre").all(), *page.locator("dialog bdi").all()]
    assert len(wrote) > 40
    assert {part.text_content() for part in wrote} == {HOSTILE}
    assert page.locator("img").count() == 0
    assert page.locator("h1", has_text="<script>alert(1)</script>").count() == 1
    assert page.heard == [path.as_uri()]
    page.close()


def test_json_in_the_page_can_t_end_its_script():
    text = embedded({HOSTILE: [HOSTILE]})
    assert not set("<>&\u2028") & set(text)


def as_counts(cell):
    """Return the cell as if its responses had been judged elsewhere."""
    two = pl.when(outcome="correct").then("outcome").otherwise(pl.lit("incorrect"))
    grades = cell.grades.with_columns(grader=pl.lit(COUNTED), outcome=two)
    return replace(cell, responses=cell.responses.head(0), grades=grades)


def test_a_cell_with_no_responses_says_so(chromium, tmp_path):
    cell = simulate_cell(n_questions=6, k=24)
    counted = as_counts(cell)
    page = opened(chromium, write(make_grid([counted]), tmp_path / "report.html"))
    page.locator("#list tbody button").first.click()
    page.wait_for_selector("dialog[open]")
    text = page.locator("dialog").inner_text()
    assert "Only the counts were given, no responses." in text
    assert "Responses, " not in text
    assert "which the page holds none: only counts were given." in page.content()
    assert texts(page, "#browser-controls .boxes label") == ["correct", "not correct"]
    assert page.heard[1:] == []
    page.close()


def test_a_cell_of_counts_beside_others_has_its_own_outcomes(chromium, tmp_path):
    cell = simulate_cell(n_questions=6, k=24)
    counted = replace(as_counts(cell), model="qwen3_8b")
    page = opened(chromium, write(make_grid([cell, counted]), tmp_path / "report.html"))
    outcomes = {}
    for at in range(2):
        page.get_by_label("Cell").select_option(str(at))
        page.wait_for_selector("#browser:not([aria-busy])")
        name = page.locator("#browser-controls option").nth(at).inner_text()
        outcomes[name.split(" on ")[0]] = texts(page, "#browser-controls .boxes label")
    assert outcomes["Qwen3-8B"] == ["correct", "not correct"]
    assert len(outcomes.pop("Qwen3-8B")) + len(*outcomes.values()) == 2 + len(OUTCOMES)
    assert "of some cells only counts were given" in page.content()
    assert page.heard[1:] == []
    page.close()


NAMES = ["constructor", "__proto__", "toString", "question", "accuracy"]


def test_names_that_javascript_knows_are_names_like_any_other(chromium, tmp_path):
    cell = only(simulate_cell(n_questions=6, k=24), "probe")
    odd = [cell.estimates["probe"]] * len(NAMES)
    metrics = [cell.metrics.with_columns(estimator=pl.lit(name)) for name in NAMES]
    named = replace(
        cell, model="constructor", estimates=dict(zip(NAMES, odd, strict=True)),
        metrics=pl.concat(metrics), differences=cell.differences.head(0), applications={},
    )  # fmt: skip
    page = opened(chromium, write(make_grid([cell, named]), tmp_path / "report.html"))
    brier = cell.metrics.filter(metric="brier")["value"].item()
    for name in NAMES:
        page.get_by_label("Estimator").first.select_option(name)
        assert sorted(texts(page, "#heat tbody td")) == sorted(["–", f"{brier:.3f}"])
    page.locator("#heat tbody tr", has_text="constructor").locator("button").click()
    page.wait_for_selector("#browser:not([aria-busy]) >> text=constructor")
    page.locator("#list tbody button").first.click()
    page.wait_for_selector("dialog[open] .response")
    row = texts(page, "dialog table tbody tr")
    assert len({line.split("\t", 1)[1] for line in row}) == 1
    page.keyboard.press("Escape")
    for at in range(2, 2 + len(NAMES)):
        page.locator("#list thead button").nth(at).click()
        shown = [float(line.split("\t")[at]) for line in texts(page, "#list tbody tr")]
        assert shown == sorted(shown)
    assert page.heard[1:] == []
    page.close()


def test_nothing_but_tables_scrolls_sideways_on_a_telephone(chromium, path):
    page = opened(chromium, path, viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#list tbody button").first.click()
    page.wait_for_selector("dialog[open] .response")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    dialog = page.locator("dialog")
    assert dialog.evaluate("d => d.scrollWidth") <= dialog.evaluate("d => d.clientWidth")
    for label in page.locator("label", has=page.locator(".key")).all():
        assert label.bounding_box()["height"] < 30  # one line
    page.close()


@pytest.mark.slow
def test_14042_questions_of_100_responses_stay_below_30_mb_and_usable(chromium, tmp_path):
    cell = only(simulate_cell(n_questions=14042, k=100), "p_true", "probe", "train_mean")
    words = np.array([f"word{i}" for i in range(3000)])
    draw = np.random.default_rng(0)
    lines = [" ".join(draw.choice(words, 60)) for _ in range(20000)]  # 500 characters each
    rows = cell.responses.collect()
    text = pl.Series(lines)[draw.integers(len(lines), size=len(rows))]
    numbered = pl.format("{} {}", text, pl.int_range(pl.len()))
    cell = replace(cell, responses=rows.with_columns(text=numbered).lazy())
    path = write(make_grid([cell]), tmp_path / "report.html")
    assert 10e6 < path.stat().st_size < 30e6
    page = opened(chromium, path)
    page.get_by_label("Search").fill("77 + 77")
    assert texts(page, "#count")[0].startswith("3 of 14,042 questions")
    page.locator("#list tbody button").first.click()
    page.wait_for_selector("dialog[open] .response", timeout=5000)
    assert page.heard == [path.as_uri()]
    page.close()
