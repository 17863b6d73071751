"""Whole cells that a judge grades behind the rules, and what is told at the end."""

from tests.cell.test_server_cell import settings
from tests.engines.server.scripted import ScriptedServer
from tests.grading.test_llm_judge import endpoint
from tests.test_main import run, tiny

__all__ = ["endpoint"]


def judged(url):
    return [
        "grading=[rules_then_judge]", "grading.llm_judge.model=j",
        f"grading.llm_judge.base_url={url}",
        r"grading.llm_judge.prompt='A: {answer} Q {question} R {references}'",
    ]  # fmt: skip


def test_an_unread_judge_stops_the_run_and_one_that_is_read_finishes_it(
    monkeypatch, tmp_path, tiny_model, capsys, endpoint
):
    endpoint.reply = "It depends."
    with ScriptedServer() as server:
        chosen = settings(tiny_model, server, *judged(endpoint.url))
        assert run(monkeypatch, tmp_path, *chosen) == 1
        told = capsys.readouterr().err
        assert told.count("none of them can be read") == told.count("Error:") == 1
        assert "'It depends.'" in told
        assert "Traceback" not in told
        endpoint.reply = "CORRECT"
        assert run(monkeypatch, tmp_path, *chosen, "grading.llm_judge.model=another") == 0
        assert sum(server.asked.values()) == 12 * 4  # sampled once
    assert "incorrect 0.0 %" in capsys.readouterr().out


def test_what_is_mostly_cut_off_is_told_at_the_end(monkeypatch, tmp_path, tiny_model, capsys):
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, "estimator=[random,verbalized]")) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "responses have no answer" in printed
    assert "Raise model.decoding.max_new_tokens" in printed
    assert "More than half of the confidences are missing of Verbalized" in printed
