"""Rows that can't be had, or that break the contract, end in one message with the cause."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmark.errors import BenchmarkError, ConfigError, DataError
from benchmark.questions import load_questions
from tests.questions.mirror import dataset_config, gpqa_row, write

GSM8K = "openai/gsm8k"
ROWS = [{"question": f"{i} and {i}?", "answer": f"#### {i}"} for i in range(5)]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
LATIN = "question,answer\nWas für ein 1?,#### 1\n"


def load(name: str, root: Path, *overrides: str) -> pl.DataFrame:
    return load_questions(dataset_config(name, root, "dataset.limit=null", *overrides), "test")


def part(root: Path, hub_id: str = GSM8K) -> Path:
    return next((root / hub_id).rglob("*.parquet"))


def with_rows(*changed: dict[str, Any]) -> Callable[[Path], None]:
    return lambda root: write(root, GSM8K, "test", [*ROWS[:2], *changed], "main")


def with_bytes(content: bytes) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        write(root, GSM8K, "test", ROWS, "main")
        part(root).write_bytes(content)

    return make


def with_file(name: str, content: bytes) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / GSM8K).mkdir(parents=True)
        (root / GSM8K / name).write_bytes(content)

    return make


def with_another_type(root: Path) -> None:
    write(root, GSM8K, "test", ROWS, "main")
    pl.DataFrame({"question": ["x"], "other": [1.5]}).write_parquet(
        root / GSM8K / "main" / "test-00001-of-00001.parquet"
    )
    card = root / GSM8K / "README.md"
    card.write_text(card.read_text().replace("test-00000-of-00001", "*"))


def with_train_only(root: Path) -> None:
    write(root, GSM8K, "train", ROWS, "main")


def with_another_configuration(root: Path) -> None:
    write(root, GSM8K, "test", ROWS, "other")


Whole = tuple[str, str, str, str | None, dict[str, Any]]
MMLU: Whole = (
    "mmlu", "cais/mmlu", "test", "all",
    {"question": "q", "subject": "s", "choices": ["a", "b"], "answer": 1},
)  # fmt: skip
TRIVIA: Whole = (
    "triviaqa", "mandarjoshi/trivia_qa", "validation", "rc.nocontext",
    {"question": "q", "question_id": "a", "answer": {"value": "x", "aliases": ["x"]}},
)  # fmt: skip
SIMPLE: Whole = (
    "simpleqa_verified", "google/simpleqa-verified", "eval", "simpleqa_verified",
    {"original_index": 1, "problem": "S", "answer": "A", "topic": "t"},
)  # fmt: skip
AIME: Whole = (
    "aime25", "math-ai/aime25", "test", None, {"problem": "P", "answer": "7", "id": "1"},
)  # fmt: skip
MATH: Whole = (
    "math_500", "HuggingFaceH4/MATH-500", "test", None,
    {"problem": "P", "solution": "x", "answer": "1", "unique_id": "u"},
)  # fmt: skip
GPQA: Whole = ("gpqa_diamond", "Idavidrein/gpqa", "train", "gpqa_diamond", gpqa_row(1))
DEFAULT = "dataset.sources.test.configs=[]"


@pytest.mark.parametrize(
    ("make", "overrides", "named"),
    [
        (with_bytes(POINTER.encode()), [], ["test-00000", "Git LFS pointer", "git lfs pull"]),
        (with_bytes(b"PAR1 and no more"), [], ["test-00000", "Parquet"]),
        (with_bytes(b""), [], ["test-00000", "0 bytes"]),
        (with_another_type, [], ["test-00001", "column names don't match"]),
        (with_train_only, [], ["'train'", "dataset.sources.<split>.split="]),
        (with_rows(), ["dataset.sources.test.split=tset"], ["tset", "'test'"]),
        (with_another_configuration, [], ["'other'", "dataset.sources.<split>.configs=[...]"]),
        (with_file("test.csv", LATIN.encode("latin-1")), [DEFAULT], ["test.csv", "iconv"]),
        (
            with_file("test.jsonl", b'{"question": "f\xfcr", "answer": "#### 1"}\n'),
            [DEFAULT],
            ["row 0", "'question'", "iconv"],
        ),
        (
            with_file("test.jsonl", b'{"question": "a", "answer": "#### \xe91"}\n'),
            [DEFAULT],
            ["row 0", "'answer'", "iconv"],
        ),
        (with_file("notes.md", b"# nothing"), [DEFAULT], ["can't be loaded: No", GSM8K]),
        (with_rows({"question": None, "answer": "#### 1"}), [], ["row 2", "'question' is null"]),
        (with_rows({"question": "x", "answer": None}), [], ["row 2", "'answer' is null", "drop"]),
        (with_rows({"question": " ", "answer": "#### 1"}), [], ["row 2", "question is empty"]),
        (with_rows({"question": "x", "answer": "nothing"}), [], ["row 2", "####"]),
        (with_rows({"question": "x", "answer": "####  "}), [], ["row 2", "no reference answer"]),
    ],
)
def test_rows_that_cannot_be_had_are_one_message(
    tmp_path: Path,
    make: Callable[[Path], None],
    overrides: list[str],
    named: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    make(tmp_path)
    with pytest.raises(BenchmarkError) as told:
        load("gsm8k", tmp_path, *overrides)
    for word in [GSM8K, *named]:
        assert word in str(told.value)
    assert "Failed" not in capfd.readouterr().err  # the library's own print


@pytest.mark.parametrize(
    ("whole", "changed", "named"),
    [
        (MMLU, {"choices": ["a", None]}, "choice is None"),
        (MMLU, {"subject": None}, "'subject' is null"),
        (MMLU, {"answer": "B"}, "answer='B'"),
        (MMLU, {"question": 5}, "question is 5, no text"),
        (TRIVIA, {"answer": {"value": "x", "aliases": None}}, "aliases"),
        (TRIVIA, {"question_id": None}, "'question_id' is null"),
        (SIMPLE, {"original_index": None}, "'original_index' is null"),
        (AIME, {"answer": None}, "'answer' is null"),
        (MATH, {"problem": None}, "'problem' is null"),
        (GPQA, {"Incorrect Answer 1": None}, "'Incorrect Answer 1' is null"),
    ],
)
def test_a_value_that_is_missing_or_no_text_is_named_with_its_row(
    tmp_path: Path, whole: Whole, changed: dict[str, Any], named: str
) -> None:
    name, hub_id, split, config, row = whole
    write(tmp_path, hub_id, split, [row | changed], config)
    with pytest.raises(DataError) as told:
        load(name, tmp_path)
    assert "row 0" in str(told.value)
    assert named in str(told.value)


def test_rows_with_a_null_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    with_rows({"question": "x", "answer": None}, {"question": None, "answer": "#### 1"})(tmp_path)
    assert load("gsm8k", tmp_path, "dataset.sources.test.unanswered=drop").height == 2


def test_a_solution_that_is_null_is_not_needed_beside_an_answer(tmp_path: Path) -> None:
    row = {"problem": "P", "solution": None, "answer": "7", "unique_id": "u"}
    write(tmp_path, "HuggingFaceH4/MATH-500", "test", [row, {**row, "solution": "S"}])
    assert load("math_500", tmp_path)["references"].to_list() == [["7"]]


@pytest.mark.parametrize(
    "name", ["*", "**", "[!a]*", "runs [v2]", "a?b", "{x,y}", "a::b", "test [train]", "a#b%20c"]
)
def test_a_mirror_in_a_folder_of_any_name_is_read_alone(tmp_path: Path, name: str) -> None:
    for folder in ("a", "ab", "a_b", "v2", name):
        with_rows()(tmp_path / folder / "hub")
    assert load("gsm8k", tmp_path / name / "hub").height == 2
    shutil.rmtree(tmp_path / name)
    with_rows(ROWS[4])(tmp_path / name / "hub")
    assert load("gsm8k", tmp_path / name / "hub").height == 3


def test_without_the_hub_the_way_out_is_a_mirror() -> None:
    with pytest.raises(ConfigError, match=r"reach 'openai/gsm8k'.*name a local mirror"):
        load_questions(dataset_config("gsm8k", None), "test")
