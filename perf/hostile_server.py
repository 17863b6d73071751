"""Campaigns of ``faults.py`` against a hostile world: servers that attack, and secrets they echo.

Each run under attack must end in time, with one message or with what a server said recorded, and
without a secret in any byte that it leaves; the next run, with a good server, must end with the
result of an undisturbed one.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines.server.hostile import BOUNDS, ECHOES, REDIRECTS
from tests.faulty import server_process
from tests.forked import Run, messages
from tests.leaks import VARIABLES, leaks

if TYPE_CHECKING:
    from faults import Campaign, Tally

    from benchmark.progress import Meter

_SECONDS = 120.0  # that a run under attack may take; without bounds it has no end
_MEMORY = 2**32  # bytes of address space beside what a run has at its start
_TIMEOUT = "engine.timeout=3"
BOUNDED = [*BOUNDS, *REDIRECTS, "dies in the body"]


def hostile_server(campaign: "Campaign", progress: "Meter") -> None:
    """Let the server attack while it samples: bombs, drips, redirects, its death."""
    with campaign.served():
        for name in BOUNDED:
            outputs, tally = campaign.fresh(), campaign.tally("hostile server")
            with server_process(faults=[name]) as (url, _):
                _under_attack(campaign, tally, outputs, url, name)
            with server_process() as (url, _):
                campaign.rerun(tally, outputs, f"engine.base_url={url}")
            progress.advance()


def secrets(campaign: "Campaign", progress: "Meter") -> None:
    """Let the server send the key back in every spelling; search it in all that is left."""
    with campaign.served(), _variables():
        for name in ECHOES:
            outputs, tally = campaign.fresh(), campaign.tally("secrets echoed")
            with server_process(faults=[name]) as (url, _):
                run = _under_attack(campaign, tally, outputs, url, name)
            if found := leaks(campaign.folder, run.output):
                campaign.fail(tally, f"{name}: a secret stands in {found[:4]}", run)
            tally.completed += 1
            tally.identical += not found
            progress.advance()


def _under_attack(campaign: "Campaign", tally: "Tally", outputs: Path, url: str, name: str) -> Run:
    """Run the command against an attack and say where it ends badly."""
    begin = time.monotonic()
    where = [f"engine.base_url={url}", _TIMEOUT, "engine.concurrency=2"]
    run = campaign.start(outputs, *where, before=_little_memory)
    status = run.wait()
    if time.monotonic() - begin > _SECONDS:
        campaign.fail(tally, f"{name}: it took {time.monotonic() - begin:.0f} s", run)
    if "Traceback" in run.output or (status and len(messages(run.output)) != 1):
        campaign.fail(tally, f"{name}: status {status} without one message", run)
    return run


def _little_memory() -> None:
    """Let a run take little more memory than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


@contextmanager
def _variables() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(VARIABLES)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


if __name__ == "__main__":
    sys.exit("These are campaigns of perf/faults.py: --only hostile-server,secrets")
