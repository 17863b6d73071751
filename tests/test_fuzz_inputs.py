"""Files, lines, replies and settings from outside end in a value or in one message."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from benchmark.applications import build_applications
from benchmark.capability.counts import count_outcomes
from benchmark.cell.counted import read_counts
from benchmark.cell.key import cell_artifact
from benchmark.config.checks import checked
from benchmark.config.composing import CONF, explained, misread
from benchmark.config.schema import Config, register_schema
from benchmark.engines.construction import engine_config
from benchmark.engines.server.replies import Reply, ReplyError, read_reply
from benchmark.errors import BenchmarkError
from benchmark.estimators import build_estimators
from benchmark.grading import build_graders
from benchmark.probes.score import _config, read_rows
from benchmark.questions.counts import CountedDataset
from benchmark.records import STORED_RESPONSE, storable
from tests.fuzz import FEW, LONG, pieces, texts, within
from tests.test_main import tiny

SECONDS = 2.0
QUIET = Console(quiet=True)
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def expect_message(error: Exception, most: int = 50_000, named: str = "") -> None:
    """Expect a text that a user can read."""
    message = explained(error)
    assert 0 < len(message) < most
    assert named in message


def expect_misread(error: Exception, overrides: list[str]) -> None:
    """Expect that Hydra's plain Python error is explained."""
    assert misread(error, overrides)


# --- counts

HEADER = "question_id,n,c,p\n"
cells = st.sampled_from(["", "a", "b", "1", "20", "0.5", '"', "1e3", "-0", "nan", "٣"]) | pieces
rows = st.lists(st.lists(cells, max_size=5).map(",".join), max_size=8).map("\n".join)


@SHARED
@given(rows | texts, st.booleans())
@example("," * LONG + "\n", False)
@example('"' + "\n" * LONG, True)
@example("\n".join(f"{'x' * 60_000 * (i == 7)}{i},1,1,0.5" for i in range(20_000)), True)
@example("\n".join(f"q{i},1,1" + ",0.5" * 1000 for i in range(3)), False)
def test_a_file_of_counts_is_read_or_refused(tmp_path, text, headed):
    path = tmp_path / "counts.csv"
    path.write_bytes((HEADER * headed + text).encode(errors="surrogatepass"))
    config = CountedDataset(name="counts", path=str(path))
    try:
        with within(SECONDS):
            counts = read_counts(config, QUIET)
    except BenchmarkError as error:
        expect_message(error, 10_000, str(path))
        return
    capability = count_outcomes(counts.grades)
    assert capability["question_id"].to_list() == counts.questions["question_id"].to_list()
    assert (capability["c"] <= capability["n"]).all()


# --- the input of capcal score

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(
    st.sampled_from(["question", "prompt", "id", "confidence"]), texts | values, max_size=3
)


@given(st.lists(objects.map(json.dumps) | texts, max_size=6))
@example(["[" * LONG])
@example(['{"question": ' * LONG])
@example(['{"question": "a", "n": ' + "9" * LONG + "}"])
@example(['{"prompt": "a", "question": null}'])
def test_questions_to_score_are_read_or_refused(lines):
    try:
        with within(SECONDS):
            found = read_rows(lines)
    except BenchmarkError as error:
        expect_message(error, 1000)
        return
    assert all(isinstance(row.get("question", row.get("prompt")), str) for row in found)
    assert len({key for row in found for key in ("question", "prompt") if key in row}) == 1
    json.dumps(found, ensure_ascii=False).encode()


SETTINGS = ["probe", "cache", "engine", "engine.device", "engine.token_budget", "engine.x.y", "x",
            "", "engine[", "[0]", "..", "probe.x"]  # fmt: skip
YAML = ["[", "{", "'", "@", "%", "a: b: c", "!!int abc", "*a", "&a", "${", "${x}", "\0", "9" * 5000,
        "[" * 2000, "<<: 1", "~nobody/x", "???"]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(SETTINGS), texts | st.sampled_from(YAML)), max_size=3))
@example([("probe", "x"), ("engine.device", "[")])
def test_arguments_of_capcal_score_are_read_or_refused(given_settings):
    arguments = ["probe=a", *(f"{key}={value}" for key, value in given_settings)]
    try:
        with within(SECONDS):
            assert _config(arguments).probe
    except BenchmarkError as error:
        expect_message(error)


# --- replies of a server

token = st.fixed_dictionaries(
    {"token": texts | values},
    optional={"logprob": values, "top_logprobs": st.lists(objects | values, max_size=2) | values},
)
choice = st.fixed_dictionaries(
    {},
    optional={
        "message": st.fixed_dictionaries(
            {}, optional={"content": texts | values, "reasoning_content": texts | values}
        )
        | values,
        "text": texts | values,
        "finish_reason": texts | values,
        "logprobs": st.fixed_dictionaries({"content": st.lists(token, max_size=2)}) | values,
    },
)
reply = st.fixed_dictionaries(
    {"choices": st.lists(choice | values, max_size=3) | values},
    optional={"usage": st.dictionaries(st.just("prompt_tokens"), values) | values},
)


@given(reply | values)
@example({"choices": [{"text": "\ud83d half"}], "usage": {"prompt_tokens": float("inf")}})
@example({"choices": [{"message": {"content": [{"type": "text", "text": "parts"}]}}]})
@example({"choices": [{"text": "a"}], "usage": {"completion_tokens": 2**70}})
def test_a_reply_is_what_tables_hold_or_unreadable(data):
    try:
        found = read_reply(json.dumps(data).encode())
    except ReplyError:
        return
    assert isinstance(found, Reply)
    for choice in found.choices:
        for text in (choice.text, choice.reasoning or "", *(t.text for t in choice.tokens)):
            text.encode()
        row = dict.fromkeys(STORED_RESPONSE) | {
            "text": choice.text, "reasoning": choice.reasoning,
            "prompt_tokens": found.prompt_tokens, "completion_tokens": found.completion_tokens,
        }  # fmt: skip
        assert STORED_RESPONSE.to_frame().vstack(
            type(STORED_RESPONSE.to_frame())([row], schema=STORED_RESPONSE)
        ).height == 1  # fmt: skip


@given(st.text(st.characters()))
def test_a_storable_text_differs_in_halves_of_pairs_only(text):
    kept = storable(text)
    assert len(kept) == len(text)
    kept.encode()
    assert all(a == b or (a == "\ufffd" and "\ud800" <= b <= "\udfff")
               for a, b in zip(kept, text, strict=True))  # fmt: skip


# --- settings

EVERYTHING = [
    f"{group}=[{','.join(sorted(path.stem for path in CONF.glob(f'{group}/*.yaml')))}]"
    for group in ("estimator", "application")
]
EVERYTHING += ["grading=[basics,exact,letter,number,short_fact,math_verify,llm_judge]",
               "grading.llm_judge.model=judge", "sampling.k=40", "sampling=adaptive"]  # fmt: skip

given_values = st.sampled_from(
    [
        "-1",
        "0",
        "1",
        "2",
        "7",
        "1e30",
        "100000000000000000000",
        "0.5",
        "-0.0",
        "nan",
        "inf",
        "-inf",
        "true",
        "null",
        "''",
        "abc",
        "a/b",
        "..",
        "~nobody/x",
        "[]",
        "[1]",
        "[a,b]",
        "[[1]]",
        "[-1,0]",
        "{}",
        "{a: 1}",
        "{kind: random}",
        "{package: json}",
        "{package: ''}",
        "{package: a.b}",
        "'${nothing}'",
        "'${oc.env:NOTHING}'",
        "'${paths.outputs}'",
        "'???'",
        "'['",
        "']'",
        "'^'",
        "'{question}'",
        "'{question}{response}{examples}'",
        "'http://['",
        "'https://a@b/v1'",
        "'\ud800'",
        "'\x00'",
        "'\u202e'",
        "'" + "9" * 5000 + "'",
        "9" * 5000,
        "(",
        "'",
        "[",
        "a,b",
        "range(3)",
        "choice(1,2)",
        "glob(*)",
        "{",
    ]
) | texts.map(lambda text: "'" + text.replace("\\", "").replace("'", "") + "'")


@pytest.fixture(scope="module")
def everything(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    """One configuration with all estimators, applications and graders in it."""
    register_schema()
    folder = tmp_path_factory.mktemp("fuzz")
    paths = [f"paths.outputs={folder}/out", f"paths.cache={folder}/cache"]
    own = [o for o in tiny(tiny_model) if not o.startswith("sampling")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=[*own, *EVERYTHING, *paths])


def keys(node: DictConfig, above: str = "") -> list[str]:
    """Return the path of every key, groups included."""
    found = []
    for key in node:
        found.append(f"{above}{key}")
        if isinstance(child := node._get_node(key), DictConfig) and not child._is_none():
            found += keys(child, f"{above}{key}.")
    return found


def build(composed: DictConfig) -> Config:
    """Return the configuration after everything that is checked before work begins."""
    config = checked(composed)
    cell_artifact(config, QUIET)
    build_estimators(config.estimator, config.sampling)
    build_graders(config.grading)
    build_applications(config.application)
    engine_config(config.engine)
    return config


def test_all_settings_at_once_are_valid(everything: DictConfig) -> None:
    assert len(build(everything).estimator) > 20


@SHARED
@given(data=st.data())
def test_any_value_of_any_setting_is_taken_or_refused(everything, data):
    composed = everything.copy()
    known = keys(everything)
    for _ in range(data.draw(st.integers(1, 2))):
        key, value = data.draw(st.sampled_from(known)), data.draw(given_values)
        try:
            with within(SECONDS):
                parsed = OverridesParser.create().parse_override(f"{key}={value}")
                if parsed.is_sweep_override():
                    return  # several jobs: Hydra takes them apart
                OmegaConf.update(composed, key, parsed.value())
        except (HydraException, OmegaConfBaseException) as error:
            expect_message(error)
            return
        except (ValueError, AttributeError, AssertionError) as error:
            expect_misread(error, [f"{key}={value}"])
            return
    try:
        with within(3 * SECONDS):
            config = build(composed)
    except (BenchmarkError, OmegaConfBaseException, OSError) as error:
        expect_message(error)
    else:
        assert not OmegaConf.missing_keys(config)


names = st.sampled_from(
    ["model", "dataset", "estimator", "sampling.k", "engine", "grading", "a.b", "+a", "~model",
     "++sampling.k", "hydra/launcher", "hydra.run.dir", "experiment", "", "=", "model@x", "-m"]
) | texts  # fmt: skip
choices = st.sampled_from(["smollm2_135m", "basics", "[random,p_true]", "[", "null", "", "demo"])


@FEW
@given(st.lists(st.tuples(names, choices | given_values).map("=".join) | names, max_size=2))
@example(["model=-1"])
@example(["grid=" + "9" * 5000])
@example(["sampling.k=" + "[" * 2000])
@example(["sampling.k=" + "[" * 200 + "]" * 200])
def test_any_command_line_composes_or_is_refused(overrides):
    register_schema()
    try:
        with within(3 * SECONDS), initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose("config", overrides=overrides)
        config = checked(composed)
    except (BenchmarkError, HydraException, OmegaConfBaseException) as error:
        expect_message(error)
    except (ValueError, AttributeError, AssertionError) as error:
        expect_misread(error, overrides)
    else:
        assert not OmegaConf.missing_keys(config)
