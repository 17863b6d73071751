"""Servers that the harness starts: real processes."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.engines.server.launch import LaunchedServer
from benchmark.errors import ModelError

SERVER = Path(__file__).with_name("scripted.py")


def launched(tmp_path, *arguments, seconds=20.0, command=None):
    command = command or [sys.executable, str(SERVER), "{port}", *arguments]
    log = tmp_path / "run" / "server.log"
    return LaunchedServer(command, "/weights", "health", seconds, log, Console(quiet=True))


def answers(url):
    try:
        with urllib.request.urlopen(f"{url}/models", timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def test_a_server_is_started_once_stopped_and_started_again(tmp_path):
    server = launched(tmp_path)
    url = server.base_url()
    assert answers(url)
    assert server.base_url() == url
    server.stop()
    assert not answers(url)
    server.stop()
    assert answers(server.base_url())
    server.stop()
    assert (tmp_path / "run" / "server.log").read_text().count("ready") == 2


def test_a_server_that_dies_says_why(tmp_path):
    with pytest.raises(
        ModelError, match=r"(?s)status 3.*first fault: ValueError: no such weights.*server\.log"
    ):
        launched(tmp_path, "dies").base_url()


def test_a_command_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"engine\.command.*no-such-program"):
        launched(tmp_path, command=["no-such-program"]).base_url()


def test_a_server_that_is_never_ready_is_stopped(tmp_path):
    command = [sys.executable, "-c", "import time; print('loading', flush=True); time.sleep(60)"]
    server = launched(tmp_path, command=command, seconds=1.0)
    with pytest.raises(ModelError, match=r"(?s)startup_seconds=1 .*loading"):
        server.base_url()
    assert server._process is None


def test_a_server_that_ends_in_the_middle_is_noticed(tmp_path):
    server = launched(tmp_path)
    server.base_url()
    os.killpg(server._process.pid, signal.SIGKILL)
    server._process.wait()
    with pytest.raises(ModelError, match="ended with status -9"):
        server.alive()


def test_a_killed_harness_leaves_no_server(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from rich.console import Console\n"
        "from benchmark.engines.server.launch import LaunchedServer\n"
        f"s = LaunchedServer([sys.executable, {str(SERVER)!r}, '{{port}}'], 'w', 'health', 20.0,"
        f" Path({str(tmp_path)!r}) / 'log', Console(quiet=True))\n"
        "print(s.base_url(), flush=True); time.sleep(60)\n"
    )
    harness = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    url = harness.stdout.readline().strip()
    assert answers(url)
    harness.kill()
    harness.wait()
    deadline = time.monotonic() + 10
    while answers(url) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not answers(url)


def test_what_a_dead_server_has_started_ends_with_it(tmp_path):
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen(['sleep', '60']); open({str(tmp_path / 'child')!r}, 'w')"
        ".write(str(child.pid)); sys.exit(3)\n"
    )
    server = launched(tmp_path, command=[sys.executable, "-c", code])
    with pytest.raises(ModelError, match="status 3"):
        server.base_url()
    status = Path(f"/proc/{(tmp_path / 'child').read_text()}/stat")
    deadline = time.monotonic() + 10
    while status.exists() and status.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not status.exists() or status.read_text().split()[2] == "Z"
