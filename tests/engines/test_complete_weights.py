"""Models that can't be used as they are: refused by name, before anything is drawn."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmark.config.schema import GGUFConfig, ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.in_process.engine import TransformersEngine
from benchmark.engines.settings import TransformersConfig
from benchmark.engines.weights import find_weights
from benchmark.errors import ModelError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
CONSOLE = Console(quiet=True)
CPU = TransformersConfig(device="cpu", dtype="float32")


def engine_of(folder: Path, **settings: Any) -> TransformersEngine:
    config = ModelConfig(name="mine", hub_id=str(folder), **settings)
    return TransformersEngine(config, CPU, find_weights(config, folder.parent / "cache", CONSOLE))


def sample(engine: TransformersEngine) -> int:
    """Return how many responses come to one request of one."""
    return len(list(engine.sample([SampleRequest("a", "Hi", (0,), (1,))], Decoding(1.0, 1.0, 2))))


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja", "tokenizer.model",
        "model-00001-of-00002.safetensors", "model.safetensors.index.json", "vocab.json",
        "merges.txt", "special_tokens_map.json",
    ],
)  # fmt: skip
def test_a_pointer_in_place_of_a_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text(POINTER)
    with pytest.raises(
        ModelError, match=rf"model=mine: .*{name} is a Git LFS pointer.*git lfs pull"
    ):
        engine_of(folder)


def test_a_pointer_that_nothing_reads_is_left_alone(folder: Path) -> None:
    for name in ("pytorch_model.bin", "README.md", "consolidated.safetensors"):
        (folder / name).write_text(POINTER)
    assert sample(engine_of(folder)) == 1


def test_a_gguf_that_is_a_pointer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pointed_gguf"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "m.gguf").write_text(POINTER)
    monkeypatch.syspath_prepend(tmp_path)
    config = ModelConfig(name="mine", hub_id="a/b", gguf=GGUFConfig("pointed_gguf", "m.gguf"))
    with pytest.raises(ModelError, match=r"m\.gguf is a Git LFS pointer"):
        find_weights(config, tmp_path / "cache", CONSOLE)


def changed(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def cut(size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:size])

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            changed(num_hidden_layers=5),
            ["missing", "model.layers.3"],
        ),
        (changed(model_type="bert"), ["missing", "bert."]),
        (changed(hidden_size=64), ["another shape", "lm_head.weight"]),
        (changed(vocab_size=50), ["another shape", "[101, 32] in place of [50, 32]"]),
        (changed(model_type="nonsense"), ["nonsense"]),
        (changed(num_attention_heads=5), ["not a multiple"]),
        (cut(1000), ["header", "whole"]),
        (cut(0), ["header", "whole"]),
        (lambda folder: (folder / "model.safetensors").unlink(), ["no file named"]),
        (lambda folder: (folder / "config.json").unlink(), ["config.json"]),
        (lambda folder: (folder / "config.json").write_text("{"), ["config.json", "JSON"]),
        (lambda folder: (folder / "tokenizer.json").unlink(), ["tokenizer"]),
    ],
)
def test_files_that_make_no_whole_model_are_refused(
    folder: Path, change: Callable[[Path], None], named: list[str]
) -> None:
    change(folder)
    with pytest.raises(ModelError) as told:
        sample(engine_of(folder))
    assert "Without the Hugging Face Hub" not in str(told.value)
    for word in ["model=mine", *named]:
        assert word in str(told.value)


@pytest.mark.parametrize(
    ("hub_id", "named"),
    [("/nowhere/x", "no such folder"), ("a/b/c", "no such folder"), ("nobody/nothing", "local")],
)
def test_a_model_that_is_nowhere_gets_the_advice_for_its_name(
    tmp_path: Path, hub_id: str, named: str
) -> None:
    with pytest.raises(ModelError, match=named):
        find_weights(ModelConfig(name="mine", hub_id=hub_id), tmp_path, CONSOLE)


REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{{ m['content'] }}{% endfor %}"
)
ALTERNATES = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{{ m['content'] }}"
    "{% endfor %}"
)
USER_ALONE = "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"
PARTS = "{% for m in messages %}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endfor %}"
NEEDS = "{% if not mode is defined %}{{ raise_exception('mode must be set') }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "system", "named"),
    [
        (REFUSES_SYSTEM, "Be brief.", ["System role not supported", "model.system_prompt=null"]),
        (ALTERNATES, "Be brief.", ["roles must alternate", "model.system_prompt=null"]),
        (USER_ALONE, "Be brief.", ["leaves model.system_prompt out", "dataset.instruction"]),
        ("{{ raise_exception('no') }}", "Be brief.", ["a system and a user message: no."]),
        ("{{ raise_exception('no') }}", None, ["a user message: no.", "chat_template"]),
        ("{% for m in %}", None, ["Expected an expression"]),
        ("{{ nothing.here }}", None, ["'nothing' is undefined"]),
        ("{{ messages[0]['content'] + 5 }}", None, ["concatenate"]),
        ("{{ messages[3].content.x.y }}", None, ["has no"]),
        (NEEDS, None, ["mode must be set", "model.chat_template_kwargs"]),
        ("hello", None, ["renders every question alike"]),
        ("{# nothing #}", None, ["renders every question alike"]),
        (PARTS, None, ["renders every question alike"]),
        ("", None, ["no chat template"]),
    ],
)
def test_a_template_that_cannot_render_the_prompts_is_refused_at_once(
    folder: Path, template: str, system: str | None, named: list[str]
) -> None:
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError) as told:
        engine_of(folder, system_prompt=system)
    for word in ["model=mine", str(folder), *named]:
        assert word in str(told.value)


def test_templates_are_taken_that_need_no_system_role_or_come_with_the_settings(
    folder: Path,
) -> None:
    for template in (REFUSES_SYSTEM, ALTERNATES, USER_ALONE):
        (folder / "chat_template.jinja").write_text(template)
        assert sample(engine_of(folder)) == 1
    (folder / "chat_template.jinja").write_text(NEEDS + USER_ALONE)
    assert sample(engine_of(folder, chat_template_kwargs={"mode": "x"})) == 1
    (folder / "chat_template.jinja").unlink()
    assert sample(engine_of(folder, chat_template_kwargs={"chat_template": USER_ALONE})) == 1
