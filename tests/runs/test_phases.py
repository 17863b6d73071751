"""A run in two parts: one asks the model, the other makes the cell and needs no model."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmark.probes import bank
from tests.test_main import run, tiny

ESTIMATORS = (
    "estimator=[random,p_true,verbalized,probe_own,p_true_isotonic,probe_isotonic,"
    "average_verbalized_probe]"
)


def settings(model: Path) -> list[str]:
    return [*(s for s in tiny(model) if not s.startswith("estimator")), ESTIMATORS]


def table(folder: Path) -> pl.DataFrame:
    (path,) = folder.glob("out*/store/*/*/*/cell-*/confidences.parquet")
    return pl.read_parquet(path)


def test_both_parts_give_what_a_whole_run_gives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    def not_here(*_: object) -> None:
        raise AssertionError("a probe was trained while sampling")

    given = settings(tiny_model)
    assert run(monkeypatch, tmp_path / "whole", *given) == 0
    with monkeypatch.context() as sampling:
        sampling.setattr(bank, "train_probe", not_here)
        assert run(sampling, tmp_path / "parts", *given, "phase=sample") == 0
    assert not [*(tmp_path / "parts").rglob("cell-*")]
    assert run(monkeypatch, tmp_path / "parts", *given, "phase=evaluate") == 0
    assert_frame_equal(table(tmp_path / "parts"), table(tmp_path / "whole"))


def test_what_is_not_sampled_whole_is_not_evaluated(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = settings(tiny_model)
    assert run(monkeypatch, tmp_path, *given, "phase=evaluate") == 1
    assert "is not sampled whole, and phase=evaluate asks no model" in capsys.readouterr().err
    assert run(monkeypatch, tmp_path, *given, "phase=sample", "sampling.k=2") == 0
    assert run(monkeypatch, tmp_path, *given, "phase=evaluate", "sampling.k=3") == 1
    assert run(monkeypatch, tmp_path, *given, "phase=evaluate", "sampling.k=2") == 0


def test_an_unknown_part_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, tmp_path, *settings(tiny_model), "phase=half") == 1
    assert "phase=half is not allowed" in capsys.readouterr().err
