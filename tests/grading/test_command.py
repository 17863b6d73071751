"""``capcal grade`` tries a grader on a text, and tells what is wrong in one line."""

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.__main__ import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command with arguments and standard input: status, output and errors."""

    def _run(*arguments, stdin=b""):
        monkeypatch.setattr("sys.argv", ["capcal", "grade", *arguments])
        given = None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin))
        monkeypatch.setattr("sys.stdin", given)
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        return stop.value.code, printed.out, printed.err

    return _run


def test_a_response_is_graded_with_its_rule(run):
    text = b"First \\boxed{5}.\n\nNo: \\boxed{70\\,000}\n"
    status, out, err = run("--grader", "number", "--reference", "70000", stdin=text)
    assert (status, err) == (0, "")
    assert out == "correct\t70\\,000\tthe last box with a number\n"


def test_several_references_and_a_prompt_are_taken(run):
    options = ["--grader=short_fact", "--reference=Quito", "--reference=Lima"]
    assert run(*options, stdin=b"Lima")[1] == "correct\tLima\talias\n"
    options += ["--prompt", "Put it into \\boxed{Lima}."]
    assert run(*options, stdin=b"Put it into \\boxed{Lima}.")[1].startswith("unparsed\t\t")


def test_lines_are_responses_where_asked_for(run):
    options = ["--grader", "letter", "--reference", "B", "--lines"]
    status, out, _ = run(*options, stdin="\ufeffB\r\n\nAnswer: C\n".encode())
    assert status == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == [
        "correct",
        "unparsed",
        "incorrect",
    ]


def test_only_line_feeds_end_a_line(run):
    options = ["--grader", "letter", "--reference", "B", "--lines"]
    text = "So\u2028B\r\nA\x0cB\x1c\x85\n\nB".encode()
    assert len(run(*options, stdin=text)[1].splitlines()) == 4


def test_what_steers_a_terminal_is_not_printed(run):
    text = b"\x1b[31mred\x07\xc2\x9b"
    _, out, _ = run("--grader", "exact", "--reference", "B", stdin=text)
    assert out == "incorrect\t[31mred\tthe whole response\n"


@pytest.mark.parametrize("text", ["\x1b[2Jx", "a\x07b\x9b", "\u202etxt", "\u061c", "a\x08"])
@pytest.mark.parametrize("option", ["--grader", "--lines=", "--reference=B"])
def test_a_mistake_steers_no_terminal(run, text, option):
    status, _, err = run("--grader", "letter", option, text, stdin=b"B")
    assert status != 0
    assert all(c.isprintable() for c in err.removesuffix("\n"))


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "named"),
    [
        (["--grader", "leter", "--reference", "B"], b"B", 1, "'letter'"),
        (["--grader", "letter", "--reference", ""], b"B", 1, "accepted answers"),
        (["--grader", "letter", "--reference", "B\udce9"], b"B", 1, "UTF-8"),
        (["--grader", "letter", "--reference", "B"], b"B\xe9", 1, "byte 2"),
        (["--grader", "letter", "--reference", "B"], b"", 1, "empty"),
        (["--grader", "letter", "--reference", "B"], None, 1, "< response.txt"),
        (["--grader", "letter"], b"B", 2, "--reference"),
        (["--reference", "B"], b"B", 2, "--grader"),
        (["--grader", "letter", "--reference", "B", "--line"], b"B", 2, "--line"),
        (["--grader", "llm_judge", "--reference", "B"], b"B", 1, "grading.llm_judge"),
        (["--grader", "number", "--reference", "-\\frac12"], b"B", 2, "--reference=-1"),
    ],
)
def test_a_mistake_is_one_line(run, arguments, stdin, status, named):
    found, out, err = run(*arguments, stdin=stdin)
    assert found == status
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert named in err


def test_a_reader_that_leaves_is_no_traceback_and_nothing_slow_is_imported():
    command = [sys.executable, "-X", "importtime", "-m", "benchmark", "grade", "--grader", "number"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, "--reference", "7", "--lines"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    process.stdout.close()
    _, err = process.communicate(b"7\n" * 20_000, timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in err
    assert b"| torch\n" not in err.replace(b" ", b"").replace(b"|", b"| ")


def test_an_output_that_is_closed_is_no_traceback():
    command = f"echo 7 | {shlex.quote(sys.executable)} -m benchmark grade --grader number"
    done = subprocess.run(
        ["bash", "-c", f"{command} --reference 7 >&-"], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == "Error: There is no standard output to write to.\n"


def test_a_script_without_a_guard_is_not_run_anew_by_workers(tmp_path):
    script = tmp_path / "try.py"
    script.write_text(
        "from benchmark.grading import grade_text\n"
        "print(grade_text('math_verify', r'\\boxed{2}', ['2']).outcome)\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == "correct\n", done.stderr


def test_the_examples_of_the_page_give_what_it_says():
    page = Path(__file__).parents[2].joinpath("docs", "datasets.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```console\n(.*?)```", page, flags=re.DOTALL)
    python = f"{shlex.quote(sys.executable)} -m benchmark grade"
    for example in block.removeprefix("$ ").split("\n$ "):
        command, _, expected = example.partition("\n")
        shell = ["bash", "-c", command.replace("capcal grade", python)]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == expected.rstrip("\n") + "\n"
