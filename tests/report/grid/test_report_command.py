import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from cells import only
from rich.console import Console

from benchmark.cell.saved import load_cell, read_listing, save_cell
from benchmark.runs.report_command import find_cells, main
from benchmark.store.artifact import Store, sealed

QUIET = Console(quiet=True)


@pytest.fixture
def run(cell, tmp_path):
    """Return a function that finishes a cell and returns the folder of its run."""
    outputs = tmp_path / "outputs"
    store = Store(outputs / "store", QUIET)

    def finish(model="qwen3_8b", dataset="gsm8k", number=0, written="2026-01-01"):
        done = replace(only(cell, "p_true"), model=model, dataset=dataset)
        artifact = store.artifact(model, dataset, "test", "cell", {"number": number})
        save_cell(done, artifact, {}, complete=True)
        manifest = read_listing(artifact.folder) | {"written": written}
        artifact.write("cell.json", sealed(manifest))
        folder = outputs / "sweep" / f"{number}-{model}-{dataset}"
        (folder / ".hydra").mkdir(parents=True)
        pointer = {"cell": os.path.relpath(artifact.folder, outputs)}
        (folder / "cell.json").write_text(json.dumps(pointer))
        return folder

    return finish


def test_a_multirun_s_folder_gives_every_table_every_figure_and_the_page(run, tmp_path, capsys):
    run("qwen3_8b", "gsm8k", 0)
    sweep = run("olmo3_7b", "triviaqa", 1).parent
    (sweep / "2-olmo3_7b-gsm8k" / ".hydra").mkdir(parents=True)
    main([str(sweep)])
    out = capsys.readouterr().out
    report = tmp_path / "outputs" / "reports" / "sweep"
    assert f"Report: {report / 'report.html'}" in out
    assert f"Left out, not finished: {sweep / '2-olmo3_7b-gsm8k'}" in out
    assert "Grid of 2 models, 2 datasets; finished cells: 2" in out
    assert {path.suffix for path in (report / "tables").iterdir()} == {".md", ".tex", ".csv"}
    assert {path.suffix for path in (report / "figures").iterdir()} == {".pdf", ".png"}
    table = pl.read_csv(report / "tables" / "brier.csv")
    assert set(table["model"]) == {"olmo3_7b", "qwen3_8b"}
    assert "No figure" in (report / "report.html").read_text()  # of what no cell has


def test_cells_of_a_grid_that_failed_or_never_started_are_named(run, capsys):
    sweep = run("qwen3_8b", "gsm8k", 0).parent
    jobs = [["a=1", f"dataset={name}"] for name in ("gsm8k", "mmlu", "aime25")]
    (sweep / "jobs.json").write_text(json.dumps(jobs))
    (sweep / "0-qwen3_8b-gsm8k" / "state.json").write_text(state(0, "finished"))
    (sweep / "1-qwen3_8b-mmlu" / ".hydra").mkdir(parents=True)
    (sweep / "1-qwen3_8b-mmlu" / "state.json").write_text(
        state(1, "failed", "dataset=mmlu", reason="no GPU")
    )
    assert len(find_cells([sweep], Console(soft_wrap=True))) == 1
    assert capsys.readouterr().out.splitlines() == [
        "Left out, failed: dataset=mmlu (no GPU)",
        "Left out, not started: dataset=aime25",
    ]


def test_runs_may_be_listed_or_the_store_given_and_each_cell_counts_once(run, tmp_path):
    first, second = run("qwen3_8b", "gsm8k", 0), run("olmo3_7b", "gsm8k", 1)
    listed = find_cells([first, second, first.parent], QUIET)
    assert listed == find_cells([tmp_path / "outputs" / "store"], QUIET)
    assert {load_cell(folder).model for folder in listed} == {"qwen3_8b", "olmo3_7b"}


def test_of_two_runs_of_one_cell_the_one_finished_later_is_shown(run, capsys):
    later, earlier = run(number=0, written="2026-03-01"), run(number=1, written="2026-02-01")
    found = find_cells([later, earlier], QUIET)
    assert found == find_cells([earlier, later], QUIET)
    assert [json.loads((f / "cell.json").read_text())["written"] for f in found] == [
        "2026-02-01", "2026-03-01",
    ]  # fmt: skip
    main([str(later.parent)])
    assert "Qwen3-8B on GSM8K: the newest of 2 cells is shown." in capsys.readouterr().out


def test_an_older_report_s_files_are_replaced(run, tmp_path):
    folder = run()
    stale = tmp_path / "outputs" / "reports" / "again" / "tables" / "stale.csv"
    stale.parent.mkdir(parents=True)
    stale.write_text("old")
    main([str(folder), "--name", "again"])
    assert not stale.exists()
    assert (stale.parent / "brier.csv").exists()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda run: run / "nowhere", "is no folder; give the folder of a run"),
        (lambda run: run / ".hydra", "holds no finished run. A finished run's folder has a cell"),
        (lambda run: remove_cells(run), "isn't in the store any more; run it again"),
        (lambda run: damage(run), "is damaged"),
    ],
)
def test_what_can_t_be_reported_is_said_in_one_line(run, break_it, said, capsys):
    given = break_it(run())
    with pytest.raises(SystemExit) as ended:
        main([str(given)])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert said in error
    assert len(error.splitlines()) == 1


def state(number: int, how: str, *overrides: str, reason: str = "") -> str:
    known = {"number": number, "overrides": overrides, "state": how, "reason": reason}
    return json.dumps(known)


@pytest.mark.parametrize("name", ["..", ".", "a/b"])
def test_a_report_stays_in_its_folder(run, tmp_path, name, capsys):
    with pytest.raises(SystemExit):
        main([str(run()), "--name", name])
    assert "must be the name of a folder" in capsys.readouterr().err
    assert not list((tmp_path / "outputs").glob("**/report.html"))


def test_files_of_others_in_the_report_s_folders_stay(run, tmp_path):
    own = tmp_path / "outputs" / "reports" / "again" / "figures" / "notes.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    main([str(run()), "--name", "again"])
    assert own.read_text() == "mine"


def test_a_damaged_cell_is_left_out_of_the_others(run, capsys):
    whole, damaged = run("qwen3_8b", "gsm8k", 0), run("olmo3_7b", "gsm8k", 1)
    damage(damaged)
    main([str(whole.parent)])
    printed = capsys.readouterr().out
    assert "Left out: " in printed
    assert "is damaged" in printed
    assert "finished cells: 1" in printed


def test_a_cell_whose_application_failed_is_shown_and_told(run, capsys):
    folder = run()
    (folder.parent / "jobs.json").write_text('[["model=qwen3_8b"]]')
    why = "application budget: boom"
    (folder / "state.json").write_text(state(0, "failed", "model=qwen3_8b", reason=why))
    assert len(find_cells([folder.parent], Console(soft_wrap=True))) == 1
    assert f"Shown, but failed: model=qwen3_8b ({why})" in capsys.readouterr().out


def remove_cells(run: Path) -> Path:
    cell = next(run.parents[1].glob("store/*/*/*/cell-*"))
    cell.rename(cell.with_name("gone"))
    return run


def damage(run: Path) -> Path:
    part = next(run.parents[1].glob("store/*/*/*/cell-*/*.parquet"))
    part.write_bytes(b"broken")
    return run


def test_a_name_with_a_path_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        main([str(run()), "--name", "../elsewhere"])
    assert "--name=../elsewhere must be the name of a folder" in capsys.readouterr().err


def test_the_command_doesn_t_load_what_only_models_need(run):
    code = (
        "import sys; from benchmark.runs.report_command import main; main(sys.argv[1:]);"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(run())], check=True, capture_output=True)
