"""What every benchmark takes and gives, in one form: `run_all.py` makes one table of it."""

import argparse
import json
import os
import resource
from collections.abc import Iterable
from typing import NamedTuple

import psutil


class Result(NamedTuple):
    """One thing that was measured in this run.

    Attributes:
        what: what was done.
        took: what it took, with its unit.
        against: the obvious way to do the same, and how it was measured; empty where there is none.
        ratio: how many times as much the obvious way took; None without one.
        peak_mb: peak resident memory of the process that did it, in MB; None where not measured.
    """

    what: str
    took: str
    against: str = ""
    ratio: float | None = None
    peak_mb: float | None = None


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that all benchmarks have, to which each adds its own."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--smoke", action="store_true", help="tiny sizes: that it runs, not how fast")
    made.add_argument("--json", action="store_true", help="print the results as JSON, last")
    return made


def tell(results: Iterable[Result], options: argparse.Namespace) -> None:
    """Print each result as it comes; with ``--json`` all of them at the end, too."""
    told = []
    for result in results:
        told.append(result)
        against = f"; against {result.against}" if result.against else ""
        ratio = "" if result.ratio is None else f": {shown_ratio(result.ratio)}"
        memory = "" if result.peak_mb is None else f"; peak memory {result.peak_mb:,.0f} MB"
        print(f"{result.what}: {result.took}{against}{ratio}{memory}", flush=True)
    if options.json:
        print(json.dumps(told))


def shown_ratio(ratio: float) -> str:
    """Return a ratio with two or three digits.

    >>> shown_ratio(2.64), shown_ratio(24012.3)
    ('2.6 x', '24,000 x')
    """
    digits = 1 if ratio < 10 else 0 if ratio < 1000 else -2
    return f"{round(ratio, digits):,.{max(digits, 0)}f} x"


def peak_mb() -> float:
    """Return the peak resident memory of this process, mapped files included, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_seconds() -> float:
    """Return the CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def machine() -> str:
    """Return what numbers were measured on."""
    with open("/proc/cpuinfo") as file:  # noqa: PTH123
        names = {line.split(":")[1].strip() for line in file if line.startswith("model name")}
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} x {', '.join(sorted(names)) or 'unknown CPU'}, {memory:.0f} GiB, no GPU"
    )
