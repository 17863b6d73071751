"""A store from elsewhere: the result is the same, or one message names the file."""

import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from random import Random

import polars as pl
import pytest
from rich.console import Console

from benchmark.cell.cell import Cell
from benchmark.cell.finished import REPORT, _report_of, is_finished
from benchmark.cell.saved import export_probes, load_cell, save_cell
from benchmark.cell.stages import SAMPLED
from benchmark.errors import DataError, StoreError
from benchmark.estimators import build_estimators
from benchmark.questions import load_splits
from benchmark.records import PROBE_SELECTION, ChosenProbe
from benchmark.runs.one_cell import _evaluate
from benchmark.runs.report_command import report
from benchmark.sampling.responses import RESPONSES
from benchmark.store.artifact import Store
from benchmark.store.hidden_states import HIDDEN_STATES
from benchmark.store.names import file_name, inside
from benchmark.store.rows import Rows, parquet
from tests.cell.test_saved import FileProbe
from tests.config.test_conf import composed
from tests.estimators.planted_cell import PlantedEngine
from tests.hostile_store import ATTACKS, checksum, folder_of, part_of, reseal

SETTINGS = [
    "dataset=basics", "dataset.limit=4", "grading=[exact]", "sampling.k=3",
    "statistics.resamples=2", "estimator=[verbalized,p_true]", "model.name=planted",
]  # fmt: skip


def go(outputs: Path) -> str:
    """Do what a run does: open the cell, or make it of what is stored. Return what came of it."""
    config = composed(*SETTINGS, f"paths.outputs={outputs}")
    quiet = Console(file=StringIO())
    store = Store(outputs / "store", quiet)
    inputs = {"dataset": {"name": "basics", "rows": []}}
    artifact = store.artifact("planted", "basics", "test", "cell", inputs)
    if not is_finished(artifact):
        questions = load_splits(config.dataset, ["evaluation"])
        engine = PlantedEngine(questions["evaluation"].to_dicts(), lambda p: p)
        cell = Cell(config, questions, engine, store, quiet, SAMPLED)
        result = _evaluate(cell, {}, build_estimators(config.estimator, config.sampling))
        states = cell.features("evaluation").features.layer(1).tolist()
        chosen = pl.DataFrame([dict.fromkeys(PROBE_SELECTION)], PROBE_SELECTION)
        probe = ChosenProbe(chosen, FileProbe())
        estimate = replace(result.estimates["p_true"], probes={"": probe})
        result = replace(result, failed={"states": str(states)})
        result = replace(result, estimates=result.estimates | {"p_true": estimate})
        save_cell(result, artifact, cell.split("evaluation").parents, True)
    export_probes(artifact, outputs / "run" / "probes")
    page = _report_of(artifact, config)
    assert page is None or outputs in page.parents
    (outputs / "run" / "report.html").write_text("")
    artifact.write(REPORT, b'{"report": "run/report.html", "logged": []}')
    made = load_cell(artifact.folder)
    tables = [made.metrics, made.grades, made.responses.collect().sort("question_id", "seed")]
    tables += [estimate.confidences for estimate in made.estimates.values()]
    return "\n".join([made.model, made.failed["states"], *(table.write_csv() for table in tables)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    outputs = tmp_path_factory.mktemp("finished")
    return outputs, go(outputs)


@pytest.fixture
def no_waiting() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError("It waits for a file.")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return the content of all files below a folder, links as what they are."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("name", ATTACKS)
def test_a_store_from_elsewhere_changes_no_result_and_nothing_outside(
    finished: tuple[Path, str], tmp_path: Path, name: str
) -> None:
    outputs, outside = tmp_path / "out", tmp_path / "outside"
    shutil.copytree(finished[0], outputs)
    outside.mkdir()
    (outside / "canary").write_bytes(b"alive")
    ATTACKS[name](outputs / "store", outside)
    before = everything(outside)
    message = ""
    try:
        made = go(outputs)
    except StoreError as error:
        message = str(error)
    assert message or made == finished[1]
    assert not message or str(outputs / "store") in message
    assert len(message) < 1500
    assert message.isprintable()
    assert everything(outside) == before
    assert {path.name for path in tmp_path.iterdir()} == {"out", "outside"}


ODD = pl.DataFrame({"\x1b[2J": [1]})


@pytest.mark.parametrize(
    ("name", "table"),
    [("abstention", ODD), ("budget", ODD), ("budget", pl.DataFrame()), ("routing", ODD),
     ("pass_at_k", ODD), ("pass_at_k", pl.DataFrame())],
)  # fmt: skip
def test_a_cell_with_tables_of_others_ends_a_report_in_one_message(
    finished: tuple[Path, str], tmp_path: Path, name: str, table: pl.DataFrame
) -> None:
    shutil.copytree(finished[0], tmp_path / "out")
    cell = folder_of(tmp_path / "out" / "store", "cell")
    (cell / "applications").mkdir(exist_ok=True)
    data = parquet(table)
    (cell / "applications" / f"{name}.parquet").write_bytes(data)
    listed = {f"applications/{name}.parquet": checksum(data)}
    reseal(cell / "cell.json", lambda content: content["files"].update(listed))
    with pytest.raises(StoreError, match=f"cells in {cell}: a table") as told:
        report([tmp_path / "out" / "store"], "r", Console(file=StringIO()))
    assert str(told.value).isprintable()


def test_an_unharmed_store_is_asked_for_nothing(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished[0], tmp_path / "out")
    shutil.rmtree(next((tmp_path / "out").glob("store/*/*/*/cell-*")))

    def refuse(*_: object) -> None:
        raise AssertionError("The model is asked.")

    for method in ("sample", "choice_probabilities", "hidden_states"):
        monkeypatch.setattr(PlantedEngine, method, refuse)
    assert go(tmp_path / "out") == finished[1]


@pytest.mark.parametrize("name", ["a", "a.parquet", "a b", "ä", "a%2Fb", "x/y", ".hidden", "..a"])
def test_names_of_a_store_are_taken(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name, "it") == tmp_path / name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/", "/a", "a/", "a//b", "a/../b", "../a", "a\\b", "C:", "a\0", "a\n",
     "\x1b[0m", "\u202e", "\ud800", "x" * 256, "a/" * 9 + "a", None, 1, ["a"], b"a"],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(StoreError, match=r"it gives a name that no file in"):
        inside(tmp_path, name, "it")


def test_only_known_names_are_taken(tmp_path: Path) -> None:
    assert inside(tmp_path, "part-0", "it", r"part-\d")
    with pytest.raises(StoreError, match="gives a name"):
        inside(tmp_path, "part-0\n", "it", r"part-\d")


@pytest.mark.parametrize("text", ["a b", "..", ".", "../x", "/root", "a\0b", "ä", "\u202e", "%2E"])
def test_any_text_is_made_a_name_of_its_own(tmp_path: Path, text: str) -> None:
    assert inside(tmp_path, file_name(text), "it").parent == tmp_path


@pytest.mark.parametrize(("stage", "rows"), [("responses", RESPONSES), ("features", HIDDEN_STATES)])
def test_bytes_changed_at_random_are_read_or_refused(
    finished: tuple[Path, str], tmp_path: Path, stage: str, rows: Rows
) -> None:
    whole, rng, outcomes = part_of(finished[0] / "store", stage).read_bytes(), Random(0), Counter()
    part = tmp_path / "part"
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        part.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        try:
            rows.read(part)
            outcomes["read"] += 1
        except DataError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 200
