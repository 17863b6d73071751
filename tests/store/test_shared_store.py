"""A store that two users or two hosts work on at the same time."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.errors import StoreError
from benchmark.store.artifact import Artifact, Store

ANNA, BERT, GROUP = 61_001, 61_002, 61_100  # users and the group that both are in
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")


def artifact_in(root: Path) -> Artifact:
    return Store(root, Console(quiet=True)).artifact("m", "d", "test", "responses", {"a": 1})


def start(uid: int, umask: int, work: Callable[[], object]) -> tuple[int, int]:
    """Let a user do something in a process of its own; nothing there may use polars' threads."""
    ours, its = os.pipe()
    pid = os.fork()
    if pid:
        os.close(its)
        return pid, ours
    try:
        os.setgroups([GROUP])
        os.setgid(uid)
        os.setuid(uid)
        os.umask(umask)
        said = str(work() or "done")
    except StoreError as error:
        said = f"message: {error}"
    except BaseException as error:  # noqa: BLE001 - told to the test
        said = f"fault: {error!r}"
    os.write(its, json.dumps(said).encode())
    os._exit(0)


def end(started: tuple[int, int]) -> str:
    pid, ours = started
    with os.fdopen(ours) as file:
        said: str = json.loads(file.read())
    os.waitpid(pid, 0)
    return said


def do(uid: int, umask: int, work: Callable[[], object]) -> str:
    return end(start(uid, umask, work))


def add(root: Path, *texts: str) -> Callable[[], object]:
    def work() -> None:
        for text in texts:
            artifact = artifact_in(root)
            with artifact.lock():
                artifact.append(text.encode(), ".bin")
                artifact.write("manifest.json", text.encode())

    return work


def read(root: Path) -> Callable[[], object]:
    return lambda: sorted(path.read_text() for path in artifact_in(root).parts(".bin"))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder whose files are the group's."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o111)  # of pytest, for its user alone
    root = tmp_path / "store"
    root.mkdir()
    os.chown(root, ANNA, GROUP)
    root.chmod(0o2775)
    return root


@needs_root
def test_a_store_is_written_and_read_by_all_of_a_group_where_the_umask_lets_them(
    shared: Path,
) -> None:
    for uid, text in ((ANNA, "1"), (BERT, "2"), (ANNA, "3")):
        assert do(uid, 0o002, add(shared, text)) == "done"
    assert do(BERT, 0o002, read(shared)) == "['1', '2', '3']"
    modes = {path.stat().st_mode & 0o777 for path in shared.rglob("*") if path.is_file()}
    assert modes == {0o664}


@needs_root
def test_what_the_owner_lets_others_only_read_is_read_and_not_written(shared: Path) -> None:
    assert do(ANNA, 0o022, add(shared, "1")) == "done"
    before = {path: path.stat().st_mtime_ns for path in shared.rglob("*")}
    assert do(BERT, 0o022, read(shared)) == "['1']"
    said = do(BERT, 0o022, add(shared, "2"))
    assert said.startswith(f"message: {shared}")
    assert "can't be written: Permission denied" in said
    assert "chmod -R g+rwX" in said
    assert {path: path.stat().st_mtime_ns for path in shared.rglob("*")} == before


@needs_root
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o000])
def test_a_lock_of_another_user_that_may_not_be_opened_is_one_message(
    shared: Path, mode: int
) -> None:
    assert do(ANNA, 0o002, add(shared, "1")) == "done"
    (artifact_in(shared).folder / ".lock").chmod(mode)
    said = do(BERT, 0o002, add(shared, "2"))
    assert said.startswith(f"message: {artifact_in(shared).folder} can't be written")
    assert do(BERT, 0o002, read(shared)) == "['1']"


@needs_root
@pytest.mark.parametrize("mode", [0o000, 0o200])
def test_a_part_that_may_not_be_read_is_one_message(shared: Path, mode: int) -> None:
    assert do(ANNA, 0o002, add(shared, "1")) == "done"
    (part,) = artifact_in(shared).folder.glob("part-*")
    part.chmod(mode)
    assert do(BERT, 0o002, read(shared)) == f"message: {part} can't be read: Permission denied."


@needs_root
def test_two_users_at_once_lose_nothing(shared: Path) -> None:
    texts = {uid: [f"{uid} {number}" for number in range(30)] for uid in (ANNA, BERT)}
    assert do(ANNA, 0o002, add(shared, "first")) == "done"
    started = [start(uid, 0o002, add(shared, *own)) for uid, own in texts.items()]
    assert [end(each) for each in started] == ["done", "done"]
    found = read(shared)()
    assert found == sorted(["first", *texts[ANNA], *texts[BERT]])


HOLDER = """
import socket, sys, time
from pathlib import Path
from rich.console import Console
from benchmark.store.artifact import Store
artifact = Store(Path(sys.argv[1]), Console()).artifact("m", "d", "test", "responses", {"a": 1})
with artifact.lock():
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def on_another_host(root: Path, seconds: float) -> subprocess.Popen[str]:
    """Start what holds the lock where process numbers, host name and network are others."""
    spaces = ["--pid", "--uts", "--net", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid():
        spaces += ["--user", "--map-root-user"]
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, *spaces, "true"], check=False).returncode:
        pytest.skip("namespaces can't be made here")
    program = [sys.executable, "-c", HOLDER, str(root), str(seconds)]
    return subprocess.Popen([unshare, *spaces, *program], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("killed", [False, True])
def test_a_lock_that_another_host_holds_is_waited_for_and_freed_by_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], killed: bool
) -> None:
    with on_another_host(tmp_path, 60 if killed else 2) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        begin = time.monotonic()
        artifact = Store(tmp_path, Console()).artifact("m", "d", "test", "responses", {"a": 1})
        if killed:
            time.sleep(0.5)
            holder.kill()
        with artifact.lock():
            waited = time.monotonic() - begin
        if not killed:
            assert waited > 1
            assert "Another run works on" in capsys.readouterr().out
        assert waited < 30
        holder.kill()
