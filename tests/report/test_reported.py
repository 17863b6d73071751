from pathlib import Path

import polars as pl
import pytest

from benchmark.__main__ import CONF
from benchmark.report import reported as module
from benchmark.report.reported import reported, reported_by_k

SHIPPED = Path(module.__file__).parent / "reported.csv"
PAPER = Path(__file__).parents[2].parent / "shared" / "paper" / "reported_results.csv"


def read(path):
    return pl.read_csv(path, infer_schema_length=0)


def test_a_number_comes_with_its_table_file_and_branch():
    found = reported("brier", "qwen3_8b", "triviaqa", "p_true")
    assert found.value == 0.3253
    assert found.source == (
        "Table C (corrected); analysis/corrected_calibration_tables.md (neurips)"
    )


def test_a_corrected_number_is_taken_and_never_the_superseded_one():
    # submitted as 0.0468, another model's confidences
    assert reported("brier", "olmo3_7b", "math_500", "verbalized").value == 0.0632
    if PAPER.exists():
        rows = read(PAPER).filter(pl.col("table").str.contains("superseded|Change log"))
        assert len(rows)
        assert set(rows["table"]).isdisjoint(read(SHIPPED)["table"])


def test_numbers_of_other_questions_and_of_single_random_draws_are_left_out():
    assert reported("brier", "olmo3_7b", "aime25", "probe_math").value == 0.1411
    assert reported("ece", "olmo3_7b", "aime25", "verbalized") is None  # AIME24-26 only
    assert reported("brier", "olmo3_7b", "aime25", "random") is None
    assert reported("brier", "olmo3_7b", "gsm8k", "random").value == 0.3106  # 1,000 draws


def test_what_belongs_to_the_cell_or_to_a_k_is_found():
    assert reported("accuracy", "gpt_oss_20b", "math_500").value == 0.95662
    assert reported("pass_at_k_mse", "olmo3_7b", "math_500", "oracle_rc", 16).value == 0.0746
    assert reported("pass_at_k_mse", "olmo3_7b", "math_500", "oracle_rc", 2) is None


def test_a_line_over_k_stands_in_the_order_of_k():
    line = reported_by_k("success_rate", "gpt_oss_20b", "math_500", "uniform")
    assert [*line] == [1, 2, 4, 8, 16, 32, 64]
    assert line[1] == 0.9524
    assert reported_by_k("success_rate", "gpt_oss_20b", "gsm8k", "uniform") == {}


def test_every_shipped_row_has_our_names_and_no_two_are_of_one_thing():
    rows = read(SHIPPED)
    assert len(module._by_our_names()) == len(rows)
    assert set(rows["model"]) == set(module.MODELS)
    assert set(rows["dataset"]) == set(module.DATASETS)
    assert set(rows["method"].drop_nulls()) == set(module.ESTIMATORS)
    assert set(rows["metric"]) == set(module.METRICS)


def test_our_names_are_those_of_the_configuration():
    for group, names in (("model", module.MODELS), ("dataset", module.DATASETS)):
        configured = {path.stem for path in (CONF / group).glob("*.yaml")}
        assert set(names.values()) <= configured


def test_every_shipped_row_stands_in_the_paper_s_file():
    if not PAPER.exists():
        pytest.skip(f"{PAPER.name} is not beside the checkout")
    names = {"k_or_budget": "k", "source_branch": "branch", "source_file": "file"}
    theirs = read(PAPER).rename(names).select(read(SHIPPED).columns)
    theirs = theirs.with_columns(pl.col("k").str.strip_prefix("k_eval="))
    assert read(SHIPPED).join(theirs, on=theirs.columns, how="anti", nulls_equal=True).is_empty()
