"""Datasets without code: files of every kind, mapped columns, one file split, wrong rows."""

import json

import polars as pl
import pytest

from benchmark.config.checks import checked
from benchmark.config.composing import compose_jobs
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.estimators import build_estimators, check_splits
from benchmark.questions import load_questions, load_splits
from benchmark.questions.columns import Columns
from benchmark.questions.files import FileDataset

ROWS = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(60)]


def written(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        pl.DataFrame(rows).write_csv(path)
    else:
        pl.DataFrame(rows).write_parquet(path)
    return path


def dataset(path, **settings):
    return FileDataset(name="mine", path=str(path), **settings)


@pytest.mark.parametrize("name", ["a.jsonl", "b.csv", "c c [1].parquet"])
def test_every_kind_of_file_gives_the_same_questions(tmp_path, name):
    table = load_questions(dataset(written(tmp_path / name, ROWS)), "test")
    assert sorted(table["question"]) == sorted(row["question"] for row in ROWS)
    same = load_questions(dataset(written(tmp_path / "same.jsonl", ROWS[::-1])), "test")
    assert table.equals(same)  # neither the kind of file nor the order of its rows matters


def test_the_command_line_alone_makes_a_dataset(tmp_path):
    path = written(tmp_path / "My rows.jsonl", ROWS)
    (job,) = compose_jobs(["dataset=file", f'dataset.path="{path}"', "dataset.limit=5"])
    config = checked(job)
    assert config.dataset.name == "My_rows"
    assert [*config.grading] == ["short_fact"]
    check_splits(build_estimators(config.estimator, config.sampling), config.dataset)
    assert load_splits(config.dataset, ["evaluation"])["evaluation"].height == 5


@pytest.mark.parametrize("name", ["train_mean", "probe_own", "tfidf", "p_true_platt"])
def test_what_trains_is_refused_without_training_questions(tmp_path, name):
    path = written(tmp_path / "rows.jsonl", ROWS)
    (job,) = compose_jobs(["dataset=file", f"dataset.path={path}", f"estimator=[random,{name}]"])
    config = checked(job)
    estimators = build_estimators(config.estimator, config.sampling)
    with pytest.raises(ConfigError, match=rf"estimator\.{name} needs train questions"):
        check_splits(estimators, config.dataset)


def test_one_file_is_split_by_content(tmp_path):
    shares = {"test": 50, "train": 30, "validation": 20}
    config = dataset(written(tmp_path / "rows.jsonl", ROWS), shares=shares)
    tables = load_splits(config, ["evaluation", "train", "validation"])
    assert sum(table.height for table in tables.values()) == len(ROWS)
    assert min(table.height for table in tables.values()) > 3
    fewer = dataset(written(tmp_path / "fewer.jsonl", ROWS[7:]), shares=shares)
    kept = load_splits(fewer, ["train"])["train"]["question_id"]
    assert set(kept) <= set(tables["train"]["question_id"])  # no row moves where others go


def test_a_file_for_each_split(tmp_path):
    paths = {f"{n}_path": str(written(tmp_path / f"{n}.csv", rows)) for n, rows in
             {"train": ROWS[:20], "validation": ROWS[20:30]}.items()}  # fmt: skip
    config = dataset(written(tmp_path / "test.parquet", ROWS[30:]), **paths)
    tables = load_splits(config, [*config.splits])
    assert [tables[role].height for role in ("evaluation", "train", "validation")] == [30, 20, 10]


@pytest.mark.parametrize(
    ("columns", "row", "references", "choices"),
    [
        (Columns(), {"question": "q", "answer": 42}, ("42",), ()),
        (Columns(), {"question": "q", "answer": 0.5}, ("0.5",), ()),
        (Columns(), {"question": "q", "answer": ["a", "b"]}, ("a", "b"), ()),
        (Columns(), {"question": "q", "answer": '["a", "b"]'}, ("a", "b"), ()),
        (Columns(), {"question": "q", "answer": "[0, 1)"}, ("[0, 1)",), ()),
        (Columns(references="all"), {"question": "q", "all": ["a", 2]}, ("a", "2"), ()),
        (Columns(reference="x"), {"question": "q", "x": "y"}, ("y",), ()),
        (Columns(choices="c"), {"question": "q", "answer": 1, "c": ["x", "y"]}, ("B",), ("x", "y")),
        (
            Columns(choices="c"),
            {"question": "q", "answer": "b", "c": ["x", "y"]},
            ("B",),
            ("x", "y"),
        ),
        (
            Columns(choices="c"),
            {"question": "q", "answer": "y", "c": '["x", "y"]'},
            ("B",),
            ("x", "y"),
        ),
        (
            Columns(choices=["c", "d"]),
            {"question": "q", "answer": "A", "c": "x", "d": "y"},
            ("A",),
            ("x", "y"),
        ),
        (
            Columns(choices=["c", "d"]),
            {"question": "q", "answer": "2", "c": "1", "d": "2"},
            ("B",),
            ("1", "2"),
        ),
    ],
)
def test_columns_are_read_as_they_are_named(columns, row, references, choices):
    item = columns.read(row)
    assert (item.references, item.choices) == (references, choices)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", '{"question": "q"}\n', ["line 1", "no column 'answer'", "dataset.columns"]),
        ("a.jsonl", '{"question": "q", "answer": null}\n', ["line 1", "'answer' is null"]),
        ("a.jsonl", '\n{"question": "", "answer": "x"}\n', ["line 2", "question is empty"]),
        ("a.jsonl", '{"question": "q", "answer": true}\n', ["True (bool)"]),
        ("a.jsonl", '{"question": "q", "answer": {"a": 1}}\n', ["dict"]),
        ("a.jsonl", '{"question": "q", "answer": []}\n', ["no reference answer"]),
        ("a.jsonl", '{"question": "q", "answer": NaN}\n', ["nan (float)"]),
        ("a.jsonl", '{"question": "q", "answer": "\\ud800"}\n', ["UTF-8"]),
        ("a.jsonl", "[1, 2]\n", ["line 1", "must be an object"]),
        ("a.jsonl", '{"question": \n', ["line 1 is not JSON"]),
        ("a.jsonl", "\n\n", ["holds no question"]),
        ("a.jsonl", b"\xff", ["byte 1"]),
        (
            "a.jsonl",
            '{"question": "q", "answer": "a"}\n{"question": "Q", "answer": "b"}\n',
            ["line 2", "another row's"],
        ),
        ("a.csv", "question,answer\nq,a,b\n", ["line 2", "more values"]),
        ("a.csv", "question,answer\nq\n", ["'answer' is null"]),
        ("a.csv", 'question,answer\n"q"x,a\n', ["line 2"]),
        ("a.parquet", "PAR1", ["can't be read as Parquet"]),
        ("a.xlsx", "x", [".jsonl", ".csv", ".parquet"]),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BenchmarkError) as refused:
        load_questions(dataset(path), "test")
    for word in [str(path), *words]:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    "shares", [{"test": 50}, {"train": 100}, {"test": 50, "dev": 50}, {"test": 110, "train": -10}]
)
def test_wrong_shares_are_refused(shares):
    with pytest.raises(ConfigError, match=r"dataset\.shares"):
        FileDataset(name="x", path="x.csv", shares=shares)
