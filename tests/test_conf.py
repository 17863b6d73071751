from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmark.__main__ import CONF
from benchmark.applications import build_applications
from benchmark.config import register_schema
from benchmark.estimators import build_estimators
from benchmark.grading import build_graders
from benchmark.rules import checked

CHOICES = [
    (path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))
]  # (group, choice)


NEEDED = {  # what has no default
    "llm_judge": ["grading.llm_judge.model=judge"],
    "server": ["engine.base_url=http://localhost:8000/v1"],
}


def composed(*overrides: str):
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("config", overrides=list(overrides)))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_is_valid(group: str, choice: str) -> None:
    chosen = {
        "estimator": f"estimator=[{choice}]",
        "application": f"application=[{choice}]",
        "probe": f"probe@estimator.probe_own.settings={choice}",
    }
    config = composed(chosen.get(group, f"{group}={choice}"), *NEEDED.get(choice, []))
    assert build_estimators(config.estimator, config.sampling)
    assert build_graders(config.grading)
    assert build_applications(config.application)


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
