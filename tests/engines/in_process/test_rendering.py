"""What a chat template renders, which identity follows from it, and how answers are told."""

from pathlib import Path

import pytest
from transformers import (
    AutoTokenizer,
)

from benchmark.config.schema import ModelConfig
from benchmark.engines.in_process.engine import TransformersEngine
from benchmark.engines.prompts import rendered
from benchmark.engines.settings import TransformersConfig
from benchmark.engines.weights import Weights, known_identity
from tests.conftest import tiny_tokenizer

TURNS = "{% for message in messages %}<|start|>{{ message['content'] }}<|end|>{% endfor %}"
DATED = [
    "{{ 'Today is ' + strftime_now('%d %b %Y') + '.' }}",
    # As gpt-oss's, inside a macro, and as Llama 3's, if there is a clock.
    "{%- macro head() -%}{{- 'Today is ' + strftime_now(\"%d %b %Y\") + '.' }}{%- endmacro -%}"
    "{{- head() }}",
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now( '%d %b %Y' ) %}{%- else %}{%- set date_string = '' %}"
    "{%- endif %}{%- endif %}{{- 'Today is ' + date_string + '.' }}",
    # The format is not written where it is used.
    "{% set form = '%d %b %Y' %}{{ 'Today is ' + strftime_now(form) + '.' }}",
    "{% macro day(form='%d %b %Y') %}{{ strftime_now(form) }}{% endmacro %}Today is {{ day() }}.",
    "Today is {{ strftime_now('%d ' ~ '%b ' ~ '%Y') }}.",
    "Today is {{ strftime_now('%d') }} {{ strftime_now('%B')[:3] }} {{ strftime_now('%Y') }}.",
    "{% set now = strftime_now %}Today is {{ now('%d %b %Y') | trim }}.",
    "{% set days = 'Today' %}{{ days }} is {{ strftime_now('%d %b %Y' if days else '%Y') }}.",
    "{{ strftime_now('Today is 0%-d %b %Y.') }}",
]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("{{ strftime_now('100%% at %H:%M') }}", "100% at 00:00"),
        ("{{ strftime_now('%d o\\'clock') | upper }}", "04 O'CLOCK"),
        ("{{ strftime_now('%Y') | int + 1 }}", "2026"),
        ("{% if strftime_now('%m') == '03' %}spring{% endif %}", "spring"),
        ("\n  {{ strftime_now('%F') }}", "\n  2025-03-04"),
        ("  {% set day = strftime_now('%F') %}\n{{ day }}", "2025-03-04"),
    ],
)
def test_a_stopped_clock_changes_nothing_else_of_a_template(head, expected):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = head + TURNS
    (ids,) = rendered(ModelConfig(name="tiny", template_date="2025-03-04"), tokenizer, ["Hi"])
    assert tokenizer.decode(ids) == f"{expected}<|start|>Hi<|end|>"


@pytest.mark.parametrize("head", DATED)
def test_a_template_that_writes_todays_date_gets_the_configured_one(
    tiny_model: Path, tmp_path: Path, head: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = head + TURNS
    tokenizer.save_pretrained(tmp_path)

    def engine(day: str, source: Path = tmp_path) -> TransformersEngine:
        config = ModelConfig(name="tiny", hub_id=str(source), template_date=day)
        return TransformersEngine(
            config, TransformersConfig(device="cpu"), Weights(str(source), None, "tiny")
        )

    first = engine("2025-03-04")
    text = first._tokenizer.decode(*rendered(first._model_config, first._tokenizer, ["Hi"]))
    assert text == "Today is 04 Mar 2025.<|start|>Hi<|end|>"
    assert engine("2025-03-05").identity != first.identity
    assert engine("2025-03-04").identity == first.identity
    assert engine("2025-03-05", tiny_model).identity == engine("2025-03-04", tiny_model).identity


def test_the_identity_without_an_engine_is_that_of_the_engine_and_is_remembered(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ModelConfig(name="tiny", hub_id=str(tiny_model))
    weights = Weights(str(tiny_model), None, "tiny")
    engine = TransformersEngine(config, TransformersConfig(device="cpu"), weights)
    assert known_identity(config, weights, tmp_path) == engine.identity
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", None)  # nothing is loaded again
    assert known_identity(config, weights, tmp_path) == engine.identity


def test_a_model_without_a_tokenizer_here_has_an_identity_without_rendering(
    tmp_path: Path,
) -> None:
    weights = Weights(str(tmp_path / "nowhere"), None, "a server's")
    assert known_identity(ModelConfig(name="tiny"), weights, tmp_path)["rendering"] is None
    assert not (tmp_path / "renderings").exists()


@pytest.mark.parametrize(
    ("form", "prompt", "text", "expected"),
    [
        ("none", "4?", "<think>a</think>4<|end|>", ("a", "4", True)),
        ("think", "4?", "<think>a</think>4<|end|>", ("a", "4", True)),
        ("think", "4? <think>\n", "a</think>4", ("a", "4", True)),
        ("think", "4? <think>\n", "a", ("a", "", False)),
        ("harmony", "4?", "<|channel|>analysis<|message|>a", ("a", "", False)),
    ],
)
def test_reasoning_is_split_off_as_the_model_marks_it(tiny_model, form, prompt, text, expected):
    config = ModelConfig(name="tiny", hub_id=str(tiny_model), reasoning=form)
    engine = TransformersEngine(
        config, TransformersConfig(), Weights(str(tiny_model), None, "tiny")
    )
    encode = engine._tokenizer.encode
    assert engine._split(encode(text), encode(prompt)) == expected
    assert engine.identity["reasoning"] == form


@pytest.mark.parametrize("form", ["none", "think"])
def test_think_tags_that_are_special_tokens_mark_reasoning_for_every_model(
    tiny_model: Path, tmp_path: Path, form: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|start|>", "<think>", "</think>"]}
    )
    tokenizer.save_pretrained(tmp_path)
    config = ModelConfig(name="tiny", hub_id=str(tmp_path), reasoning=form)
    engine = TransformersEngine(
        config, TransformersConfig(device="cpu"), Weights(str(tmp_path), None, "tiny")
    )
    encode = engine._tokenizer.encode
    assert engine._split(encode("<think>a</think>4<|end|>"), encode("4?")) == ("a", "4", True)
    assert engine._split(encode("a</think>4<|end|>"), encode("4?<think>\n")) == ("a", "4", True)
    assert engine._split(encode("a cut off"), encode("4?<think>")) == ("a cut off", "", False)
    assert engine._split(encode("4<|end|>"), encode("4?")) == (None, "4", True)
