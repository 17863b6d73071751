"""What YAML or the command line reads as no text is never made into another text."""

from pathlib import Path

import pytest

from benchmark.config.schema import typed
from benchmark.engines.settings import VLLMConfig
from benchmark.errors import ConfigError
from benchmark.questions.hub import HubDataset
from benchmark.questions.rows import SourceConfig
from tests.test_main import run, tiny


@pytest.mark.parametrize(
    ("overrides", "read"),
    [
        ("model.revision=12e4567", "inf"),
        ("model.revision=1e5", "100000.0"),
        ("model.revision=1.10", "1.1"),
        ("model.revision=true", "True"),
        ("model.revision=1_000", "1000"),
        ("model.revision=.5", "0.5"),
        ("dataset=gsm8k dataset.sources.test.revision=7e100", "7e+100"),
        ("dataset=mmlu dataset.sources.test.configs=[all,1e2]", "100.0"),
        ("dataset.splits.evaluation=1e3", "1000.0"),
        ("model.name=2.50", "2.5"),
        ("model.system_prompt=1e3", "1000.0"),
        ("grid=1e3", "1000.0"),
        ("dataset=counts dataset.path=false", "False"),
        ("paths.hub_root=1_0", "10"),
    ],
)
def test_a_text_that_was_read_as_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: str,
    read: str,
) -> None:
    assert run(monkeypatch, tmp_path, *overrides.split()) == 1
    error = capsys.readouterr().err
    assert f"without quotes, which reads as {read}. Put it in quotes" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "written", ["1234567", "'\"1e5\"'", "'\"0123456\"'", "main", "v1.10", "e1"]
)
def test_a_text_that_reads_as_it_was_written_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, written: str
) -> None:
    settings = tiny(tiny_model, "estimator=[oracle_cc]", f"model.revision={written.strip(chr(39))}")
    assert run(monkeypatch, tmp_path, *settings) == 0


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("12e4567", "inf"),
        ("0123456", "42798"),
        ("0x1F", "31"),
        ("1.10", "1.1"),
        ("no", "False"),
        ("1_000", "1000"),
        ("-.inf", "-inf"),
    ],
)
def test_a_file_that_says_a_text_without_quotes_is_named_with_its_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    written: str,
    read: str,
    tiny_model: Path,
) -> None:
    lines = ["defaults: [smollm2_135m]", f"hub_id: {tiny_model}", "gguf: null"]
    path = tmp_path / "conf" / "model" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([*lines, f"revision: {written}", ""]))
    option = f"--config-dir={tmp_path}/conf"
    settings = ["model=mine", *tiny(tiny_model, "estimator=[oracle_cc]")[2:]]
    assert run(monkeypatch, tmp_path, *settings, option=option) == 1
    error = capsys.readouterr().err
    assert f"mine.yaml, line 4, says revision={written} without quotes" in error
    assert f"reads as {read}." in error
    path.write_text("\n".join([*lines, f'revision: "{written}"', ""]))
    assert run(monkeypatch, tmp_path, *settings, option=option) == 0


@pytest.mark.parametrize(
    "given",
    [
        {"revision": 1e5},
        {"configs": ["a", True]},
        {"configs": ["a", float("inf")]},
        {"hub_id": True},
        {"split": 2024},
    ],
)
def test_a_group_of_many_kinds_keeps_its_texts(given: dict[str, object]) -> None:
    with pytest.raises(
        ConfigError, match=rf"where\.{next(iter(given))} is a text, but it was read"
    ):
        typed(given, SourceConfig, "where")
    with pytest.raises(ConfigError, match=r"where\.sources\.test\.\w+ is a text"):
        typed({"sources": {"test": given}}, HubDataset, "where")


def test_the_arguments_of_a_command_may_be_numbers() -> None:
    given = {"command": ["serve", "--port", 8000, "--share", 0.9], "model": "m"}
    assert typed(given, VLLMConfig, "engine").command[1:] == ["--port", "8000", "--share", "0.9"]


def test_the_text_of_an_estimator_is_no_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, "estimator.p_true.prompt=1e5") == 1
    told = capsys.readouterr().err
    assert "estimator.p_true.prompt is a text, but it was read as 1" in told
