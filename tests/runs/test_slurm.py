"""A grid on a real one-node cluster: jobs are killed, preempted and requeued, and all finish.

It needs the scripts that start and stop such a cluster, and SLURM itself, which they install where
this is CI.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import pytest

from tests.runs.test_jobs import confidences, launch_own_package
from tests.test_main import tiny

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT.parent / "shared" / "slurm"
K, QUESTIONS = 3600, 12  # drawn in more than the seconds that SLURM leaves a job before it kills
MODELS, DATASETS = ("smollm2_135m", "gemma3_270m"), ("numbers", "facts")


@pytest.fixture(scope="module")
def cluster():
    """The environment of processes that talk to a cluster of one node."""
    if not SCRIPTS.is_dir():
        pytest.skip(f"no scripts that start a cluster in {SCRIPTS}")
    if not (
        shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") or "CI" in os.environ
    ):
        pytest.skip("SLURM is not installed; where CI is set, it is installed for this test")
    folder = tempfile.mkdtemp(prefix="slurm-", dir="/tmp")  # a socket's path must be short
    environment = {
        **os.environ,
        "SLURM_TEST_DIR": folder,
        "SLURM_TEST_CPUS": "4",
        "SLURM_TEST_GPUS": "4",
    }
    started = subprocess.run(
        ["bash", SCRIPTS / "start-one-node-slurm.sh"], env=environment, text=True, timeout=300,
        capture_output=True, check=False,
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    exports = [shlex.split(line)[1].split("=", 1) for line in started.stdout.splitlines()]
    path = f"{folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
    yield environment | dict(exports) | {"PATH": path, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        ["bash", SCRIPTS / "stop-one-node-slurm.sh"], env=environment, timeout=120, check=True
    )
    shutil.rmtree(folder)


def launch(tmp_path, model, cluster):
    command = [
        sys.executable, "-m", "benchmark", "experiment=demo_grid", f"model={','.join(MODELS)}",
        f"dataset={','.join(DATASETS)}", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.mem_gb=1", *grid_settings(model),
        f"paths.outputs={tmp_path}/out", f"paths.cache={tmp_path}/cache",
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=ROOT, env=cluster, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def grid_settings(model):
    kept = [s for s in tiny(model) if not s.startswith(("model.name", "sampling.k="))]
    return [*kept, "estimator=[random,oracle_cc]", f"sampling.k={K}"]


def responses(tmp_path, job):
    model, dataset = MODELS[job // 2], DATASETS[job % 2]
    parts = tmp_path.glob(f"out/store/{model}/{dataset}/test/responses-*/part-*.parquet")
    return {path.name: pl.read_parquet(path) for path in parts}


def wait_until(condition, process, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_grid_survives_a_killed_a_preempted_and_a_requeued_job(tmp_path, tiny_model, cluster):
    def slurm(*command):
        return subprocess.run(
            command, env=cluster, capture_output=True, text=True, check=True
        ).stdout  # fmt: skip

    def start_again(number):
        """SLURM lets a requeued job wait for two minutes."""
        wait_until(lambda: "PENDING" in slurm("squeue", "-h", "-j", number, "-o", "%T"), process)
        slurm("scontrol", "update", f"JobId={number}", "StartTime=now")

    blows = {
        0: ("scancel", "--signal=KILL"),
        1: ("scancel", "--signal=USR2"),  # SLURM's word before preemption or time-out
        2: ("scontrol", "requeue"),
    }
    numbers, before = {}, {}

    def all_struck():
        """Strike each job as soon as it has drawn something, which is long before its end."""
        for job in blows.keys() - before.keys():
            if drawn := responses(tmp_path, job):
                indices = slurm("squeue", "-t", "RUNNING", "-hro", "%K %i").splitlines()
                numbers[job] = dict(line.split() for line in indices)[str(job)]
                slurm(*blows[job], numbers[job])
                before[job] = drawn
        return before.keys() == blows.keys()

    process = launch(tmp_path, tiny_model, cluster)
    wait_until(all_struck, process)
    waiting = slurm("squeue", "-ho", "%r %b", "-t", "PENDING").splitlines()
    assert {line.split()[1] for line in waiting if "Dependency" in line} == {"N/A"}
    assert "gpu" in slurm("squeue", "-ho", "%b", "-t", "RUNNING")
    for job in (1, 2):
        start_again(numbers[job])
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert "3 finished, 1 not ended" in output
    assert "not ended: model=smollm2_135m dataset=numbers" in output
    (grid,) = tmp_path.glob("out/20*/*-demo_grid")
    for job in (1, 2):
        assert before[job].keys() < responses(tmp_path, job).keys()
        logs = [path.read_text() for path in grid.glob(f".submitit/*_{job}/*.out")]
        log = next(log for log in logs if "Responses (test)" in log)
        kept = sum(part.height for part in before[job].values())
        drawn_again = re.findall(r"Responses \(test\): .* of ([\d,]+)", log)[-1]
        assert int(drawn_again.replace(",", "")) <= K * QUESTIONS - kept < K * QUESTIONS

    again = launch(tmp_path, tiny_model, cluster)
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert "Grid of 4 cells" in output
    assert "4 finished." in output
    for job in range(4):
        table = pl.concat(responses(tmp_path, job).values())
        assert table.height == K * QUESTIONS
        assert table.select("question_id", "sample_index").is_unique().all()
    last = max(tmp_path.glob("out/20*/*-demo_grid"))
    states = [json.loads(path.read_text()) for path in last.glob("*/state.json")]
    assert [state["state"] for state in states] == ["finished"] * 4


def test_jobs_on_a_cluster_find_a_package_of_one_s_own(tmp_path, tiny_model, cluster):
    launcher = [
        "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1",
    ]  # fmt: skip
    output = launch_own_package(tmp_path, tiny_model, launcher, cluster)
    assert "2 finished." in output, output
    assert set(confidences(tmp_path)) == {0.25}
