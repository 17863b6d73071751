"""P(True) behind a reasoning, and hidden states, from a real vLLM. Slow.

vLLM lives in an environment of its own:
    CAPCAL_VLLM_PYTHON=<its environment>/bin/python python -m pytest -n 0 -m slow <this file>
"""

import os
from dataclasses import replace
from types import SimpleNamespace

import httpx2
import pytest
import torch
from rich.console import Console
from transformers import AutoTokenizer

from benchmark.engines.construction import VLLM, Surroundings
from benchmark.engines.in_process.engine import TransformersEngine
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.server.launch import LaunchedServer
from benchmark.engines.server.replies import read_reply
from benchmark.engines.server.requests import Endpoint
from benchmark.engines.settings import TransformersConfig, VLLMConfig
from benchmark.engines.weights import Weights
from tests.engines.server.test_behind_reasoning import (
    DECODING,
    REQUESTS,
    THINKS,
    assert_same,
    in_process,
)
from tests.engines.server.thinking import save_thinking_model

PYTHON = os.environ.get("CAPCAL_VLLM_PYTHON")


def vllm_command():
    return [
        PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", "{location}",
        "--served-model-name", "served", "--port", "{port}", "--enforce-eager",
        "--dtype", "float32", "--max-model-len", "1024", "--gpu-memory-utilization", "0.1",
        "--max-logprobs", "256", "--generation-config", "vllm", "--reasoning-parser", "deepseek_r1",
        "--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="CAPCAL_VLLM_PYTHON names no Python that has vLLM")
def test_a_real_vllm_gives_the_same_value_for_a_hundredth_of_the_bytes(tmp_path, monkeypatch):
    folder = save_thinking_model(tmp_path / "model", words=400)
    command = vllm_command()
    console = Console(width=200)
    log = tmp_path / "server.log"
    launched = LaunchedServer(command, str(folder), "health", 900, log, console)
    received, drawn = [], []

    async def ask_once(_self, client, sent):
        path = "/chat/completions" if "messages" in sent else "/completions"
        raw = await client.post(path, cast_to=httpx2.Response, body=sent)
        reply = read_reply(raw.content)
        if "random words" not in str(sent.get("messages")):
            received.append(len(raw.content))
        if "messages" in sent and reply.prompt_ids:
            drawn.append((list(reply.prompt_ids), list(reply.choices[0].ids)))
        return reply

    monkeypatch.setattr(Endpoint, "_ask_once", ask_once)

    def asked(tokenizer):
        received.clear()
        config = VLLMConfig(model="served", command=command, concurrency=4, top_logprobs=256)
        made = ServerEngine(
            THINKS, config, {}, "none", console, None, launched, tokenizer=tokenizer
        )
        found = dict(made.choice_probabilities(REQUESTS, ["Yes", "No"], DECODING))
        return found, sum(received) / sum(a.completion_tokens for a in found.values())

    try:
        after, few = asked(lambda: AutoTokenizer.from_pretrained(folder))
        before, many = asked(None)
    finally:
        launched.stop()
    assert many > 10_000
    assert few < many / 100

    assert_same(after, in_process(folder, SimpleNamespace(drawn=drawn)))
    ended = {key: answer for key, answer in after.items() if sum(answer.probabilities.values())}
    assert len(ended) > 2
    assert_same(ended, {key: before[key] for key in ended}, tolerance=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="CAPCAL_VLLM_PYTHON names no Python that has vLLM")
def test_a_real_vllm_gives_the_hidden_states_of_this_process(tmp_path):
    folder = save_thinking_model(tmp_path / "model", words=400)
    shared = "This question begins as another one does, word for word. " * 6
    prompts = {f"q{i}": f"Add {i} and 4." for i in range(6)}
    prompts |= {f"s{i}": f"{shared}What is {i}?" for i in range(6)}  # the prefix is cached
    model = replace(THINKS, hub_id=str(folder))
    weights = Weights(str(folder), None, "tiny")
    command = [*vllm_command(), "--max-num-seqs", "4"]
    config = VLLM(
        command=command, model="served", hidden_states="vllm", concurrency=4, startup_seconds=900,
        in_process=TransformersConfig(device="cpu", dtype="float32"),
    )  # fmt: skip
    console = Console(width=200)
    engine = config.start(Surroundings(model, weights, tmp_path, tmp_path / "run", console))
    try:
        found = dict(engine.hidden_states(prompts))
        again = dict(engine.hidden_states({key: prompts[key] for key in ("s0", "q1")}))  # cached
    finally:
        engine.close()
    here = TransformersEngine(
        model, TransformersConfig(device="cpu", dtype="float32"), weights, Console(quiet=True)
    )
    for key, states in here.hidden_states(prompts):
        assert found[key].shape == (3, 128)  # all but the last, which is behind the final norm
        torch.testing.assert_close(found[key], states[:3], rtol=1e-4, atol=1e-4)
    for key, states in again.items():
        torch.testing.assert_close(states, found[key], rtol=1e-5, atol=1e-5)
    assert not any((tmp_path / "run" / "hidden_states").iterdir())
