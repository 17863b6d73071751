"""A short campaign of faults; what it compares by sees what is lost, doubled or changed."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from benchmark.errors import StoreError
from benchmark.sampling.responses import RESPONSES, SAMPLE, STORED_RESPONSE
from benchmark.store.artifact import Artifact, Store
from tests.faulty import ROOT
from tests.snapshot import differences, snapshot


def test_a_short_campaign_ends_without_a_failure() -> None:
    command = [sys.executable, "perf/faults.py", "--kills", "4", "--each", "1"]
    done = subprocess.run(
        [*command, "--only", "kills,locks,disk"],
        cwd=ROOT, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failures" in done.stdout
    assert "stale locks" in done.stdout


def responses(*keys: str, text: str = "four") -> pl.DataFrame:
    row = dict.fromkeys(STORED_RESPONSE) | {
        "prompt_hash": "hash", "sample_index": 0, "text": text, "finish_reason": "stop",
    }  # fmt: skip
    return pl.DataFrame([row | {"question_id": key} for key in keys], schema=STORED_RESPONSE)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return Store(tmp_path / "store", Console(quiet=True)).artifact("m", "d", "s", "responses", {})


def write(artifact: Artifact, *tables: pl.DataFrame) -> None:
    with artifact.lock():
        for part in artifact.folder.glob("part-*"):
            part.unlink()
        for table in tables:
            artifact.append_table(table)
    artifact.fill(responses().select(SAMPLE), lambda _: (), RESPONSES, "Responses")


def test_a_snapshot_sees_every_row_and_no_order(artifact: Artifact, tmp_path: Path) -> None:
    write(artifact, responses("a", "b"), responses("c"))
    whole = snapshot(tmp_path)
    write(artifact, responses("c", "b"), responses("a"))
    assert differences(snapshot(tmp_path), whole) == []
    for others in (responses("a", "b"), responses("a", "b", "c", text="five")):
        write(artifact, others)
        assert len(differences(snapshot(tmp_path), whole)) == 1


def test_a_snapshot_refuses_doubled_rows_damage_and_parts_that_no_manifest_lists(
    artifact: Artifact, tmp_path: Path
) -> None:
    write(artifact, responses("a"))
    with artifact.lock():
        doubled = artifact.append_table(responses("a", text="other"))
    with pytest.raises(AssertionError, match="1 rows are doubled"):
        snapshot(tmp_path)
    doubled.unlink()
    with artifact.lock():
        part = artifact.append_table(responses("b"))
    with pytest.raises(AssertionError, match="lists other parts"):
        snapshot(tmp_path)
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(StoreError, match="is damaged"):
        snapshot(tmp_path)
