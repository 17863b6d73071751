"""Faults of the surroundings: damaged files, full and read-only disks, servers that go away."""

import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def damaged_copy(
    reference: Path, outputs: Path, pattern: str, kept: bool, way: str, rng: random.Random
) -> Path:
    """Copy outputs with one file of the store damaged, and return that file.

    Args:
        reference: outputs of a finished run.
        outputs: where the copy goes.
        pattern: of the file, below any model, dataset and split.
        kept: whether the finished cell stays, so that a run is skipped unless it is damaged.
        way: ``bit flipped`` or ``truncated``.
        rng: chooses the file and the place.
    """
    shutil.copytree(reference, outputs, dirs_exist_ok=True)
    store = outputs / "store"
    if not kept:
        for cell in store.glob("*/*/*/cell-*"):
            shutil.rmtree(cell)
    found = sorted(path for path in store.rglob(pattern) if path.name != ".lock")
    path = rng.choice(found)
    data = bytearray(path.read_bytes())
    if way == "truncated":
        del data[rng.randrange(len(data)) :]
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return path


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """Mount a small disk, which what is yielded makes large."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(command, check=True)
    try:
        yield lambda: _mount("remount,size=1g", folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a mounted disk, or a folder of it by a mount of its own, read-only for a while."""
    own = not folder.is_mount()
    if own:
        subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    options = "remount,ro,bind" if own else "remount,ro"
    for _ in range(2000):  # a disk is busy while a file is open for writing
        if subprocess.run(["mount", "-o", options, str(folder)], stderr=subprocess.DEVNULL,
                          check=False).returncode == 0:  # fmt: skip
            break
        time.sleep(0.002)
    try:
        yield
    finally:
        if own:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        else:
            _mount("remount,rw", folder)


def _mount(options: str, folder: Path) -> None:
    subprocess.run(["mount", "-o", options, str(folder)], check=True)


@contextmanager
def server_process(faults: Sequence[str] = ()) -> Iterator[tuple[str, Callable[[], None]]]:
    """Run the scripted server, which also judges, as a process; yield its address and its end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.engines.server.scripted", str(port), "judges", *faults]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it is ready
    try:
        yield f"http://127.0.0.1:{port}/v1", process.kill
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
