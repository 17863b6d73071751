"""The finished cell: whole or not there, found again by what decides it, and then skipped."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import polars as pl
import pytest
from cells import only, simulate_cell
from polars.testing import assert_frame_equal
from rich.console import Console

import benchmark
from benchmark.applications import PassAtK
from benchmark.cell.finished import is_finished, newest_cell
from benchmark.cell.key import cell_artifact
from benchmark.cell.saved import (
    cell_of,
    export_probes,
    load_cell,
    read_listing,
    save_cell,
)
from benchmark.config.schema import Config
from benchmark.errors import StoreError
from benchmark.records import STORED_RESPONSE, CellResult, Estimate
from benchmark.runs.report_command import find_cells
from benchmark.store import checksums as store
from benchmark.store import folder as folder_module
from benchmark.store.artifact import (
    Artifact,
    Store,
    prompt_hash,
    sealed,
)
from benchmark.store.checksums import file_checksum
from tests.config.test_conf import composed
from tests.test_main import run, tiny

QUIET = Console(quiet=True)
INPUTS = {"dataset": {"name": "basics", "rows": []}, "model": {}}


class FileProbe:
    """Writes two files, as an exported probe does."""

    files = ("probe.safetensors", "card.json")

    def save(self, folder: Path) -> None:
        (folder / "probe.safetensors").write_bytes(b"weights")
        (folder / "card.json").write_text("{}")


@pytest.fixture(scope="module")
def cell() -> CellResult:
    made = only(
        simulate_cell(n_questions=12, k=12), "random", "oracle_cc", "consistency_5", "probe"
    )
    own = made.estimates["probe"]
    chosen = own.probes[""]._replace(exported=FileProbe())
    inside = replace(own, probes={".base": chosen._replace(selection=chosen.selection.head(3))})
    estimates = made.estimates | {"probe": replace(own, probes={"": chosen}), "inside": inside}
    return replace(made, estimates=estimates, failed={"routing": "no other cell"})


def artifact_in(root: Path, model: str = "smollm2_135m", **inputs) -> Artifact:
    return Store(root, QUIET).artifact(model, "basics", "test", "cell", INPUTS | inputs)


def stored(cell: CellResult, root: Path, *, complete: bool = True, parents=None, **where):
    artifact = artifact_in(root, **where)
    save_cell(cell, artifact, parents or {}, complete)
    return artifact


def sampled(cell: CellResult, root: Path) -> Artifact:
    """Return the artifact of the cell's responses, with others that the cell hasn't."""
    prompts = dict(cell.questions.select("question_id", "prompt").iter_rows())
    hashes = {key: prompt_hash(prompt) for key, prompt in prompts.items()}
    own = cell.responses.collect().with_columns(
        prompt_hash=pl.col("question_id").replace_strict(hashes)
    )
    later = own.with_columns(pl.col("sample_index") + 12)  # k was raised since
    reworded = own.with_columns(prompt_hash=pl.lit("another"), text=pl.lit("to another prompt"))
    failed = own.head(3).with_columns(finish_reason=pl.lit("error"), text=pl.lit(None, pl.String))
    artifact = Store(root, QUIET).artifact("smollm2_135m", "basics", "test", "responses", {})
    with artifact.lock():
        for table in (failed, own.head(50), own.tail(-50), later, reworded):
            artifact.append_table(table.select(list(STORED_RESPONSE)))
    return artifact


def test_a_cell_comes_back_with_every_table(cell, tmp_path):
    found = load_cell(stored(cell, tmp_path).folder)
    for field in fields(CellResult):
        ours, theirs = getattr(cell, field.name), getattr(found, field.name)
        if isinstance(ours, pl.DataFrame):
            assert_frame_equal(ours, theirs)
        elif field.name not in {"responses", "estimates", "applications"}:
            assert ours == theirs
    assert list(found.estimates) == list(cell.estimates)
    for name, estimate in cell.estimates.items():
        for field in fields(Estimate):
            ours, theirs = getattr(estimate, field.name), getattr(found.estimates[name], field.name)
            if isinstance(ours, pl.DataFrame):
                assert_frame_equal(ours, theirs)
            elif field.name != "probes":
                assert ours == theirs
        assert list(found.estimates[name].probes) == list(estimate.probes)
        for place, probe in estimate.probes.items():
            assert_frame_equal(found.estimates[name].probes[place].selection, probe.selection)
    assert_frame_equal(found.applications["pass_at_k"], cell.applications["pass_at_k"])
    assert found.responses.collect().is_empty()


def test_its_probes_are_exported_as_they_were(cell, tmp_path):
    export_probes(stored(cell, tmp_path), tmp_path / "probes")
    files = {str(p.relative_to(tmp_path / "probes")) for p in tmp_path.glob("probes/*/*")}
    written = {"probe.safetensors", "card.json"}
    assert files == {f"{name}/{file}" for name in ("probe", "inside.base") for file in written}
    assert (tmp_path / "probes/probe/probe.safetensors").read_bytes() == b"weights"


def test_its_responses_are_read_from_their_own_artifact_when_they_are_needed(cell, tmp_path):
    source = sampled(cell, tmp_path)
    artifact = stored(cell, tmp_path, parents={"responses": source.fingerprint})
    assert not list(artifact.folder.glob("*respons*"))
    found = load_cell(artifact.folder).responses
    key = ["question_id", "sample_index"]
    assert_frame_equal(found.collect().sort(key), cell.responses.collect().sort(key))
    one = found.filter(pl.col("question_id") == "basics/test/0003").collect()
    assert sorted(one["sample_index"]) == list(range(12))
    assert found.select("text").collect().height == cell.responses.collect().height
    assert found.head(60).collect().height == 60
    assert found.filter(pl.col("sample_index") > 5).head(7).collect().height == 7
    part = next(source.folder.glob("part-*"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(StoreError, match="damaged"):
        found.collect()
    for path in source.folder.glob("part-*"):
        path.unlink()
    with pytest.raises(StoreError, match="5 of 5 parts are gone; run the cell again"):
        found.collect()


def test_a_cell_is_replaced_as_a_whole(cell, tmp_path):
    stored(cell, tmp_path)
    artifact = stored(only(cell, "oracle_cc"), tmp_path)
    assert list(load_cell(artifact.folder).estimates) == ["oracle_cc"]
    listing = json.loads((artifact.folder / "cell.json").read_text())
    assert files_of(artifact) == {*listing["files"], "cell.json"}
    assert listing["rows"]["metrics"] == cell.metrics.height // 4


def files_of(artifact: Artifact) -> set[str]:
    return {str(p.relative_to(artifact.folder)) for p in artifact.folder.rglob("*") if p.is_file()}


def test_a_person_can_read_the_folder(cell, tmp_path):
    artifact = stored(cell, tmp_path)
    tables = {
        "applications/pass_at_k", "capability", "confidences", "differences", "disagreements",
        "grades", "left_out", "metrics", "questions", "selections",
    }  # fmt: skip
    probes = {f"probes/{p}/{f}" for p in ("probe", "inside.base") for f in FileProbe.files}
    assert files_of(artifact) == {"cell.json", *probes, *(f"{name}.parquet" for name in tables)}
    confidences = pl.read_parquet(artifact.folder / "confidences.parquet")
    own = confidences.filter(estimator="oracle_cc").drop("estimator")
    assert_frame_equal(own, cell.estimates["oracle_cc"].confidences)


@pytest.mark.parametrize("name", ["a b", "../../up", "/root", "..", "ä%2F", "x" * 50])
def test_names_of_applications_and_estimators_make_no_paths(cell, tmp_path, name):
    probe = cell.estimates["probe"]
    named = replace(cell, applications={name: cell.metrics}, estimates={name: probe})
    artifact = stored(named, tmp_path / "store")
    assert {path.name for path in tmp_path.iterdir()} == {"store"}
    found = load_cell(artifact.folder)
    assert_frame_equal(found.applications[name], cell.metrics)
    assert_frame_equal(found.estimates[name].confidences, probe.confidences)
    export_probes(artifact, tmp_path / "run" / "probes")
    assert len(list(tmp_path.glob("run/probes/*/card.json"))) == 1


def test_a_listing_from_elsewhere_reads_no_file_outside(cell, tmp_path):
    artifact = stored(cell, tmp_path)
    (tmp_path / "secret").write_bytes(b"secret")
    listing = json.loads((artifact.folder / "cell.json").read_text())
    del listing["checksum"]
    up = os.path.relpath(tmp_path / "secret", artifact.folder)
    listing["files"][up] = hashlib.sha256(b"secret").hexdigest()[:16]
    artifact.write("cell.json", sealed(listing))
    with pytest.raises(
        StoreError, match=r"cell.json gives a name that no file in .* may have: .*/secret"
    ):
        load_cell(artifact.folder)


def test_what_a_killed_run_wrote_aside_is_not_read_and_goes(cell, tmp_path):
    artifact = stored(cell, tmp_path)
    left = artifact.folder.with_name(f".{artifact.folder.name}") / "new"
    shutil.copytree(artifact.folder, left)
    (left / "metrics.parquet").unlink()
    assert is_finished(artifact)
    assert find_cells([tmp_path], QUIET) == [artifact.folder]
    stored(only(cell, "oracle_cc"), tmp_path)
    assert not left.exists()
    assert list(load_cell(artifact.folder).estimates) == ["oracle_cc"]


def test_a_full_disk_leaves_the_cell_as_it_was(cell, tmp_path, monkeypatch):
    artifact = stored(cell, tmp_path)
    before = files_of(artifact)

    def full(path):
        if path.name == "metrics.parquet":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module, "sync", full)
    with pytest.raises(StoreError, match=r"can't be written: No space left.*Free space"):
        stored(only(cell, "oracle_cc"), tmp_path)
    assert files_of(artifact) == before
    assert is_finished(artifact)


def test_what_points_to_its_report_stays_when_a_cell_is_replaced(cell, tmp_path):
    artifact = stored(cell, tmp_path)
    artifact.write("report.json", b"{}")
    stored(only(cell, "oracle_cc"), tmp_path)
    assert (artifact.folder / "report.json").read_bytes() == b"{}"


def read_all(artifact: Artifact, folder: Path) -> None:
    load_cell(artifact.folder)
    export_probes(artifact, folder)


def test_whatever_is_damaged_or_missing_the_cell_is_not_finished(cell, tmp_path):
    artifact = stored(cell, tmp_path)
    assert is_finished(artifact)
    for path in sorted(path for path in artifact.folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for damage in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:]):
            path.write_bytes(damage)
            assert not is_finished(artifact), path
        path.unlink()
        assert not is_finished(artifact), path
        with pytest.raises(StoreError):
            read_all(artifact, tmp_path)
        path.write_bytes(whole)
    assert is_finished(artifact)


def test_a_cell_is_not_finished_while_parts_of_its_responses_are_gone(cell, tmp_path):
    source = sampled(cell, tmp_path)
    artifact = stored(cell, tmp_path, parents={"responses": source.fingerprint})
    with source.lock():
        added = source.append_table(STORED_RESPONSE.to_frame())
    added.unlink()  # what was drawn later
    assert is_finished(artifact)
    part = next(source.folder.glob("part-*"))
    part.unlink()
    assert not is_finished(artifact)
    with pytest.raises(StoreError, match="1 of 5 parts are gone; run the cell again"):
        load_cell(artifact.folder).responses.collect()


def test_a_folder_without_a_cell_is_named(tmp_path):
    with pytest.raises(StoreError, match=rf"{tmp_path} holds no whole cell.*Run the cell again"):
        load_cell(tmp_path)
    assert not is_finished(artifact_in(tmp_path))


def test_what_another_run_would_change_is_not_finished(cell, tmp_path):
    assert not is_finished(stored(cell, tmp_path / "a", complete=False))
    unknown = {"name": "x", "rows": None}
    assert not is_finished(stored(cell, tmp_path / "b", dataset=unknown))
    trained = [{"train_on": [{"dataset": unknown}]}]
    assert not is_finished(stored(cell, tmp_path / "c", estimators=trained))


def written(artifact: Artifact, when: str) -> None:
    artifact.write("cell.json", sealed(read_listing(artifact.folder) | {"written": when}))


def test_of_cells_within_a_second_the_last_is_the_newest(cell, tmp_path):
    mine = artifact_in(tmp_path)
    for k in range(1, 7):
        last = stored(cell, tmp_path, model="gemma", k=k)
        assert newest_cell(mine, "gemma") == last.folder


def test_the_newest_cell_of_another_model_is_found(cell, tmp_path):
    mine = artifact_in(tmp_path)
    with pytest.raises(
        StoreError, match=r"no finished cell of model gemma.*model=gemma dataset=ba"
    ):
        newest_cell(mine, "gemma")
    counted = Store(tmp_path, QUIET).artifact(
        "smollm", "basics", "test", "cell", {"dataset": {"rows": []}}
    )
    with pytest.raises(StoreError, match=r"model\.name=gemma dataset\.name=basics dataset=counts"):
        newest_cell(counted, "gemma")
    first, second = (stored(cell, tmp_path, model="gemma", k=k) for k in (1, 2))
    written(first, "2026-03-01T10:00:00+00:00")
    written(second, "2026-03-01T09:00:00+00:00")
    assert newest_cell(mine, "gemma") == first.folder
    smaller = stored(cell, tmp_path, model="gemma", dataset={"limit": 2, "rows": []})
    written(smaller, "2026-03-02T10:00:00+00:00")
    assert newest_cell(mine, "gemma") == first.folder  # of the very same questions
    (first.folder / "cell.json").write_text("{")
    assert newest_cell(mine, "gemma") == second.folder


def test_a_cell_that_read_another_is_finished_until_that_one_has_a_newer(cell, tmp_path):
    other = stored(cell, tmp_path, model="gemma", k=1)
    written(other, "2026-03-01T10:00:00+00:00")
    mine = stored(cell, tmp_path, parents={"cell/gemma": other.folder.name})
    assert is_finished(mine)
    stored(cell, tmp_path, model="gemma", k=2)
    assert not is_finished(mine)


def test_a_run_that_points_nowhere_is_named(tmp_path):
    with pytest.raises(StoreError, match="no folder of a finished run"):
        cell_of(tmp_path)
    (tmp_path / "cell.json").write_text('{"cell": "store/m/d/test/cell-0"}')
    with pytest.raises(StoreError, match="cell-0, isn't in the store any more"):
        cell_of(tmp_path)


# --- what decides a cell


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPCAL_CACHE", str(tmp_path / "cache"))


def described(model: Path, *overrides: str) -> Config:
    return composed(*tiny(model, *overrides))


def name_of(config: Config) -> str:
    return cell_artifact(config, QUIET).folder.name


@pytest.mark.usefixtures("cache")
def test_everything_that_decides_the_result_names_the_cell(tiny_model):
    names = [
        name_of(described(tiny_model, *overrides))
        for overrides in (
            [], ["sampling.k=5"], ["sampling.k_train=3"], ["sampling.seed=1"],
            ["model.decoding.temperature=0.5"], ["model.system_prompt=Be brief."],
            ["dataset.limit=13"], ["dataset.train_limit=21"], ["dataset.instruction=Answer."],
            ["capability.truncated=left_out"], ["grading=[exact]"], ["grading=[exact,basics]"],
            ["grading=[basics,exact]"], ["estimator=[random]"], ["estimator.random.draws=7"],
            ["application=[pass_at_k]"],
            ["application=[pass_at_k]", "application.pass_at_k.k_values=[1]"],
            ["statistics.seed=1"],
            ["statistics.resamples=21"],
        )
    ]  # fmt: skip
    assert len(set(names)) == len(names)


@pytest.mark.usefixtures("cache")
def test_what_decides_nothing_does_not(tiny_model, tmp_path):
    name = name_of(described(tiny_model))
    server = ["engine=server", "engine.base_url=http://localhost:1/v1"]
    settings = [o for o in tiny(tiny_model) if not o.startswith("engine.")]
    assert name_of(composed(*settings, *server)) == name
    for other in ("engine.max_rows=3", f"paths.outputs={tmp_path}/elsewhere", "tracker=wandb"):
        assert name_of(described(tiny_model, other)) == name
    workers = [
        name_of(described(tiny_model, "grading=[math_verify]", f"grading.math_verify.workers={n}"))
        for n in (1, 2)
    ]
    assert workers[0] == workers[1]


@pytest.mark.usefixtures("cache")
def test_the_rows_of_a_mirror_are_known_by_their_content(tiny_model, tmp_path):
    def name(root: str, *overrides: str) -> str:
        return name_of(described(tiny_model, f"paths.hub_root={tmp_path}/{root}", *overrides))

    for root in ("one", "two"):
        (tmp_path / root / "openai/gsm8k").mkdir(parents=True)
        (tmp_path / root / "openai/gsm8k/test.jsonl").write_text("{}")
    own, trained = ["dataset=gsm8k"], ["estimator=[probe_gsm8k]"]
    before = [name("one", *overrides) for overrides in (own, trained)]
    assert before == [name("two", *overrides) for overrides in (own, trained)]
    (tmp_path / "two/openai/gsm8k/test.jsonl").write_text("[]")
    after = [name("two", *overrides) for overrides in (own, trained)]
    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.mark.usefixtures("cache")
def test_a_branch_that_the_hub_does_not_tell_leaves_the_rows_unknown(tiny_model):
    artifact = cell_artifact(described(tiny_model, "dataset=simpleqa_verified"), QUIET)
    assert artifact.inputs["dataset"]["rows"] is None
    artifact = cell_artifact(described(tiny_model, "dataset=gsm8k"), QUIET)
    assert artifact.inputs["dataset"]["rows"] == [
        "openai/gsm8k@740312add88f781978c0658806c59bc2815b9866"
    ]


def test_a_checksum_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path, memory = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"one")
    first = file_checksum(path, memory)
    assert not list(memory.glob("**/*.json"))  # touched just now: it may change unseen
    monkeypatch.setattr(store, "_SETTLED_SECONDS", -1.0)
    assert file_checksum(path, memory) == first
    (kept,) = memory.glob("checksums/*.json")
    with monkeypatch.context() as unread:
        unread.delattr(store.hashlib, "file_digest")
        assert file_checksum(path, memory) == first
    before = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copying tool may
    second = file_checksum(path, memory)
    assert second != first
    for damaged in ("[", "[" * 100_000, kept.read_text().replace(second, first)):
        kept.write_text(damaged)
        assert file_checksum(path, memory) == second


# --- whole runs

FEW = ["estimator=[oracle_cc,probe_own]"]


def test_a_finished_cell_is_skipped_and_what_is_lost_of_it_is_made_again(
    monkeypatch, tmp_path, capsys, tiny_model
):
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *FEW)) == 0
    (report,) = tmp_path.glob("out/*/*/report.html")
    page = report.read_text()
    result = benchmark.load_cell(str(report.parent))  # the run's folder, which points to it
    assert result.responses.collect().height == 12 * 4
    capsys.readouterr()

    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *FEW)) == 0
    printed = capsys.readouterr().out
    assert "finished before" in printed
    assert str(report) in printed
    assert str(cell_of(report.parent)) in printed
    skipped = next(
        p.parent for p in tmp_path.glob("out/*/*/cell.json") if p.parent != report.parent
    )
    assert cell_of(skipped) == cell_of(report.parent)
    assert not (skipped / "report.html").exists()
    assert list(skipped.glob("probes/probe_own/card.json"))

    report.unlink()
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *FEW)) == 0
    assert "finished before" not in capsys.readouterr().out
    (again,) = tmp_path.glob("out/*/*/report.html")
    assert again.read_text() == page
    assert list(again.parent.glob("probes/probe_own/*"))

    part = cell_of(again.parent) / "metrics.parquet"
    part.write_bytes(b"damaged")
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *FEW)) == 0
    assert "finished before" not in capsys.readouterr().out
    healed = load_cell(cell_of(again.parent))
    assert_frame_equal(healed.metrics, result.metrics)
    assert_frame_equal(healed.grades, result.grades)


def test_a_skipped_run_loads_no_model_library(tmp_path):
    (tmp_path / "my.csv").write_text("question_id,n,c,p\na,4,1,0.5\nb,4,4,0.9\n")
    code = (
        "import sys; from benchmark.__main__ import main\n"
        f"sys.argv = ['capcal', 'paths.outputs={tmp_path}/out', 'paths.cache={tmp_path}/cache',"
        f" 'dataset=counts', 'dataset.path={tmp_path}/my.csv', 'statistics.resamples=5']\n"
        "main()\n"
        "slow = {'torch', 'transformers', 'datasets', 'matplotlib', 'scipy', 'sympy', 'openai'}\n"
        "print('loaded', sorted(slow & set(sys.modules)))"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert "'torch'" in outputs[0].stdout
    assert "finished before" in outputs[1].stdout
    assert "loaded []" in outputs[1].stdout


def test_a_cell_whose_application_failed_is_evaluated_again(monkeypatch, tmp_path, tiny_model):
    settings = tiny(tiny_model, "estimator=[oracle_cc]", "application=[pass_at_k]")
    with monkeypatch.context() as patch:
        patch.setattr(PassAtK, "evaluate", lambda _, __, study: study.stored_cell("absent"))
        assert run(patch, tmp_path, *settings) == 1
    (folder,) = tmp_path.glob("out/store/tiny/basics/test/cell-*")
    assert "absent" in load_cell(folder).failed["pass_at_k"]
    assert run(monkeypatch, tmp_path, *settings) == 0
    assert not load_cell(folder).failed
    assert "pass_at_k" in load_cell(folder).applications


def test_a_wrong_setting_is_refused_before_weights_are_sought(monkeypatch, tmp_path, capsys):
    nowhere = ["model.hub_id=nobody/nothing", "model.gguf=null", "estimator.p_true.promt=x"]
    assert run(monkeypatch, tmp_path, *nowhere) == 1
    assert "promt" in capsys.readouterr().err
