"""The real vLLM, started, used and stopped by the harness. Minutes long, so only where asked for:

CAPCAL_VLLM_PYTHON=<its environment>/bin/python python -m pytest -n 0 -m slow tests/test_vllm.py
"""

import os
import subprocess
import sys

import polars as pl
import pytest

PYTHON = os.environ.get("CAPCAL_VLLM_PYTHON")


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="CAPCAL_VLLM_PYTHON names no Python that has vLLM")
def test_a_cell_runs_through_a_vllm_that_stops_before_hidden_states(tmp_path):
    command = [
        PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", "'{location}'",
        "--served-model-name", "smollm2_135m", "--port", "'{port}'", "--enforce-eager",
        "--dtype", "float32", "--max-model-len", "'2048'", "--gpu-memory-utilization", "'0.3'",
        "--max-logprobs", "'256'", "--generation-config", "vllm",
        # On the CPU, seeds and partly read prompts together end vLLM 0.32.
        "--no-enable-chunked-prefill", "--max-num-batched-tokens", "'8192'",
    ]  # fmt: skip
    done = subprocess.run(
        [
            sys.executable, "-m", "benchmark", "engine=vllm",
            f"engine.command=[{','.join(command)}]",
            "engine.concurrency=4", "dataset.limit=20", "dataset.train_limit=30",
            "dataset.validation_limit=20", "sampling.k=6", "sampling.k_train=2",
            "estimator=[random,p_true,verbalized,probe_own]", f"paths.outputs={tmp_path}",
        ],
        capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    assert shown.index("The server is ready") < shown.index("The server is stopped")
    assert shown.index("The server is stopped") < shown.index("Hidden states")
    assert shown.count("The server is ready") == 1
    (path,) = tmp_path.glob("*/*/metrics.csv")
    answered = pl.read_csv(path).filter(pl.col("metric") == "brier")["estimator", "answered"]
    assert dict(answered.rows()) == {"random": 20, "p_true": 20, "probe_own": 20} | {
        "verbalized": dict(answered.rows())["verbalized"]
    }
    here = [
        sys.executable, "-m", "benchmark", "engine.dtype=float32", "dataset.limit=20",
        "sampling.k=1", "estimator=[p_true]", f"paths.outputs={tmp_path}/here",
    ]  # fmt: skip
    assert subprocess.run(here, timeout=300, check=False).returncode == 0
    both = stored_p_true(tmp_path).join(
        stored_p_true(tmp_path / "here"), on=["question_id", "prompt_hash"], suffix="_here"
    )
    assert both.height == 20
    for name in ("yes", "no"):
        assert (both[name] - both[f"{name}_here"]).abs().max() < 1e-3


def stored_p_true(outputs):
    parts = outputs.glob("store/smollm2_135m/basics/test/p_true-*/part-*.parquet")
    return pl.concat([pl.read_parquet(path) for path in parts])
