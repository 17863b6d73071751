"""Time in-process sampling against transformers' ``generate``, and llama.cpp's server beside it.

    python perf/sampling.py [--questions 64] [--k 16] [--generate-questions 8]

All ways draw 48 new tokens at most from SmolLM2-135M-Instruct at temperature 0.7, top_p 0.95, for
the same short questions. Useful tokens are those up to the end of each response. ``generate`` is
slow, so that it is timed on every n-th question; tokens per second are compared. The server, which
counts a response's tokens by their log probabilities alone, is asked for one of each.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from measured import Result, parser, peak_mb, tell
from rich.console import Console

from benchmark.config.checks import checked
from benchmark.config.composing import CONF
from benchmark.config.schema import register_schema
from benchmark.engines import Decoding, SampleRequest
from benchmark.questions import load_questions
from benchmark.runs.one_cell import build_engine
from benchmark.sampling.seeds import sample_seed

MAX_NEW_TOKENS = 48


def main() -> None:
    """Print tokens per second of each way, and the ratios."""
    command = parser(__doc__)
    command.add_argument("--questions", type=int, default=64)
    command.add_argument("--k", type=int, default=16)
    command.add_argument("--generate-questions", type=int, default=8)
    options = command.parse_args()
    if options.smoke:
        options.questions, options.k, options.generate_questions = 2, 2, 1
    tell(measure(options), options)


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Yield our tokens per second against each other way."""
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = checked(compose("config", overrides=["engine.device=cpu"]))
    yield loading()
    engine = build_engine(config, Path.cwd(), Console(stderr=True))
    table = load_questions(config.dataset, "test", options.questions)
    prompts = dict(table.select("question_id", "prompt").iter_rows())
    dtype = str(engine._model.dtype).removeprefix("torch.")
    decoding = Decoding(0.7, 0.95, MAX_NEW_TOKENS)
    requests = [
        SampleRequest(
            key, prompt, tuple(range(options.k)),
            tuple(sample_seed(0, key, i) for i in range(options.k)),
        )
        for key, prompt in prompts.items()
    ]  # fmt: skip
    start = time.perf_counter()
    tokens = sum(response.completion_tokens for response in engine.sample(requests, decoding))
    ours = tokens / (time.perf_counter() - start)
    what = (
        f"sampling {options.questions} questions x {options.k}, {MAX_NEW_TOKENS} tokens, "
        f"SmolLM2-135M, {dtype}, {torch.get_num_threads()} threads"
    )
    took, memory = f"{ours:.0f} tokens/s", peak_mb()

    some = list(prompts.values())[:: max(1, len(prompts) // options.generate_questions)]
    theirs = generate_rate(engine, some, options.k)
    against = (
        f"generate(num_return_sequences={options.k}) in {dtype}, {len(some)} questions, one by one"
    )
    yield Result(what, took, f"{against}: {theirs:.0f} tokens/s", ours / theirs, memory)
    if importlib.util.find_spec("xllamacpp") is None:
        yield Result("llama.cpp's server", "not compared: the package xllamacpp is not installed")
        return
    theirs = server_rate(config.model.gguf, some, options.k)
    against = f"llama.cpp's server, n = {options.k}, 16 slots, the same GGUF"
    yield Result(what, took, f"{against}: {theirs:.0f} tokens/s", ours / theirs, memory)


def loading() -> Result:
    """Return what the check of a model takes, against loading it in a new process."""
    run = subprocess.run([sys.executable, "-c", _LOADING], capture_output=True, check=True)
    load, check = map(float, run.stdout.split())
    what = "the check of SmolLM2-135M against its own forward pass"
    against = f"a process that loads it: {load:.2f} s"
    return Result(what, f"{check:.2f} s, {check / load:.1%}", against, load / check)


_LOADING = """
import time
start = time.perf_counter()
from pathlib import Path
from hydra import compose, initialize_config_dir
from rich.console import Console
from benchmark.config.composing import CONF
from benchmark.config.schema import register_schema
from benchmark.runs.one_cell import build_engine
from benchmark.config.checks import checked
register_schema()
with initialize_config_dir(str(CONF), version_base="1.3"):
    config = checked(compose("config", overrides=["engine.device=cpu"]))
engine = build_engine(config, Path.cwd(), Console(stderr=True))
engine._model
loaded = time.perf_counter()
engine._way
print(loaded - start, time.perf_counter() - loaded)
"""


@torch.inference_mode()
def generate_rate(engine, prompts: list[str], k: int) -> float:
    """Return useful tokens per second of ``generate``, question by question, in the same dtype."""
    model = engine._model
    model.set_attn_implementation("sdpa")
    end = next(iter(engine._vocabulary.ends))
    tokens = 0
    start = time.perf_counter()
    for prompt in prompts:
        ids = torch.tensor([engine._tokens({"prompt": prompt})["prompt"]])
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.7, top_p=0.95,
            top_k=0, max_new_tokens=MAX_NEW_TOKENS, num_return_sequences=k,
        )  # fmt: skip
        for row in output[:, ids.shape[1] :].tolist():
            tokens += row.index(end) + 1 if end in row else len(row)
    return tokens / (time.perf_counter() - start)


def server_rate(gguf, prompts: list[str], k: int) -> float:
    """Return useful tokens per second of llama.cpp's server on the same GGUF, 16 slots."""
    import xllamacpp  # where it is installed

    package = importlib.util.find_spec(gguf.package).submodule_search_locations[0]
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(Path(package) / gguf.file)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = 16
    parameters.n_ctx = 16 * 512
    server = xllamacpp.Server(parameters)

    def ask(prompt: str) -> int:
        body = {
            "messages": [{"role": "user", "content": prompt}], "n": k, "temperature": 0.7,
            "top_p": 0.95, "max_tokens": MAX_NEW_TOKENS, "logprobs": True,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{server.listening_address}/v1/chat/completions", json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request) as reply:
            choices = json.load(reply)["choices"]
        return sum(len(choice["logprobs"]["content"]) for choice in choices)

    ask(prompts[0])
    start = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        tokens = sum(pool.map(ask, prompts))
    return tokens / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
