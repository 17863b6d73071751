"""Whole cells through a scripted server: failing, raised in k."""

import json
import shutil

import polars as pl
import pytest
from transformers import AutoTokenizer

from benchmark.config.schema import ModelConfig
from benchmark.engines.prompts import rendered
from tests.engines.server.scripted import ScriptedServer
from tests.test_main import run, tiny

ESTIMATORS = "estimator=[random,p_true,verbalized,verbalized_response,p_true_response]"


def settings(model, server, *overrides):
    return [
        *(s for s in tiny(model) if not s.startswith("engine.")), "engine=server",
        f"engine.base_url={server.url}", "engine.model=served", "engine.attempts=1",
        "engine.concurrency=4", "engine.in_process.device=cpu", "engine.in_process.dtype=float32",
        "estimator=[random]", *overrides,
    ]  # fmt: skip


def responses(tmp_path, stage="responses"):
    paths = tmp_path.glob(f"out/store/tiny/basics/test/{stage}-*/part-*.parquet")
    return pl.concat([pl.read_parquet(path) for path in paths])


def assert_each_once(table, questions, k):
    assert table.height == questions * k
    assert table.select("question_id", "sample_index").is_unique().all()
    assert table["question_id"].n_unique() == questions


def tokens_of(model):
    """Return what counts a prompt's tokens as the model's own template renders it."""
    tokenizer, config = AutoTokenizer.from_pretrained(model), ModelConfig(name="tiny")
    return lambda prompt: len(*rendered(config, tokenizer, [prompt]))


def test_a_cell_runs_through_a_server_with_hidden_states_in_process(
    monkeypatch, tmp_path, tiny_model
):
    with ScriptedServer(count=tokens_of(tiny_model)) as server:
        chosen = settings(tiny_model, server, ESTIMATORS.replace("]", ",probe_own]"))
        assert run(monkeypatch, tmp_path, *chosen) == 0
    assert_each_once(responses(tmp_path), 12, 4)
    (path,) = tmp_path.glob("out/*/*/metrics.csv")
    rows = pl.read_csv(path).filter(pl.col("metric") == "brier")
    assert dict(rows["estimator", "answered"].rows())["probe_own"] == 12
    assert dict(rows["estimator", "answered"].rows())["p_true_response"] == 12


def test_hidden_states_of_other_prompts_than_a_server_sampled_from_are_refused(
    monkeypatch, tmp_path, tiny_model, capsys
):
    count = tokens_of(tiny_model)
    with ScriptedServer(count=lambda prompt: count(prompt) + 1) as server:  # a second BOS, say
        chosen = settings(tiny_model, server, "estimator=[random]")
        assert run(monkeypatch, tmp_path, *chosen) == 0
        chosen = settings(tiny_model, server, "estimator=[random,probe_own]")
        assert run(monkeypatch, tmp_path, *chosen) == 1
    error = capsys.readouterr().err
    assert "the server renders the chat template in another way" in error
    assert not list(tmp_path.glob("out/store/tiny/basics/*/features-*/part-*"))


def test_a_template_that_writes_the_date_is_told_of_where_a_server_renders_it(
    monkeypatch, tmp_path, tiny_model, capsys
):
    dated = tmp_path / "dated"
    shutil.copytree(tiny_model, dated)
    tokenizer = AutoTokenizer.from_pretrained(dated)
    tokenizer.chat_template = (
        "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}"
        + tokenizer.chat_template
    )
    tokenizer.save_pretrained(dated)
    with ScriptedServer() as server:
        assert run(monkeypatch, tmp_path, *settings(dated, server)) == 0
        assert "writes the date. In this process that is 2026-02-01" in capsys.readouterr().out
        fixed = "+model.chat_template_kwargs.date_string='1 Feb'"
        assert run(monkeypatch, tmp_path, *settings(dated, server, fixed)) == 0
        assert run(monkeypatch, tmp_path, *settings(tiny_model, server)) == 0
    assert "writes the date" not in capsys.readouterr().out


def test_more_samples_ask_for_the_missing_ones_only(monkeypatch, tmp_path, tiny_model):
    with ScriptedServer() as server:
        assert run(monkeypatch, tmp_path, *settings(tiny_model, server, "sampling.k=8")) == 0
        assert set(server.asked.values()) == {8}
        assert run(monkeypatch, tmp_path, *settings(tiny_model, server, "sampling.k=16")) == 0
        assert set(server.asked.values()) == {16}
        assert len(server.asked) == 12
    assert_each_once(responses(tmp_path), 12, 16)


def test_failed_responses_stop_the_run_and_are_asked_for_again(
    monkeypatch, tmp_path, tiny_model, capsys
):
    with ScriptedServer(failing=["apples", "plural"]) as server:
        many = settings(tiny_model, server, "engine.concurrency=64")
        assert run(monkeypatch, tmp_path, *many) == 1
        error = capsys.readouterr().err
        assert "overloaded" in error
        assert "Traceback" not in error
        assert run(monkeypatch, tmp_path, *many, "capability.failed=left_out") == 0
        assert "are left out" in capsys.readouterr().out
        before = server.asked.copy()
        server.failing = set()
        assert run(monkeypatch, tmp_path, *settings(tiny_model, server)) == 0
        assert set(server.asked.values()) == {4}
        assert any(count not in before for count in server.asked)
    table = responses(tmp_path)
    assert_each_once(table.filter(pl.col("finish_reason") != "error"), 12, 4)
    assert table["error"].drop_nulls().str.contains("overloaded").all()


def test_the_key_reaches_no_file(monkeypatch, tmp_path, tiny_model, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-value")
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", f"{tmp_path}/w")
    with ScriptedServer() as server:
        chosen = settings(tiny_model, server, ESTIMATORS, "tracker=wandb")
        assert run(monkeypatch, tmp_path, *chosen) == 0
        assert "Bearer secret-value" in server.keys
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("wandb" in str(path) for path in files)
    assert not [path for path in files if b"secret-value" in path.read_bytes()]
    assert "secret-value" not in "".join(capsys.readouterr())


def test_a_login_in_the_address_is_refused(monkeypatch, tmp_path, tiny_model, capsys):
    with ScriptedServer() as server:
        address = "engine.base_url=http://me:secret@localhost/v1"
        assert run(monkeypatch, tmp_path, *settings(tiny_model, server, address)) == 1
    assert "engine.base_url holds a login" in capsys.readouterr().err


def manifests(tmp_path, stage):
    return [
        json.loads(path.read_text())
        for path in tmp_path.glob(f"out/store/tiny/basics/test/{stage}-*/manifest.json")
    ]


def test_manifests_say_which_settings_were_sent_confirmed_and_refused(
    monkeypatch, tmp_path, tiny_model
):
    def refuse(body):
        words = {"error": {"message": "mirostat is not supported"}}
        return (400, words) if "mirostat" in body else None

    count = tokens_of(tiny_model)
    with ScriptedServer(refuse=refuse, owner="vllm", count=count) as server:
        chosen = settings(tiny_model, server, ESTIMATORS.replace("]", ",probe_own]"))
        assert run(monkeypatch, tmp_path, *chosen) == 0
        again = [*chosen, "engine.concurrency=2", "statistics.resamples=50"]  # nothing is missing
        assert run(monkeypatch, tmp_path, *again) == 0
    for stage in ("responses", "p_true"):
        for manifest in manifests(tmp_path, stage):
            engine = manifest["engine"]
            assert engine["server"] == "vllm"
            assert engine["refused"] == ["mirostat"]
            assert engine["confirmed"] == ["temperature", "top_p", "top_k", "min_p"]
            assert engine["sent"]["top_k"] == -1
            assert "mirostat" not in engine["sent"]
    assert manifests(tmp_path, "features")


def test_vendors_options_name_the_responses_and_headers_do_not(monkeypatch, tmp_path, tiny_model):
    monkeypatch.setenv("TEAM_TOKEN", "secret-team")
    with ScriptedServer() as server:
        plain = settings(tiny_model, server)
        headers = [*plain, "engine.headers={X-Team: TEAM_TOKEN}"]
        options = [*headers, "engine.extra_body={service_tier: flex}"]
        assert run(monkeypatch, tmp_path, *plain) == 0
        seen = len(server.bodies)
        assert run(monkeypatch, tmp_path, *headers) == 0
        assert len(server.bodies) == seen
        assert run(monkeypatch, tmp_path, *options) == 0
        assert server.bodies[-1]["service_tier"] == "flex"
        assert server.headers[-1]["X-Team"] == "secret-team"
    assert len(manifests(tmp_path, "responses")) == 2
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"secret-team" in path.read_bytes()]


def test_another_name_at_the_server_is_another_cell(monkeypatch, tmp_path, tiny_model, capsys):
    with ScriptedServer(models=("a", "b", str(tiny_model), "tiny")) as server:
        finished = []
        for name in ("a", "b", "a", tiny_model, "tiny"):  # the last two name the model itself
            chosen = settings(tiny_model, server, f"engine.model={name}")
            assert run(monkeypatch, tmp_path, *chosen) == 0
            finished.append("finished before" in capsys.readouterr().out)
    assert finished == [False, False, True, False, True]
    assert len(manifests(tmp_path, "responses")) == 3


def test_another_model_behind_the_same_name_is_refused(monkeypatch, tmp_path, tiny_model, capsys):
    said = ["m-2025-08-07"]
    with ScriptedServer(always=lambda reply, _: reply | {"model": said[0]}) as server:
        chosen = settings(tiny_model, server)
        assert run(monkeypatch, tmp_path, *chosen) == 0
        more = [*chosen, "sampling.k=6"]
        assert run(monkeypatch, tmp_path, *more) == 0
        said[0] = "m-2026-01-01"
        assert run(monkeypatch, tmp_path, *chosen, "sampling.k=8") == 1
        error = capsys.readouterr().err
        assert "calls its model 'm-2026-01-01', but the stored responses are of" in error
        assert "'m-2025-08-07'" in error
        (kept,) = tmp_path.glob("out/store/tiny/served-*.txt")
        assert str(kept) in error
        kept.unlink()
        assert run(monkeypatch, tmp_path, *chosen, "sampling.k=8") == 0
    (manifest,) = manifests(tmp_path, "responses")
    assert manifest["engine"]["model"] == "m-2026-01-01"


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("engine.headers={X-Team: 'secret-token'}", "engine.headers.X-Team must be the name"),
        ("engine.headers={X-Team: NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE holds no value"),
        ("engine.headers={X-Team: BROKEN}", "BROKEN holds no value, or one"),
        ("engine.headers={X_Team: BROKEN}", "engine.headers=X_Team"),
        ("engine.extra_body={temperature: 2}", r"engine.extra_body=['temperature']"),
        ("engine.extra_body={messages: []}", "engine.extra_body"),
    ],
)
def test_wrong_headers_and_options_are_refused(
    monkeypatch, tmp_path, tiny_model, capsys, setting, named
):
    monkeypatch.setenv("BROKEN", "secret-\nvalue")
    with ScriptedServer() as server:
        assert run(monkeypatch, tmp_path, *settings(tiny_model, server, setting)) == 1
        assert not server.bodies
    error = capsys.readouterr().err
    assert named in error
    assert "secret" not in error
