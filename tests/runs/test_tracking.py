import asyncio
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from cells import only, simulate_cell
from PIL import Image
from rich.console import Console
from wandb_server import WandbServer

from benchmark.cell.cell import RESPONSES_OF
from benchmark.cell.saved import save_cell
from benchmark.config.schema import (
    Config,
    ModelConfig,
    SamplingConfig,
    TrackerConfig,
)
from benchmark.questions.basics import Basics
from benchmark.records import OUTCOMES, PASS_AT_K
from benchmark.report.figures.write import write_figures
from benchmark.report.grid import make_grid
from benchmark.runs import tracking, wandb_run
from benchmark.runs.tracking import (
    cell_run,
    log_cell,
    logged_config,
    outcome_summary,
    question_table,
    run_id,
    track_grid,
)
from benchmark.store.artifact import Store, sealed
from tests.wandb_file import logged, values

SECRET = "secret-value"


CONSOLE = Console(soft_wrap=True)
ARTIFACTS = ("responses", "cell", "model")


class Exported:
    """A probe that names a folder of this machine in its card."""

    def save(self, folder: Path) -> None:
        (folder / "probe.safetensors").write_bytes(b"numbers")
        (folder / "card.json").write_text(json.dumps({"model": {"hub_id": "/home/me/model"}}))


@pytest.fixture(scope="module")
def cell():
    simulated = only(simulate_cell(n_questions=12, k=12), "oracle_rc", "verbalized", "probe")
    probe = simulated.estimates["probe"]
    chosen = replace(probe, probes={"": probe.probes[""]._replace(exported=Exported())})
    return replace(simulated, estimates=simulated.estimates | {"probe": chosen})


def track(cell, config, folder: Path) -> bool:
    """Log the cell as a run does, with a store beside its folder."""
    store = Store(folder / "store", CONSOLE)
    model, parents = config.model.name, {}
    for stage, place in (("responses", "basics/test"), (RESPONSES_OF + "math/train", "math/train")):
        made = store.artifact(model, *place.split("/"), "responses", {"seed": 0})
        made.folder.mkdir(parents=True, exist_ok=True)
        said = {"counts": {"responses": 48}, "parts": ["part-0.parquet"], "engine": {"key": SECRET}}
        made.write("manifest.json", sealed(said))
        parents[stage] = made.fingerprint
    kept = store.artifact(model, "basics", "test", "cell", {})
    save_cell(cell, kept, parents, complete=True)
    with cell_run(config, folder, CONSOLE) as run:
        return log_cell(run, cell, config, folder, kept.folder, CONSOLE)


PROBE = {"_target_": "benchmark.estimators.probe.Probe"}


def config_of(**tracker) -> Config:
    return Config(
        grid="some_grid",
        dataset=Basics(name="basics", splits={"evaluation": "test"}),
        model=ModelConfig(name="smollm2_135m", hub_id="org/model"),
        sampling=SamplingConfig(k=12, k_train=4),
        estimator={
            "probe": {
                **PROBE,
                "max_new_tokens": 96,
            }
        },
        tracker=TrackerConfig(**tracker),
    )


@pytest.fixture(scope="module")
def run(cell, tmp_path_factory):
    """A run that was logged offline by a process with secrets in its environment."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("run")
    write_figures(make_grid([cell]), folder / "figures")
    names = ("WANDB_API_KEY", "OPENAI_API_KEY", "HF_TOKEN")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setenv(name, SECRET)
        patch.setenv("HOME", str(home))
        patch.setenv("WANDB_CONFIG_DIR", str(home / "config"))
        patch.delenv("WANDB_DATA_DIR", raising=False)
        patch.delenv("WANDB_CACHE_DIR", raising=False)
        track(cell, config_of(kind="wandb", tags=["mine"]), folder)
    return home, folder


@pytest.fixture(scope="module")
def records(run):
    (file,) = run[1].glob("wandb/offline-run-*/*.wandb")
    return logged(file)


def test_a_user_without_home_or_entry_in_the_system_is_logged(cell, tmp_path, monkeypatch):
    def unknown(_):
        raise KeyError("getpwuid(): uid not found: 54321")

    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    track(cell, config_of(kind="wandb"), tmp_path)
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert "HOME" not in os.environ


def test_the_configuration_is_logged_without_secrets_and_places(records):
    (started,) = [record.run for record in records if record.WhichOneof("record_type") == "run"][:1]
    config = {item.key: json.loads(item.value_json) for item in started.config.update}
    assert config["sampling"]["k"] == 12
    assert config["model"]["hub_id"] == "org/model"
    assert config["estimator"]["probe"] == {
        **PROBE,
        "max_new_tokens": 96,
    }
    assert not {"paths", "tracker"} & set(config)
    assert started.project == "capcal"
    assert started.display_name == "smollm2_135m/basics/test"


def test_every_metric_is_logged_with_its_interval(records, cell):
    summary = values(records, "summary")
    for row in cell.metrics.iter_rows(named=True):
        name = f"{row['estimator']}/{row['metric']}"
        for key, value in ((name, "value"), (f"{name}/low", "low"), (f"{name}/high", "high")):
            assert summary[key] == (None if math.isnan(row[value]) else row[value])


def test_all_tables_and_figures_are_logged(records, run, cell):
    history = values(records, "history")
    assert history["questions/_type"] == "table-file"
    (files,) = run[1].glob("wandb/offline-run-*/files")
    table = json.loads((files / history["questions/path"]).read_text())
    assert table["columns"] == [
        "question_id", "n", "c", "expected_accuracy", "oracle_rc", "verbalized", "probe",
    ]  # fmt: skip
    assert len(table["data"]) == 12
    pass_at_k = json.loads((files / history["applications/pass_at_k/path"]).read_text())
    assert pass_at_k["columns"] == list(PASS_AT_K)
    assert len(pass_at_k["data"]) == len(cell.applications["pass_at_k"]) > 0
    for path in (run[1] / "figures").glob("*.png"):
        assert history[f"figures/{path.stem}/_type"] == "image-file"
        image = files / history[f"figures/{path.stem}/path"]
        assert image.read_bytes() == path.read_bytes()


def test_no_file_holds_a_secret_and_all_lie_in_the_run_s_folder(run):
    home, folder = run
    files = [p for p in folder.rglob("*") if p.is_file() and folder / "store" not in p.parents]
    assert any("artifacts" in path.parts for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert not [path for path in home.rglob("*") if path.is_file()]
    assert "WANDB_DATA_DIR" not in os.environ


def test_nothing_about_the_machine_is_logged(run, records):
    (files,) = run[1].glob("wandb/offline-run-*/files")
    assert [path.name for path in files.iterdir()] == ["media"]
    kinds = {record.WhichOneof("record_type") for record in records}
    assert not kinds & {"environment", "stats", "output", "output_raw"}


def test_without_a_tracker_wandb_is_not_imported_and_nothing_is_written(tmp_path):
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from benchmark.config.schema import TrackerConfig\n"
        "from benchmark.runs.wandb_run import wandb_run\n"
        f"with wandb_run(TrackerConfig(), Path({str(tmp_path)!r}), Console()) as run:\n"
        "    assert run is None\n"
        "assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not list(tmp_path.iterdir())


def test_the_runs_of_a_grid_form_a_group_and_carry_tags(records):
    (started,) = [record.run for record in records if record.WhichOneof("record_type") == "run"][:1]
    assert (started.run_group, started.job_type) == ("some_grid", "cell")
    assert list(started.tags) == ["smollm2_135m", "basics", "mine"]


def test_the_summary_tells_accuracy_and_the_share_of_each_outcome(records, cell):
    summary = values(records, "summary")
    expected = (cell.capability["c"] / cell.capability["n"]).mean()
    assert summary["accuracy"] == pytest.approx(expected)
    assert (summary["questions"], summary["responses"]) == (12, 144)
    shares = {name: summary[f"outcomes/{name}"] for name in OUTCOMES}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["correct"] == pytest.approx(cell.capability["c"].sum() / 144)
    assert shares["truncated"] == pytest.approx(cell.capability["truncated"].sum() / 144)


def test_of_counts_from_elsewhere_only_the_correct_share_is_told(cell):
    counted = replace(cell, grades=cell.grades.with_columns(grader=pl.lit("counts")))
    assert [n for n in outcome_summary(counted) if "/" in n] == ["outcomes/correct"]


def test_every_estimator_has_a_scatter_plot_whose_points_name_their_questions(records, run, cell):
    (files,) = run[1].glob("wandb/offline-run-*/files")
    history, config = values(records, "history"), values(records, "config")
    for name in cell.estimates:
        chart = config[f"_wandb/visualize/scatter/{name}"]
        assert chart["panel_config"]["panelDefId"] == "wandb/scatter/v0"
        fields = chart["panel_config"]["fieldSettings"]
        assert fields == {"x": "confidence", "y": "expected_accuracy"}
        table = json.loads((files / history[f"scatter/{name}_table/path"]).read_text())
        points = pl.DataFrame(table["data"], table["columns"], orient="row").sort("question_id")
        expected = question_table(cell).drop_nulls(name)
        assert points["question_id"].to_list() == expected["question_id"].to_list()
        assert points["confidence"].to_list() == pytest.approx(expected[name].to_list())
        assert points["expected_accuracy"].to_list() == expected["expected_accuracy"].to_list()


def test_charts_of_many_questions_show_as_many_as_wandb_does(monkeypatch, cell):
    monkeypatch.setattr(tracking, "_MOST_POINTS", 5)
    for chart in tracking._charts(cell).values():
        assert len(chart.table.data) <= 5


def artifacts(records):
    found = [r.artifact for r in records if r.WhichOneof("record_type") == "artifact"]
    return {artifact.name: artifact for artifact in found if artifact.type in ARTIFACTS}


def content(artifact, path):
    (entry,) = [e for e in artifact.manifest.contents if e.path == path]
    return Path(entry.local_path).read_bytes()


def test_tables_and_probes_are_artifacts_and_what_they_are_made_from_is_used(records, cell):
    found = artifacts(records)
    used = ["smollm2_135m-basics-test-responses", "smollm2_135m-math-train-responses"]
    made = ["smollm2_135m-basics-test", "smollm2_135m-basics-probe"]
    assert list(found) == used + made
    assert [found[name].use_after_commit for name in found] == [True, True, False, False]
    known = json.loads(content(found[used[1]], "responses.json"))
    assert known["counts"] == {"responses": 48}
    assert known["fingerprint"] == json.loads(found[used[1]].metadata)["fingerprint"]
    tables = {entry.path for entry in found[made[0]].manifest.contents}
    assert tables == {
        "applications/pass_at_k.parquet", "capability.parquet", "confidences.parquet",
        "differences.parquet", "metrics.parquet", "selections.parquet",
    }  # fmt: skip
    metrics = pl.read_parquet(content(found[made[0]], "metrics.parquet"))
    assert metrics.equals(cell.metrics, null_equal=True)
    assert content(found[made[1]], "probe.safetensors") == b"numbers"
    card = json.loads(content(found[made[1]], "card.json"))
    assert card == {"model": {"hub_id": "org/model"}}


def test_no_question_and_no_answer_is_in_an_artifact(records, cell):
    texts = [*cell.questions["question"], *cell.grades["answer"].drop_nulls().unique()]
    for artifact in artifacts(records).values():
        for entry in artifact.manifest.contents:
            if entry.path.endswith(".parquet"):
                table = pl.read_parquet(entry.local_path)
                strings = [c for c, kind in table.schema.items() if kind == pl.String]
                found = {value for column in strings for value in table[column]}
                assert not found & {*texts}


@pytest.mark.usefixtures("private_wandb")
def test_the_report_of_a_grid_is_one_summary_run(tmp_path):
    report = tmp_path / "report"
    (report / "figures").mkdir(parents=True)
    pl.DataFrame({"model": ["a", "b"], "brier": [0.1, None]}).write_csv(report / "brier.csv")
    Image.new("RGB", (3, 2)).save(report / "figures" / "cost.png")
    for _ in range(2):  # what W&B keeps below the report is not logged with it
        jobs = [["dataset=words"]]
        track_grid("some_grid", TrackerConfig(kind="wandb"), report, jobs, CONSOLE)
    files = sorted(report.glob("wandb/offline-run-*/*.wandb"))
    assert len({file.name for file in files}) == 1
    records = logged(files[-1])
    (started,) = [record.run for record in records if record.WhichOneof("record_type") == "run"][:1]
    assert (started.run_group, started.job_type) == ("some_grid", "summary")
    assert started.display_name == "some_grid/summary"
    history = values(records, "history")
    kinds = {key: value for key, value in history.items() if key.endswith("/_type")}
    assert kinds == {"brier/_type": "table-file", "figures/cost/_type": "image-file"}
    table = json.loads((files[-1].parent / "files" / history["brier/path"]).read_text())
    assert table["data"] == [["a", 0.1], ["b", None]]


def test_no_tracker_logs_no_report(tmp_path):
    track_grid("some_grid", TrackerConfig(), tmp_path, [], CONSOLE)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("private_wandb")
def test_a_cell_that_is_logged_again_is_the_same_run_on_the_server(cell, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write_figures(make_grid([cell]), tmp_path / "figures")
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        for _ in range(2):
            track(cell, config_of(kind="wandb", mode="online"), tmp_path)
    (run,) = server.runs
    told = server.runs[run]
    assert (told["groupName"], told["jobType"]) == ("some_grid", "cell")
    assert sorted(server.history[run]) == [0, 1]  # the second run goes on where the first ended
    assert all("questions" in line for line in server.history[run].values())
    assert (json.loads(told["config"])["sampling"])["value"]["k"] == 12
    for path in tmp_path.glob("figures/*.png"):
        assert any(
            name.startswith(f"{run}/media/images/figures/{path.stem}_") for name in server.files
        )
    assert any(name.startswith(f"{run}/media/table/questions_") for name in server.files)
    assert not (Path.cwd() / "wandb").exists()


@pytest.mark.usefixtures("private_wandb")
def test_offline_runs_ask_no_server(cell, tmp_path, monkeypatch):
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        track(cell, config_of(kind="wandb", mode="offline"), tmp_path)
    assert server.requests == 0


@pytest.mark.usefixtures("private_wandb")
@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"WANDB_BASE_URL": "stalled"}, "No API key configured"),
        ({"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}, "can't be reached"),
        ({"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "stalled"}, "didn't end in 8 s"),
    ],
)
def test_what_can_t_be_uploaded_stays_offline_with_a_notice(
    cell, tmp_path, monkeypatch, capsys, environment, told
):
    monkeypatch.setattr(wandb_run, "_UPLOAD_SECONDS", 8.0)
    start = time.monotonic()
    with WandbServer(stalled=True) as server:
        for name, value in environment.items():
            monkeypatch.setenv(name, server.url if value == "stalled" else value)
        track(cell, config_of(kind="wandb", mode="online"), tmp_path)
        assert not server.runs
    assert time.monotonic() - start < 60
    printed = capsys.readouterr().out
    (run,) = tmp_path.glob("wandb/offline-run-*")
    assert told in printed
    assert f"wandb sync {run}" in printed
    assert values(logged(next(run.glob("*.wandb"))), "summary")["questions"] == 12


@pytest.mark.usefixtures("private_wandb")
def test_a_cell_is_logged_where_an_event_loop_is_at_work(cell, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")

    async def in_a_notebook() -> None:
        track(cell, config_of(kind="wandb", mode="online"), tmp_path)

    with ThreadPoolExecutor(1) as thread:  # here a browser's test may have left a loop at work
        thread.submit(asyncio.run, in_a_notebook()).result()
    assert "can't be reached" in capsys.readouterr().out


@pytest.mark.usefixtures("private_wandb")
@pytest.mark.parametrize("stalled", ["file_stream", "media/table"])
def test_a_server_that_hangs_in_the_middle_of_an_upload_is_given_up_with_all_its_processes(
    cell, tmp_path, monkeypatch, capsys, stalled
):
    monkeypatch.setattr(wandb_run, "_UPLOAD_SECONDS", 12.0)
    with WandbServer(stalled=stalled) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        start = time.monotonic()
        assert track(cell, config_of(kind="wandb", mode="online"), tmp_path)
        assert time.monotonic() - start < 60
        assert server.runs  # the upload had begun
        mark = f"WANDB_BASE_URL={server.url}".encode()
        left = [p for p in Path("/proc").glob("[0-9]*/environ") if mark in environment_of(p)]
    assert not left
    assert "the upload didn't end in 12 s, so the run stays offline" in capsys.readouterr().out


def environment_of(path):
    """Return the environment of a process, but for one that has ended, or is another user's."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_run_id_is_that_of_the_cell_and_its_configuration():
    first, again = logged_config(config_of()), logged_config(config_of(kind="wandb"))
    assert run_id("cell", first) == run_id("cell", again)
    assert run_id("cell", first) != run_id("other", first)
    summary = [run_id("grid/summary", {"jobs": jobs}) for jobs in ([["a=1"]], [["a=2"]])]
    assert len(set(summary)) == 2
    more = logged_config(replace(config_of(), sampling=SamplingConfig(k=13, k_train=4)))
    assert run_id("cell", first) != run_id("cell", more)


def test_the_question_table_joins_by_question_and_leaves_missing_confidences_null(cell):
    shuffled = {
        name: replace(e, confidences=e.confidences.reverse()) for name, e in cell.estimates.items()
    }
    table = question_table(replace(cell, estimates=shuffled))
    assert table.equals(question_table(cell), null_equal=True)
    verbalized = cell.estimates["verbalized"].confidences
    expected = verbalized.sort("question_id")["confidence"]
    assert table["verbalized"].to_list() == expected.to_list()
    assert table["expected_accuracy"].to_list() == (table["c"] / table["n"]).to_list()
    assert table["oracle_rc"].to_list() == pytest.approx(table["expected_accuracy"].to_list())
    assert table.schema["n"] == pl.Int64
