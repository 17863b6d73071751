"""Probes trained on other datasets, through the command, on a mirror of invented rows."""

import json
from pathlib import Path

import polars as pl
import pytest
import torch

from benchmark.cell.saved import cell_of, load_cell
from benchmark.probes.module import ProbeModule
from benchmark.report.plotted import probe_selections
from tests.questions.mirror import invented_mirror
from tests.test_main import run, tiny

FEW = [f"estimator.probe_gsm8k.train_on.gsm8k.dataset.sources.{split}.held_out=2"
       for split in ("train", "validation")]  # fmt: skip


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    invented_mirror(folder)
    return folder


def test_a_probe_trained_on_another_dataset_is_evaluated_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, mirror: Path
) -> None:
    chosen = ["estimator=[probe_gsm8k,probe_own]", f"paths.hub_root={mirror}", *FEW]
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *chosen)) == 0
    (folder,) = tmp_path.glob("out/*/*/probes")
    cards = {p.parent.name: json.loads(p.read_text()) for p in folder.glob("*/card.json")}
    used = {name: {t["dataset"] for t in card["training"]} for name, card in cards.items()}
    assert used == {"probe_gsm8k": {"gsm8k"}, "probe_own": {"basics"}}
    assert [t["questions"] for t in cards["probe_gsm8k"]["training"]] == [4, 2]
    assert cards["probe_gsm8k"]["template"].startswith("{question}\n\n")
    estimates = load_cell(cell_of(folder.parent)).estimates
    assert {name: made.trained_on for name, made in estimates.items()} == {
        name: card["training"][0]["questions"] for name, card in cards.items()
    }
    metrics = pl.read_csv(folder.parent / "metrics.csv")
    assert set(metrics.filter(pl.col("metric") == "brier")["answered"]) == {12}
    assert list(tmp_path.glob("out/store/tiny/gsm8k/train/responses-*/part-*"))
    assert not list(tmp_path.glob("out/store/tiny/gsm8k/test"))


def test_probes_inside_others_are_exported_and_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    chosen = ["estimator=[probe_isotonic,average_verbalized_probe]"]
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *chosen)) == 0
    (folder,) = tmp_path.glob("out/*/*/probes")
    places = {path.parent.name for path in folder.glob("*/card.json")}
    assert places == {"probe_isotonic.base", "average_verbalized_probe.of.probe"}
    drawn = probe_selections(load_cell(cell_of(folder.parent)))
    assert list(drawn) == ["probe_isotonic.base"]  # the same probe once


def test_training_questions_that_are_evaluated_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
    mirror: Path,
) -> None:
    chosen = ["dataset=gsm8k", "dataset.limit=3", "estimator=[probe_gsm8k]", *FEW]
    chosen += [f"paths.hub_root={mirror}"]
    chosen += ["estimator.probe_gsm8k.train_on.gsm8k.dataset.splits.train=test"]
    chosen += ["estimator.probe_gsm8k.train_on.gsm8k.dataset.instruction=Worded otherwise."]
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *chosen)) == 1
    error = capsys.readouterr().err
    assert "train of dataset=gsm8k and evaluation of dataset=gsm8k share" in error
    assert not list(tmp_path.glob("out/store/tiny/gsm8k/*/responses-*"))  # before it samples


def test_a_wrong_setting_of_a_training_dataset_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    chosen = ["estimator=[probe_gsm8k]"]
    chosen += ["estimator.probe_gsm8k.train_on.gsm8k.dataset.train_limit=0"]
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *chosen)) == 1
    assert "train_on.gsm8k.dataset.train_limit=0" in capsys.readouterr().err


MLP = [
    "estimator=[probe_own]", "probe@estimator.probe_own.settings=mlp", "trainer=cpu",
    "trainer.max_epochs=3",
]  # fmt: skip


def test_a_training_by_steps_is_kept_in_the_store_and_goes_on_from_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    started: list[int] = []

    def start(module: ProbeModule) -> None:
        started.append(module.current_epoch)
        if len(started) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProbeModule, "on_train_epoch_start", start)
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *MLP)) != 0
    (checkpoint,) = tmp_path.glob("out/store/tiny/basics/train/probe-*/last.ckpt")
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *MLP)) == 0
    assert started == [0, 1, 2, 2]
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *MLP, "statistics.seed=1")) == 0
    assert started == [0, 1, 2, 2]  # finished
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *MLP, "trainer.max_epochs=1")) == 0
    assert started == [0, 1, 2, 2, 0]
    assert checkpoint.is_file()
    assert len(list(tmp_path.glob("out/store/tiny/basics/train/probe-*/last.ckpt"))) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the test misses")
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["trainer.accelerator=gpu"], "trainer: No supported gpu backend"),
        (["trainer=ddp"], "trainer: No supported gpu backend"),
        (["trainer.strategy=ddp"], "trainer.strategy=ddp is not allowed: it must be one of"),
        (["trainer.devices=2"], "for several devices choose trainer=ddp"),
        (["trainer.max_epoch=3"], "max_epoch"),
        (["trainer.max_epochs=many"], "trainer.max_epochs"),
    ],
)
def test_a_trainer_that_cannot_train_stops_the_run_before_it_samples(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    tiny_model: Path, changes: list[str], named: str,
) -> None:  # fmt: skip
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, *MLP, *changes)) != 0
    assert named in capsys.readouterr().err
    assert not list(tmp_path.glob("out/store/tiny/basics/*/responses-*"))
