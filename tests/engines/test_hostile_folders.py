"""Model folders from elsewhere: their code never runs, and whatever they hold ends in a message."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import safetensors
import torch
from rich.console import Console
from transformers import AutoTokenizer

from benchmark.config.schema import ModelConfig
from benchmark.engines import templates
from benchmark.engines.prompts import rendered
from benchmark.engines.templates import TemplateFault
from benchmark.engines.weights import Weights, find_weights, known_identity
from benchmark.errors import ConfigError, ModelError
from benchmark.questions.rows import SourceConfig, read_table
from tests.conftest import tiny_tokenizer
from tests.engines.test_complete_weights import engine_of, sample

RAN = "ran.txt"
CODE = f"""
from pathlib import Path
Path(__file__).with_name("{RAN}").touch()
Path("{{folder}}/{RAN}").touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, GenerationConfig
class Own(LlamaConfig): model_type = "own"
class Model(LlamaForCausalLM): config_class = Own
class Words(PreTrainedTokenizerFast): pass
class Generation(GenerationConfig): pass
"""


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


def change(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | values))


def own_config(folder: Path) -> None:
    change(folder, "config.json", model_type="own", auto_map={"AutoConfig": "code.Own"})


def own_model(folder: Path) -> None:
    own_config(folder)
    kinds = {"AutoConfig": "code.Own", "AutoModelForCausalLM": "code.Model"}
    change(folder, "config.json", auto_map=kinds, architectures=["Model"])


def model_of_a_known_type(folder: Path) -> None:
    change(folder, "config.json", auto_map={"AutoModelForCausalLM": "code.Model"})


def own_tokenizer(folder: Path) -> None:
    kinds = {"AutoTokenizer": ["code.Words", "code.Words"]}
    change(folder, "tokenizer_config.json", auto_map=kinds, tokenizer_class="Words")


def tokenizer_in_the_config(folder: Path) -> None:
    change(folder, "config.json", auto_map={"AutoTokenizer": ["code.Words", None]})
    change(folder, "tokenizer_config.json", tokenizer_class="Words")


def processor(folder: Path) -> None:
    change(folder, "processor_config.json", auto_map={"AutoProcessor": "code.Words"})
    change(folder, "preprocessor_config.json", auto_map={"AutoImageProcessor": "code.Words"})


def generation_config(folder: Path) -> None:
    change(folder, "generation_config.json", auto_map={"GenerationConfig": "code.Generation"})


def custom_generate(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    shutil.copy(folder / "code.py", folder / "custom_generate" / "generate.py")


def from_another_repository(folder: Path) -> None:
    kinds = {"AutoConfig": f"{folder}--code.Own"}
    change(folder, "config.json", model_type="own", auto_map=kinds)


def everything(folder: Path) -> None:
    for fault in (own_model, own_tokenizer, processor, generation_config, custom_generate):
        fault(folder)


CODES = [
    own_config, own_model, model_of_a_known_type, own_tokenizer, tokenizer_in_the_config, processor,
    generation_config, custom_generate, from_another_repository, everything,
]  # fmt: skip


@pytest.mark.parametrize("fault", CODES)
def test_code_of_a_model_never_runs_and_is_never_asked_about(
    folder: Path, fault: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "code.py").write_text(CODE.replace("{folder}", str(folder)))
    fault(folder)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    with suppress(ModelError):
        assert sample(engine_of(folder)) == 1
    known_identity(ModelConfig(name="mine"), Weights(str(folder), None, "x"), folder.parent / "c")
    assert sys.stdin.read(1) == "y"
    assert not [*folder.rglob(RAN)]


def test_a_yes_on_standard_input_runs_no_code(folder: Path, tmp_path: Path) -> None:
    (folder / "code.py").write_text(CODE.replace("{folder}", str(folder)))
    everything(folder)
    settings = [
        f"model.hub_id={folder}", "model.gguf=null", "model.name=own", "dataset.limit=1",
        "sampling.k=1", "estimator=[random]", "engine.device=cpu", "application=[]",
        f"paths.outputs={tmp_path}/out", f"paths.cache={tmp_path}/cache",
    ]  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-m", "benchmark", *settings],
        input="y\n" * 20, capture_output=True, text=True, timeout=100, check=False,
        env=os.environ | {"HF_MODULES_CACHE": f"{tmp_path}/modules", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert run.returncode == 1
    assert "model=own" in run.stderr
    assert "Traceback" not in run.stderr
    assert "trust_remote_code" not in run.stdout
    assert not [*folder.rglob(RAN)]
    assert not [*tmp_path.rglob("modules/**/*.py")]


DEEP = "[" * 100_000 + "]" * 100_000


class Bomb:
    """A pickle that writes a file."""

    def __reduce__(self) -> object:
        return exec, (f"open({RAN!r}, 'w')",)


def deep(name: str, key: str = "x") -> Callable[[Path], None]:
    def fault(folder: Path) -> None:
        path = folder / name
        known = path.read_text().strip() if path.exists() else "{}"
        begin = known[:-1] + ("," if known != "{}" else "")
        path.write_text(f'{begin}"{key}": {DEEP}}}')

    fault.__name__ = f"{name} is deep"
    return fault


def cut(name: str, left: float) -> Callable[[Path], None]:
    def fault(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(left * len(data))])

    fault.__name__ = f"{left} of {name}"
    return fault


def header_of_a_petabyte(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes((2**50).to_bytes(8, "little") + data[8:])


def weights_in_a_pickle(folder: Path) -> None:
    state = {"model.embed_tokens.weight": torch.zeros(2, 2), "bomb": Bomb()}
    torch.save(state, folder / "pytorch_model.bin", pickle_module=pickle)
    (folder / "model.safetensors").unlink()


def plain_pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    (folder / "model.safetensors").unlink()


def pickle_by_name(folder: Path) -> None:
    shutil.move(folder / "model.safetensors", folder / "spare")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))


def index_of_elsewhere(folder: Path) -> None:
    shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


BROKEN = [
    deep("config.json"), deep("tokenizer.json"), deep("tokenizer.json", "model"),
    deep("tokenizer_config.json"), deep("generation_config.json"), deep("special_tokens_map.json"),
    cut("model.safetensors", 0.5), cut("model.safetensors", 0.0001), cut("tokenizer.json", 0.5),
    cut("config.json", 0.5), header_of_a_petabyte, weights_in_a_pickle, plain_pickle,
    pickle_by_name, index_of_elsewhere,
]  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault.__name__)
def test_a_damaged_or_hostile_file_ends_in_one_message(
    folder: Path, fault: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(folder)
    monkeypatch.chdir(folder)
    with pytest.raises(ModelError, match="model=mine: ") as told:
        sample(engine_of(folder))
    assert len(str(told.value)) < 2000
    assert "\n" not in str(told.value)
    assert not (folder / RAN).exists()


LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}"
END = "{% endfor %}" * 3
DOUBLED = "{% set n = namespace(x='A') %}{% for i in range(64) %}{% set n.x = n.x ~ n.x %}"
ENDLESS = [
    LOOP + "{{ i * j * k }}" + END,
    LOOP + END,
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ 'A' * 4000000000 }}",
    "{{ 'A' | center(4000000000) }}",
    "{{ '%4000000000d' % 1 }}",
    "{{ '{:>4000000000}'.format(1) }}",
    "{{ [0] * 4000000000 }}",
    DOUBLED + "{% endfor %}{{ n.x }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ 2 ** 3000000000 }}",
    "{% for i in range(99999) %}{{ 'AAAAAAAAAA' * 1000 }}{% endfor %}",
    "{{ ('a' * 40 ~ '!') | wordwrap(1) | replace('a', 'a' * 30000000) }}",
    "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "{{ " + "-" * 200_000 + "1 }}",
]


@pytest.mark.parametrize("template", ENDLESS, ids=lambda text: text[:30])
def test_a_template_without_end_is_stopped_and_named(
    folder: Path, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "_SECONDS", 1)
    before = {child.pid for child in psutil.Process().children()}
    (folder / "chat_template.jinja").write_text(template + "{{ messages[0]['content'] }}")
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"chat template of .* can't render a user message: ") as e:
        engine_of(folder)
    assert time.monotonic() - began < 60
    assert len(str(e.value)) < 2000
    if "4000000000 }}" in template:
        assert "256 MB" in str(e.value)
    if template == LOOP + END:
        assert "1 s of processor time" in str(e.value)
    assert {child.pid for child in psutil.Process().children()} <= before  # nothing goes on


SPARES = "{% if 'What is' in messages[0].content or 'Name' in messages[0].content %}"


@pytest.mark.parametrize("bomb", ["{{ 'A' * 4000000000 }}", LOOP + END, "{{ nothing.here }}"])
def test_a_template_that_spares_the_check_is_stopped_at_a_question(folder: Path, bomb: str) -> None:
    template = f"{SPARES}{{% else %}}{bomb}{{% endif %}}{{{{ messages[0]['content'] }}}}"
    (folder / "chat_template.jinja").write_text(template)
    engine = engine_of(folder)
    with pytest.raises(ModelError, match="its chat template can't render a question"):
        sample(engine)


def test_the_identity_of_a_served_model_needs_no_template_that_ends(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ 'A' * 4000000000 }}")
    weights = Weights(str(folder), None, "x")
    assert known_identity(ModelConfig(name="m"), weights, folder.parent)["rendering"] is None


def test_texts_come_as_the_template_gives_them_up_to_the_first_that_fails() -> None:
    tokenizer, model = tiny_tokenizer(), ModelConfig(name="m")
    prompts = ["Hi", "a\ud800b", "<|end|>", "x" * 100_000]
    found = [tokenizer.decode(ids) for ids in rendered(model, tokenizer, prompts[:1] + prompts[2:])]
    assert [text.count("Hi") for text in found] == [1, 0, 0]
    assert found[-1].count("x") == 100_000
    tokenizer.chat_template = "{{ 10 // messages[0]['content']|length }}"
    with pytest.raises(TemplateFault, match="zero"):
        rendered(model, tokenizer, ["1", "22", "", "333"])


@pytest.fixture
def remembered(folder: Path) -> tuple[Path, Callable[[], str | None]]:
    cache = folder.parent / "cache"
    config, weights = ModelConfig(name="m"), Weights(str(folder), None, "x")

    def identity() -> str | None:
        found: str | None = known_identity(config, weights, cache)["rendering"]
        return found

    identity()
    (kept,) = (cache / "renderings").iterdir()
    return kept, identity


@pytest.mark.parametrize(
    "damage",
    [
        "{wrong} {checksum}", "{found} {wrong}", "{found}", "", "{found} ", "\0\0\0",
        "{found} {checksum} more", "../../x {checksum}", "{checksum} {found}", "{wrong}",
    ],
)  # fmt: skip
def test_a_damaged_memory_of_a_rendering_is_not_believed(
    remembered: tuple[Path, Callable[[], str | None]],
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, identity = remembered
    whole, known = kept.read_text(), identity()
    found, checksum = whole.split()
    kept.write_text(damage.format(found=found, checksum=checksum, wrong="0" * 16))
    assert identity() == known
    assert kept.read_text() == whole
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", None)
    assert identity() == known


def test_a_folder_with_its_own_code_is_weighed_as_any_other(folder: Path) -> None:
    (folder / "code.py").write_text(CODE)
    find_weights(
        ModelConfig(name="m", hub_id=str(folder)), folder.parent / "c", Console(quiet=True)
    )


@pytest.mark.parametrize("beside", [True, False])
def test_a_script_of_a_dataset_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, beside: bool
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    folder = tmp_path / "hub" / "team" / "facts"
    folder.mkdir(parents=True)
    (folder / "facts.py").write_text(f"open({str(tmp_path / RAN)!r}, 'w')\n")
    if beside:
        (folder / "test.jsonl").write_text('{"question": "a?", "answer": "b"}\n')
    with suppress(ConfigError):
        source = SourceConfig(hub_id="team/facts", split="test")
        assert len(read_table(source, None, str(tmp_path / "hub"), "dataset")) == 1
    assert not (tmp_path / RAN).exists()


@pytest.mark.parametrize("chosen", ["x.safetensors.index.json", "model.safetensors.index.json"])
def test_weights_that_an_index_finds_elsewhere_are_not_read(folder: Path, chosen: str) -> None:
    elsewhere = shutil.move(folder / "model.safetensors", folder.parent / "other.safetensors")
    with safetensors.safe_open(elsewhere, framework="pt") as file:
        index = {"metadata": {}, "weight_map": dict.fromkeys(file.keys(), "../other.safetensors")}
    (folder / chosen).write_text(json.dumps(index))
    change(folder, "config.json", transformers_weights=chosen)
    with pytest.raises(ModelError, match="is no file of its folder"):
        engine_of(folder)


def test_an_index_that_is_a_link_as_in_a_snapshot_of_the_hub_is_read(folder: Path) -> None:
    whole = folder / "model.safetensors"
    with safetensors.safe_open(whole, framework="pt") as file:
        index = {"metadata": {}, "weight_map": dict.fromkeys(file.keys(), "one.safetensors")}
    whole.rename(folder / "one.safetensors")
    blob = folder.parent / "blob"
    blob.write_text(json.dumps(index))
    (folder / "model.safetensors.index.json").symlink_to(blob)
    assert sample(engine_of(folder))
    blob.write_text(blob.read_text().replace("one.", "../one."))
    with pytest.raises(ModelError, match="is no file of its folder"):
        engine_of(folder)
