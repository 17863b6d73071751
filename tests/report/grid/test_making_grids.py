from dataclasses import replace

from benchmark.report.grid import make_grid


def test_models_datasets_and_estimators_stand_in_the_style_s_order(grid):
    assert grid.models == ["olmo3_7b", "gpt_oss_20b"]
    assert grid.datasets == ["triviaqa", "math_500"]
    assert grid.estimators[:4] == ["random", "oracle_cc", "oracle_rc", "verbalized"]


def test_the_size_is_said_in_words(grid, cell):
    assert grid.size == "2 models, 2 datasets"
    assert make_grid([cell]).size == "1 model, 1 dataset"


def test_unlisted_names_come_last_in_the_order_in_which_they_are_met(cell):
    models = ("my_model", "a_model", "qwen3_8b")
    assert make_grid(replace(cell, model=m) for m in models).models == [
        "qwen3_8b", "my_model", "a_model",
    ]  # fmt: skip


def test_of_two_cells_with_one_place_the_later_is_shown_and_both_are_kept(cell):
    later = replace(cell, questions=cell.questions.head(7))
    grid = make_grid([cell, later])
    assert [*grid.cells.values()] == [later]
    assert grid.every == [cell, later]


def test_an_oracle_is_told_by_any_cell_that_has_it(grid):
    assert grid.oracle("oracle_rc")
    assert not grid.oracle("probe")
