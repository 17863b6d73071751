"""Whole cells through a scripted server: failing, raised in k."""

import polars as pl

from tests.engines.scripted import ScriptedServer
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


def test_a_cell_runs_through_a_server_with_hidden_states_in_process(
    monkeypatch, tmp_path, tiny_model
):
    with ScriptedServer() as server:
        chosen = settings(tiny_model, server, ESTIMATORS.replace("]", ",probe_own]"))
        assert run(monkeypatch, tmp_path, *chosen) == 0
    assert_each_once(responses(tmp_path), 12, 4)
    (path,) = tmp_path.glob("out/*/*/metrics.csv")
    rows = pl.read_csv(path).filter(pl.col("metric") == "brier")
    assert dict(rows["estimator", "answered"].rows())["probe_own"] == 12
    assert dict(rows["estimator", "answered"].rows())["p_true_response"] == 12


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
