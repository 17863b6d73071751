from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmark.__main__ import CONF
from benchmark.applications import build_applications
from benchmark.config.checks import checked
from benchmark.config.composing import compose_jobs, misread
from benchmark.config.schema import register_schema
from benchmark.estimators import build_estimators
from benchmark.grading import build_graders

CHOICES = [
    (path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))
]  # (group, choice)


NEEDED = {  # what has no default
    "llm_judge": ["grading.llm_judge.model=judge"],
    "rules_then_judge": ["grading.llm_judge.model=judge"],
    "file": ["dataset.path=my.csv"],
    "server": ["engine.base_url=http://localhost:8000/v1"],
}


def composed(*overrides: str):
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("config", overrides=list(overrides)))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_is_valid(group: str, choice: str) -> None:
    if choice in {"counts", "label"}:
        counted = composed("dataset=counts", "dataset.path=my.csv")
        assert counted.dataset.counted
        assert counted.model.name == "unnamed"
        assert not counted.grading
        return
    chosen = {
        "estimator": f"estimator=[{choice}]",
        "application": f"application=[{choice}]",
        "probe": f"probe@estimator.probe_own.settings={choice}",
    }
    config = composed(chosen.get(group, f"{group}={choice}"), *NEEDED.get(choice, []))
    assert build_estimators(config.estimator, config.sampling)
    assert build_graders(config.grading)
    assert build_applications(config.application)


SWEPT = {"paper_grid": (3, 7), "demo_grid": (2, 3)}  # models, datasets


@pytest.mark.parametrize("name", [choice for group, choice in CHOICES if group == "experiment"])
def test_every_job_of_an_experiment_composes(name: str) -> None:
    configs = [checked(config) for config in compose_jobs([f"experiment={name}"])]
    cells = {(config.model.name, config.dataset.name) for config in configs}
    models, datasets = (len(set(names)) for names in zip(*cells, strict=True))
    assert (models, datasets) == SWEPT.get(name, (1, 1))
    assert len(configs) == len(cells) == models * datasets
    for config in configs:
        assert config.grid == (name if name in SWEPT else "multirun")
        assert build_estimators(config.estimator, config.sampling)
        assert build_graders(config.grading)
        assert build_applications(config.application)


def test_the_command_line_narrows_and_adds_to_an_experiment_s_sweep() -> None:
    jobs = compose_jobs(["experiment=paper_grid", "model=qwen3_8b", "sampling.k=50,100"])
    assert {job.model.name for job in jobs} == {"qwen3_8b"}
    assert len(jobs) == 7 * 2
    (single,) = compose_jobs(["dataset=words"])
    assert single.dataset.name == "words"


@pytest.mark.parametrize("launcher", ["slurm", "joblib"])
def test_every_launcher_composes(launcher: str) -> None:
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["experiment=paper_grid", f"hydra/launcher={launcher}"]
        config = compose("config", overrides=overrides, return_hydra_config=True)
        launched = config.hydra.launcher
        assert launched._target_.startswith(f"hydra_plugins.{PLUGINS[launcher]}_launcher.")
        assert "paper_grid" in str(config.hydra.sweep.dir)


PLUGINS = {"slurm": "capcal", "joblib": "hydra_joblib"}


def test_a_list_chooses_the_estimators() -> None:
    assert list(composed("estimator=[random,p_true]").estimator) == ["random", "p_true"]


def test_every_group_has_choices() -> None:
    assert {group for group, _ in CHOICES} >= {
        "application", "dataset", "engine", "estimator", "experiment", "model", "tracker"
    }  # fmt: skip


def test_no_config_names_a_folder_of_one_machine() -> None:
    for path in Path(CONF).rglob("*.yaml"):
        values = [line.split(": ")[-1] for line in path.read_text().splitlines()]
        assert not any(value.startswith("/") for value in values)


def test_the_default_config_has_no_missing_value() -> None:
    assert not OmegaConf.missing_keys(OmegaConf.structured(composed()))


def test_an_experiment_changes_the_values_of_the_primary_config() -> None:
    assert composed("experiment=demo").sampling.k != composed().sampling.k
    assert composed("experiment=demo", "sampling.k=77").sampling.k == 77


def test_a_fault_of_the_program_is_not_laid_on_the_command_line() -> None:
    said = "'NoneType' object has no attribute 'get'"
    arguments = ["model.decoding.top_p=1"]
    assert misread(AttributeError(said), arguments) is None
    assert misread(AssertionError(said), arguments) is None
    assert misread(AttributeError(f"{said}\n    full_key: model.decoding"), arguments)


def test_a_started_vllm_leaves_the_models_own_settings_out():
    command = [*composed("engine=vllm").engine["command"]]
    assert command[command.index("--generation-config") + 1] == "vllm"
