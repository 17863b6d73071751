"""Files and mirrors that an attacker wrote: one message each, in bounded memory, no network."""

import gzip
import json
import os
import socket
import subprocess
import sys
from itertools import pairwise

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmark.errors import BenchmarkError
from benchmark.questions import limits, load_questions
from tests.questions.mirror import dataset_config, write

GSM8K = "openai/gsm8k"
ROWS = [{"question": "a", "answer": "#### 1"}, {"question": "b", "answer": "#### 2"}]
QA = '{"question": "q", "answer": "a"}\n'


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Note who looks up a name or connects, also where the fault is swallowed."""
    asked = []

    def refuse(*arguments, **_):
        asked.append(arguments)
        raise OSError("no network here")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert not asked


@pytest.fixture
def mirror(tmp_path):
    write(tmp_path, GSM8K, "test", ROWS, "main")
    return tmp_path / GSM8K


def loaded(root, *overrides):
    return load_questions(dataset_config("gsm8k", root, *overrides), "test")


def own(path, *overrides):
    return load_questions(dataset_config("file", None, f"dataset.path={path}", *overrides), "test")


def card(mirror, files, name="README.md"):
    text = f"configs:\n- config_name: main\n  data_files:\n{files}\n"
    (mirror / name).write_text(f"---\n{text}---\n" if name == "README.md" else text)


@pytest.mark.usefixtures("mirror")
def test_a_mirror_asks_no_network(tmp_path):
    assert sorted(loaded(tmp_path)["question"]) == ["a", "b"]


@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize(
    "place",
    [
        "https://example.org/test.parquet",
        "http://127.0.0.1:9/x.parquet",
        "s3://bucket/x.parquet",
        "hf://datasets/someone/something/x.parquet",
        "zip://x.csv::https://example.org/x.zip",
        "file:///etc/passwd",
        "../../elsewhere/x.parquet",
        "/etc/passwd",
        "simplecache::ftp://x/y",
        "main/../../x.parquet",
    ],
)
def test_a_card_that_names_rows_elsewhere_is_refused(mirror, tmp_path, name, place):
    card(mirror, f"  - split: test\n    path: '{place}'", name)
    with pytest.raises(BenchmarkError, match="may only name files in its own") as told:
        loaded(tmp_path)
    assert repr(place) in str(told.value)


@pytest.mark.parametrize(
    "files",
    ["  - split: test\n    path: ['main/*', 'https://example.org/x']", "    - https://example.org/x",
     "    test: [main/test.parquet, 'https://example.org/x']",
     "  - split: train\n    path: https://example.org/x\n  - split: test\n    path: main/*"],
)  # fmt: skip
def test_an_address_is_found_wherever_it_stands(mirror, tmp_path, files):
    card(mirror, files)
    with pytest.raises(BenchmarkError, match=r"from 'https://example\.org/x'"):
        loaded(tmp_path)


AWAY = "configs:\n- config_name: main\n  data_files:\n  - split: test\n    path: '{}'\n"
ELSEWHERE = "https://example.org/x.parquet"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("---\n----x: 1\n", "---\n"), ("---\n---x: 1\n", "---\n"), ("\n\n---\n", "---\n"),
        (" \t---\n", "---\n"), ("---\nx: |\n ---\n", "---\n"), ("---\n", "--- \t\nmore"),
        ("\x0c---\n", "---"), ("---\r", "---\r\n"), ("---\n" + "# x\n" * 300_000, "---\n"),
        ("---\nx: " + "y" * 2**20 + "\n", "---\n"),
    ],
)  # fmt: skip
def test_a_card_is_read_as_the_loader_reads_it(mirror, tmp_path, before, after):
    (mirror / "README.md").write_text(before + AWAY.format(ELSEWHERE) + after, newline="")
    with pytest.raises(BenchmarkError, match=r"README\.md (takes rows from|has more than)"):
        loaded(tmp_path)


def test_a_long_card_in_plain_yaml_is_refused(mirror, tmp_path):
    text = "# x\n" * 300_000 + AWAY.format(ELSEWHERE)
    (mirror / ".huggingface.yaml").write_text(text)
    with pytest.raises(BenchmarkError, match=r"\.huggingface\.yaml has more than"):
        loaded(tmp_path)


def test_a_long_readme_with_a_short_head_is_read(mirror, tmp_path):
    readme = mirror / "README.md"
    readme.write_text(readme.read_text() + "Words.\n" * 300_000)
    assert loaded(tmp_path).height == 2


@pytest.mark.parametrize("place", [".cache/x.jsonl", ".git/*", "main/.git/x.jsonl", ".*/x.jsonl"])
def test_a_card_names_nothing_in_a_hidden_folder(mirror, tmp_path, place):
    secret = tmp_path.parent / f"{tmp_path.name}-secret.jsonl"
    secret.write_text(json.dumps({"question": "the secret", "answer": "#### 1"}) + "\n")
    for folder in (mirror / ".cache", mirror / ".git", mirror / "main" / ".git"):
        folder.mkdir(parents=True)
        (folder / "x.jsonl").symlink_to(secret)
    (mirror / "README.md").write_text(f"---\n{AWAY.format(place)}---\n")
    with pytest.raises(BenchmarkError, match="may only name files in its own"):
        loaded(tmp_path)


def test_a_card_that_is_no_yaml_or_a_bomb_is_one_message(mirror, tmp_path):
    bomb = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{p}, *{p}]\n" for p, n in pairwise("abcdefgh"))
    for text in (bomb, "configs: [", "configs: !!python/object/apply:os.system ['true']"):
        (mirror / "README.md").write_text(f"---\n{text}\n---\n")
        with pytest.raises(BenchmarkError, match=r"README\.md"):
            loaded(tmp_path)


def test_a_picture_in_the_place_of_a_text_is_not_fetched(mirror, tmp_path):
    pictures = [{"bytes": None, "path": "https://example.org/x.png"}]
    rows = pl.DataFrame({"question": pictures, "answer": ["#### 1"]})
    rows.write_parquet(mirror / "main" / "test-00000-of-00001.parquet")
    features = "  - name: question\n    dtype: image\n  - name: answer\n    dtype: string"
    info = f"dataset_info:\n- config_name: main\n  features:\n{features}\n"
    readme = (mirror / "README.md").read_text()
    (mirror / "README.md").write_text(readme.replace("configs:", f"{info}configs:"))
    with pytest.raises(BenchmarkError, match=r"row 0: its question is \{'bytes': None"):
        loaded(tmp_path)


def test_a_script_of_the_dataset_is_not_run(mirror, tmp_path):
    trace = tmp_path / "ran"
    for name in ("gsm8k.py", "main/gsm8k.py", "__init__.py"):
        (mirror / name).write_text(f"open({str(trace)!r}, 'w').close()")
    with pytest.raises(BenchmarkError, match="scripts are no longer supported"):
        loaded(tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "/dev/zero", "/proc/self/environ", "../../../.."]
)
def test_a_link_out_of_the_mirror_is_refused(mirror, tmp_path, target):
    (mirror / "main" / "test-00001-of-00001.parquet").symlink_to(target)
    with pytest.raises(BenchmarkError, match="link out of the mirror"):
        loaded(tmp_path)
    with pytest.raises(BenchmarkError, match="link out of the mirror"):
        dataset_config("gsm8k", tmp_path).files  # noqa: B018 - what a cell's key reads


def test_a_link_within_the_mirror_is_read(mirror, tmp_path):
    file = mirror / "main" / "test-00000-of-00001.parquet"
    file.rename(tmp_path / "blob")
    file.symlink_to(tmp_path / "blob")
    assert loaded(tmp_path).height == 2


def test_a_pipe_an_archive_and_a_bomb_in_a_mirror_are_refused(mirror, tmp_path, monkeypatch):
    os.mkfifo(mirror / "main" / "x.parquet")
    with pytest.raises(BenchmarkError, match=r"x\.parquet' is a pipe"):
        loaded(tmp_path)
    (mirror / "main" / "x.parquet").rename(mirror / "x.zip")
    (mirror / "x.zip").unlink()
    (mirror / "x.zip").write_bytes(b"PK")
    with pytest.raises(BenchmarkError, match="is an archive"):
        loaded(tmp_path)
    (mirror / "x.zip").unlink()
    monkeypatch.setattr(limits, "LARGEST_FILE", 10 * 2**20)
    with gzip.open(mirror / "x.jsonl.gz", "wb") as file:
        file.write(b" " * 20 * 2**20)
    with pytest.raises(BenchmarkError, match="holds more than"):
        loaded(tmp_path)
    (mirror / "x.jsonl.gz").write_bytes(b"\x1f\x8b and no more")
    with pytest.raises(BenchmarkError, match="can't be unpacked"):
        loaded(tmp_path)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_what_is_no_file_is_refused_by_its_kind(tmp_path, suffix):
    pipe, folder, link = (tmp_path / f"{name}{suffix}" for name in ("pipe", "folder", "link"))
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to("/dev/zero")
    loop = tmp_path / f"loop{suffix}"
    loop.symlink_to(loop)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / f"s{suffix}"))
    kinds = {pipe: "a pipe", folder: "a folder", link: "a device", loop: "symbolic links",
             tmp_path / f"s{suffix}": "a socket",
             tmp_path / f"none{suffix}": "No such"}  # fmt: skip
    for path, kind in kinds.items():
        with pytest.raises(BenchmarkError, match=kind):
            own(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.jsonl",
            json.dumps({f"c{i}": i for i in range(100_000)}),
            ["99,980 more", "'question'"],
        ),
        ("a.jsonl", json.dumps({"\x1b[2J\x07": 1, "answer": "a"}), ["\\x1b[2J\\x07"]),
        ("a.jsonl", '{"question": "q", "answer": {"\\u001b[2J": "\\u001b]0;x"}}', ["\\x1b"]),
        ("a.jsonl", '["\\u001b[2J"]\x0c', ["line 1 is not JSON"]),
        ("a.jsonl", '"\x7f\x9b2J"', ["line 1 must be", "\\x9b2J"]),
        ("a.jsonl", "[" * 100_000 + "]" * 100_000, ["line 1 is not JSON"]),
        ("a.jsonl", '{"question": ' + '{"a":' * 5000 + "1" + "}" * 5000 + "}", ["line 1"]),
        ("a.jsonl", '{"question": "q", "answer": ' + "9" * 10_000 + "}", ["line 1 is not JSON"]),
        ("a.jsonl", '{"question": "q", "answer": "' + "x" * 2_000_000 + '"}', ["2,000,000 char"]),
        ("a.csv", "question,answer\nq\x00,a\n\x1b[2J,a,b", ["line 3", "more values"]),
        ("a.csv", "question,answer\n" + "x" * 200_000 + ",a", ["field larger"]),
        (
            "a.csv",
            ",".join(f"c{i}" for i in range(100_000)) + "\n" + "1," * 99_999,
            ["more]", "c0"],
        ),
        ("a.csv", "\x1b[2J,answer\nq,a", ["\\x1b[2J"]),
        ("a.parquet", b"PAR1" + b"\xff" * 100 + b"\xff\xff\xff\x7fPAR1", ["Parquet"]),
        ("a.parquet", b"PAR1" * 3, ["Parquet"]),
        ("a.parquet", b"", ["Parquet"]),
    ],
    ids=range(16),
)
def test_a_hostile_file_is_one_clean_short_message(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BenchmarkError) as told:
        own(path)
    message = str(told.value)
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < 2500
    for word in words:
        assert word.removesuffix("]") in message


@pytest.mark.parametrize("cut", [5, 50, 200, -1, -5, -9])
def test_a_parquet_file_that_ends_early_is_one_message(tmp_path, cut):
    whole, path = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    pl.DataFrame({"question": ["q"] * 50, "answer": ["a"] * 50}).write_parquet(whole)
    path.write_bytes(whole.read_bytes()[:cut])
    with pytest.raises(BenchmarkError, match="Parquet"):
        own(path)


def test_a_parquet_file_that_says_it_holds_too_much_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    wide = {f"c{i}": [1] for i in range(limits.MOST_COLUMNS + 1)}
    pl.DataFrame(wide).write_parquet(path)
    with pytest.raises(BenchmarkError, match="holds 10,001 columns"):
        own(path)
    monkeypatch.setattr(limits, "MOST_ROWS", 1000)
    pl.DataFrame({"question": ["q"] * 1001, "answer": "a"}).write_parquet(path)
    with pytest.raises(BenchmarkError, match="holds 1,001 rows"):
        own(path)


@pytest.mark.parametrize("row_id", ["\x1b[31mred", "a\nb", "a\x00", "\u202eabc", "x" * 600])
def test_an_id_that_would_break_a_table_is_refused(tmp_path, row_id):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "q", "answer": "a", "name": row_id}))
    with pytest.raises(BenchmarkError, match="its id") as told:
        own(path, "dataset.columns.id=name")
    assert str(told.value).isprintable()


def test_a_line_of_a_gigabyte_costs_no_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"question": "')
        file.truncate(2**30)  # a sparse file: a gigabyte of zeros
    program = (
        "import resource, sys\n"
        "from benchmark.questions.limits import text_lines\n"
        "from pathlib import Path\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    list(text_lines(Path(sys.argv[1])))\n"
        "except Exception as error:\n"
        "    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True
    )
    message, more = done.stdout.splitlines()
    assert "line 1 is longer than 64 MiB" in message
    assert int(more) < 300_000  # KiB


def test_a_file_that_is_too_large_is_not_opened(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.truncate(limits.LARGEST_FILE + 2**30)
    with pytest.raises(BenchmarkError, match=r"has 5\.0 GiB; at most 4 GiB"):
        own(path)


def bomb(path, rows, size, *, nested=False):
    text = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * size])
    if nested:
        text = pa.ListArray.from_arrays(range(0, rows + 1), text)
    table = {"question": text, "answer": ["a"] * rows, "name": [*map(str, range(rows))]}
    parquet.write_table(pa.table(table), path)


@pytest.mark.parametrize("nested", [False, True])
def test_a_small_parquet_file_that_unpacks_to_very_much_is_refused(tmp_path, nested, monkeypatch):
    path = tmp_path / "a.parquet"
    bomb(path, 50_000, 100_000, nested=nested)  # 5 GB in 1 MB
    assert path.stat().st_size < 2**20
    with pytest.raises(BenchmarkError, match=r"a\.parquet holds more than 4"):
        own(path, "dataset.columns.id=name")
    monkeypatch.setattr(limits, "LARGEST_FILE", 2**20)
    folder = tmp_path / GSM8K / "main"
    write(tmp_path, GSM8K, "test", ROWS, "main")
    bomb(folder / "test-00001-of-00001.parquet", 50, 100_000, nested=nested)
    with pytest.raises(BenchmarkError, match=r"holds more than"):
        loaded(tmp_path)


def test_parquet_files_of_all_kinds_of_columns_are_measured(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame(
        {"question": ["q", "r"], "answer": [["a"], ["b", "c"]], "a": [{"x": "y", "z": [1]}] * 2,
         "b": [None, b"\x00"], "c": [[], [[1.5, None]]], "d": [True, None], "e": [None, None]}
    ).write_parquet(path)  # fmt: skip
    assert own(path).height == 2
