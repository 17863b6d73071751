"""The documents: what they show holds, their guides are followed to the letter, the site builds."""

import doctest
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from benchmark import applications, estimators, grading, probes, questions
from benchmark.config.checks import checked
from benchmark.config.composing import CONF
from benchmark.config.schema import Config, register_schema
from benchmark.runs.plan_command import parsed
from tests.test_main import tiny

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDE = ROOT / "docs" / "adding.md"
QUESTIONS = 60  # of the guides' dataset that are asked
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]


def lines_of(path: Path, program: str) -> list[list[str]]:
    """The arguments of each command line of a page that starts with a program."""
    text = path.read_text().replace("\\\n", "")  # as a shell reads it
    found = re.findall(rf"^ *{re.escape(program)} (.*)$", text, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found]


@pytest.mark.parametrize("name", [n for n in NAMES[1:] if "\n>>> " in (ROOT / n).read_text()])
def test_the_examples_give_what_the_page_says(name: str) -> None:
    assert doctest.testfile(str(ROOT / name), module_relative=False).failed == 0


def test_every_command_composes_and_is_valid() -> None:
    commands = [
        [argument for argument in line if argument != "-m"]
        for path in PAGES
        if path != GUIDE  # whose commands are run
        for line in lines_of(path, "python -m benchmark")
    ]
    plans = [line for path in PAGES if path != GUIDE for line in lines_of(path, "capcal plan")]
    assert len(commands) > 25
    assert len(plans) > 1
    commands += [parsed(plan).overrides for plan in plans]
    rates = [line for path in PAGES for line in lines_of(path, "capcal calibrate-rate")]
    assert rates
    commands += [line[: line.index("--minutes")] for line in rates]
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for overrides in commands:
            assert checked(compose("config", first_job(overrides)))


def first_job(overrides: list[str]) -> list[str]:
    """The same with the first value of what is swept over."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    return [
        f"{o.key_or_group}={next(o.sweep_string_iterator())}"
        if o.is_sweep_override()
        else str(o.input_line)
        for o in parser.parse_overrides(overrides)
    ]


@pytest.fixture(scope="module")
def full() -> list[DictConfig]:
    """Configurations that have every setting there is."""
    register_schema()
    listed = {
        group: ",".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
        for group in ("estimator", "application")
    }
    settings = [f"{group}=[{names}]" for group, names in listed.items()]
    settings += ["grading=[math_verify,llm_judge]", "sampling=adaptive", "tracker=wandb"]
    settings += ["engine=vllm", "dataset=mmlu"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        every = [settings, ["estimator=[random]"], ["dataset=file", "dataset.path=my.csv"]]
        return [compose("config", overrides) for overrides in every]


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_setting_and_file_that_is_named_exists(path: Path, full: list[DictConfig]) -> None:
    groups = "|".join(field.name for field in fields(Config))
    for key in re.findall(rf"`\"?((?:{groups})\.[\w.]*\w)", path.read_text()):
        parent, _, name = key.rpartition(".")
        if name == "parquet":  # a file of a finished cell
            continue
        nodes = [OmegaConf.select(config, parent) for config in full]
        known = ["chat_template_kwargs" in parent or (node and name in [*node]) for node in nodes]
        assert any(known), f"{key} is no setting"
    files = r"((?:conf|benchmark|perf|tests|docs)/[\w./-]+\.\w+)"
    for name in re.findall(rf"[`(]{files}[)`]", path.read_text()):
        assert (ROOT / name).is_file(), f"{name} doesn't exist"
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target, *_ in lines_of(path, "make"):
        assert target in targets


class Block(NamedTuple):
    """A block of code on a page; the title is the file that it is, or goes into."""

    language: str
    title: str
    text: str


def blocks_of(path: Path) -> list[Block]:
    pattern = r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$"
    found = re.findall(pattern, path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [Block(*block) for block in found]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the built wheel, which sees what this one has installed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT)],
        text=True, timeout=300, capture_output=True, check=False,
    )  # fmt: skip
    if "No matching distribution" in built.stderr:
        pytest.skip("the build backend can't be had: pip reaches no index")
    assert built.returncode == 0, built.stderr
    venv.create(folder / "venv", with_pip=False)
    site = only((folder / "venv" / "lib").glob("python*/site-packages"))
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    interpreter = str(folder / "venv" / "bin" / "python")
    install = ["--python", interpreter, "install", "--no-deps", "--ignore-installed"]
    subprocess.run([*pip, *install, str(only(folder.glob("*.whl")))], check=True, timeout=300)
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, wheel: Path) -> Path:
    """An empty folder in which every step of the guides was taken, with its one run and plan.

    The commands of the guides are run as one, on a tiny model and few questions.
    """
    folder = tmp_path_factory.mktemp("adding")
    shutil.copytree(tiny_model, folder / "models" / "my_model")
    for block in blocks_of(GUIDE):
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    commands = [line for line in lines_of(GUIDE, "capcal") if line[0] != "plan"]
    assert len(commands) == 6
    assert commands.pop(0)[0] == "dataset=file"
    overrides = [override for command in commands for override in command]
    chosen = ("model.", "dataset.", "application")
    small = [setting for setting in tiny(tiny_model) if not setting.startswith(chosen)]
    small += [f"dataset.limit={QUESTIONS}", f"paths.cache={folder}/cache"]
    (folder / "run.txt").write_text(command(wheel, folder, *overrides, *small))
    (folder / "plan.txt").write_text(command(wheel, folder, "plan", *overrides, *small))
    return folder


def command(programs: Path, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CAPCAL_CONF": "my_conf"}
    environment.pop("PYTHONPATH", None)
    ended = subprocess.run(
        [programs / "capcal", *arguments], cwd=folder, env=environment, text=True, timeout=300,
        capture_output=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def only(paths) -> Path:
    (path,) = paths
    return path


def test_the_dataset_the_grader_and_the_model_of_the_guides_are_run(guided: Path) -> None:
    split = guided / "outputs" / "store" / "my_model" / "primes" / "test"
    responses = pl.read_parquet([*split.glob("responses-*/*.parquet")])
    grades = pl.read_parquet(only(split.glob("cell-*/grades.parquet")))
    assert responses.height == grades.height == QUESTIONS * 4
    assert set(grades["grader"]) == {"yes_no"}
    said = grades.filter(pl.col("outcome").is_in(["correct", "incorrect"]))
    assert said.height
    assert set(said["answer"]) <= {"yes", "no"}
    assert grades["question_id"].str.starts_with("primes/test/").all()


def test_the_estimator_and_the_application_of_the_guides_are_in_the_results(guided: Path) -> None:
    run = only(guided.glob("outputs/20*/*-my_model-primes"))
    metrics = pl.read_csv(run / "metrics.csv").filter(estimator="brevity")
    assert metrics.filter(metric="brier")["value"].is_between(0, 1).all()
    assert metrics.filter(metric="tokens")["value"].item() > 0
    review = pl.read_csv(run / "review.csv").filter(estimator="brevity")
    assert review["reviewed"].to_list() == [0.1, 0.2, 0.5]
    assert review["found"].is_between(0, 1).all()
    assert (run / "figures" / "review.png").stat().st_size
    assert "Errors among the least confident questions" in (run / "report.html").read_text()


def test_the_engine_of_the_guides_is_asked_and_the_plan_knows_the_package(guided: Path) -> None:
    assert f"my_model is asked for {QUESTIONS * 4} responses." in (guided / "run.txt").read_text()
    assert "1 finished" in (guided / "plan.txt").read_text()


def test_the_harness_of_the_guides_is_the_wheel_s(wheel: Path) -> None:
    told = subprocess.run(
        [wheel / "python", "-c", "import benchmark; print(benchmark.__file__)"],
        cwd=wheel, text=True, capture_output=True, check=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )  # fmt: skip
    assert Path(told.stdout.strip()).is_relative_to(wheel.parent)


def test_the_code_of_the_guides_is_as_the_project_s_own(guided: Path) -> None:
    written = [b.title for b in blocks_of(GUIDE) if b.title.endswith(".py")]
    assert len(set(written)) == 5
    shutil.copy(ROOT / "pyproject.toml", guided)
    ours = """lint.isort.known-first-party=["benchmark"]"""
    for tool in (["check", "--config", ours], ["format", "--check"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *tool, "--quiet", *written], cwd=guided, check=True
        )


class Loaded(HTMLParser):
    """Collects what a page loads: scripts, styles, pictures, frames; not what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"link": "href"}.get(tag, "src")
        self.addresses += [value or "" for name, value in attrs if name == wanted]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, text=True, timeout=120, capture_output=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def test_the_site_is_whole_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= len(PAGES) - 1
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.addresses
        for address in loaded.addresses:
            assert not re.match(r"(?:\w+:)?//", address), f"{page.name} loads {address}"
            place = site / address[1:] if address.startswith("/") else page.parent / address
            assert address.startswith("data:") or place.exists()
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text())


@pytest.mark.parametrize("module", [questions, grading, estimators, probes, applications])
def test_every_public_name_is_on_the_site(site: Path, module) -> None:
    page = (site / "api" / f"{module.__name__.rpartition('.')[2]}.html").read_text()
    for name in module.__all__:
        if inspect.isclass(getattr(module, name)) or inspect.isfunction(getattr(module, name)):
            assert f'id="{module.__name__}.{name}"' in page, name
