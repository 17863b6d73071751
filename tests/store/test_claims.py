"""Several runs fill one artifact at the same time: each row is made once, whoever dies."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from filelock import FileLock
from rich.console import Console

from benchmark.errors import DataError, StoreError
from benchmark.store.artifact import Artifact, Store, read_manifest
from benchmark.store.claims import BLOCKS, block_of, fill_together
from benchmark.store.rows import Row, table_rows

SCHEMA = pl.Schema({"question_id": pl.String(), "sample_index": pl.Int64(), "by": pl.Int64()})
ROWS = table_rows(SCHEMA, "responses")
KEY = ["question_id", "sample_index"]
QUESTIONS, K = 120, 3

WORKER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from tests.store.test_claims import artifact_in, fill
fill(artifact_in(Path(sys.argv[1])), seconds=float(sys.argv[2]))
"""


def artifact_in(folder: Path, console: Console | None = None) -> Artifact:
    store = Store(folder, console or Console(quiet=True))
    return store.artifact("m", "d", "test", "responses", {"a": 1})


def wanted(questions: int = QUESTIONS, k: int = K) -> pl.DataFrame:
    each = pl.DataFrame({"question_id": [f"q{i}" for i in range(questions)]})
    return each.with_columns(sample_index=pl.int_ranges(0, k)).explode("sample_index")


def fill(
    artifact: Artifact,
    keys: pl.DataFrame | None = None,
    seconds: float = 0.0,
    failing: frozenset[str] = frozenset(),
) -> pl.DataFrame:
    def produce(pieces: Iterator[pl.DataFrame]) -> Iterator[Row | None]:
        for piece in pieces:
            for question, sample in piece.iter_rows():
                time.sleep(seconds)
                row = {"question_id": question, "sample_index": sample, "by": os.getpid()}
                yield None if question in failing else row

    keys = wanted() if keys is None else keys
    return fill_together(artifact, keys, produce, ROWS, "Rows", dict)


def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), str(seconds)],
        env=environment, text=True, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for_parts(artifact: Artifact, writers: int = 1) -> None:
    deadline = time.monotonic() + 120
    while True:
        parts = [pl.read_parquet(path) for path in artifact.folder.glob("part-*.parquet")]
        if parts and pl.concat(parts)["by"].n_unique() >= writers:
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_alone_makes_every_row(tmp_path: Path) -> None:
    artifact = artifact_in(tmp_path)
    held = fill(artifact)
    assert held.select(KEY).sort(KEY).equals(wanted().sort(KEY))
    assert read_manifest(artifact.folder)["counts"] == {"responses": QUESTIONS * K}


def test_a_second_run_makes_only_what_is_new(tmp_path: Path) -> None:
    fill(artifact_in(tmp_path), wanted(k=2))
    first = {path.name for path in artifact_in(tmp_path).folder.glob("part-*")}
    held = fill(artifact_in(tmp_path))
    assert held.height == QUESTIONS * K
    added = [p for p in artifact_in(tmp_path).folder.glob("part-*") if p.name not in first]
    assert sum(pl.read_parquet(path).height for path in added) == QUESTIONS


def test_runs_at_once_share_the_rows_and_make_none_twice(tmp_path: Path) -> None:
    processes = [start(tmp_path, 0.02) for _ in range(3)]
    assert [process.communicate(timeout=200)[1] for process in processes] == [""] * 3
    held = artifact_in(tmp_path).read(ROWS, KEY)  # which refuses a row that is there twice
    assert held.height == QUESTIONS * K
    shares = Counter(held["by"].to_list())
    assert len(shares) == 3
    assert min(shares.values()) > QUESTIONS * K / 10


def test_what_a_killed_run_had_claimed_is_made_by_the_others(tmp_path: Path) -> None:
    artifact = artifact_in(tmp_path)
    victim, other = start(tmp_path, 0.03), start(tmp_path, 0.03)
    wait_for_parts(artifact, writers=2)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert other.communicate(timeout=200)[1] == ""
    held = artifact.read(ROWS, KEY)
    assert held.height == QUESTIONS * K
    assert victim.pid in held["by"].to_list()  # what it had written is kept


def test_a_run_waits_for_what_another_one_has_claimed(tmp_path: Path) -> None:
    artifact = artifact_in(tmp_path)
    other = start(tmp_path, 0.01)
    wait_for_parts(artifact)
    assert fill(artifact).height == QUESTIONS * K
    assert other.communicate(timeout=100)[1] == ""
    assert artifact.read(ROWS, KEY).height == QUESTIONS * K


def test_a_claim_that_stays_is_waited_for_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_in(tmp_path, Console(soft_wrap=True))
    claims = artifact.folder / ".claims"
    claims.mkdir(parents=True)
    lock = FileLock(claims / str(block_of("q7")))
    lock.acquire()
    before = {}

    def let_go(_: float) -> None:
        before["rows"] = sum(pl.read_parquet(p).height for p in artifact.folder.glob("part-*"))
        lock.release()

    monkeypatch.setattr("benchmark.store.claims.time", SimpleNamespace(sleep=let_go))
    assert fill(artifact).height == QUESTIONS * K
    assert 0 < before["rows"] < QUESTIONS * K
    assert "Other runs work on what is left" in capsys.readouterr().out


def test_rows_that_fail_are_left_for_the_next_run(tmp_path: Path) -> None:
    artifact = artifact_in(tmp_path)
    assert fill(artifact, failing=frozenset({"q3"})).height == (QUESTIONS - 1) * K
    assert fill(artifact).height == QUESTIONS * K


def test_what_was_made_before_a_fault_is_kept_and_no_claim_stays(tmp_path: Path) -> None:
    artifact = artifact_in(tmp_path)

    def produce(pieces: Iterator[pl.DataFrame]) -> Iterator[Row]:
        for question, sample in next(pieces).iter_rows():
            yield {"question_id": question, "sample_index": sample, "by": 0}
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        fill_together(artifact, wanted(), produce, ROWS, "Rows", dict)
    assert artifact.read(ROWS, KEY).height
    for block in range(BLOCKS):
        FileLock(artifact.folder / ".claims" / str(block)).acquire(timeout=0)
    assert fill(artifact).height == QUESTIONS * K


def test_a_link_in_place_of_the_claims_is_refused(tmp_path: Path) -> None:
    artifact = artifact_in(tmp_path / "store")
    artifact.folder.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (artifact.folder / ".claims").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match=r"\.claims"):
        fill(artifact)
    assert not [*(tmp_path / "outside").iterdir()]
