"""The command ``capcal plan``: what a run or a grid takes, before anything is spent."""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich import box
from rich.table import Table

from benchmark.config.composing import compose_jobs
from benchmark.report.style import dataset_name, model_name
from benchmark.runs.plan import Amount, Planner, Row
from benchmark.runs.rates import Rate, read_rates
from benchmark.runs.schedule import SCHEMES, ideal
from benchmark.runs.told import faults_told
from benchmark.terminal import Terminal

_WIDTH = 170  # characters of a line, where the table is not shown in a terminal
_START_HOURS = 0.1  # of a job, before its first reply and behind its last one; assumed
_AMOUNTS = ("requests", "prompt_tokens", "output_tokens", "hidden_states")
_NOTE = """\
Requests, tokens and hidden states are those that the store lacks; what several cells need is
counted in the first of them. Output tokens are the number of replies times their mean length: that
of the replies in the store (stored), else what the paper reports (paper), else the longest reply
that is allowed (cap). Prompt tokens are a quarter of the characters of each request. With
sampling=adaptive every number is the largest possible one. Hours are those of one accelerator. Disk
is what the store grows by, memory what a run of the cell holds beside its model: both are estimates
from the number and the length of the replies."""


def main(arguments: Sequence[str]) -> None:
    """Run the command line; exit status 1 where some cell can't be planned."""
    given = parsed(arguments)
    told = Terminal(stderr=True)
    with faults_told(given.overrides):
        jobs = compose_jobs(given.overrides)
        planner = Planner(told, _rates(jobs, given.tokens_per_second))
        rows = [planner.row(job) for job in jobs]
    console = Terminal(soft_wrap=False)
    if not console.is_terminal:
        console = Terminal(soft_wrap=False, width=_WIDTH)
    prices = None if given.price_in is None else (given.price_in, given.price_out)
    console.print(plan_table(rows, prices))
    console.print(_NOTE)
    for line in [*rate_lines(rows), *makespan_lines(rows, given.accelerators)]:
        console.print(line, soft_wrap=True)
    faults = dict.fromkeys(row.fault for row in rows if row.fault)
    for fault in faults:
        told.print(f"Error: {fault}")
    sys.exit(1 if faults else 0)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line, refused where a number makes no sense."""
    parser = argparse.ArgumentParser(
        "capcal plan",
        description="Tells what a run or a grid takes, and runs nothing.",
    )
    parser.add_argument("overrides", nargs="*", help="as for `python -m benchmark`")
    parser.add_argument("-m", "--multirun", action="store_true", help="taken for granted")
    parser.add_argument(
        "--tokens-per-second", type=float, metavar="N",
        help="output tokens that an accelerator generates in a second, all its requests together; "
        "else `capcal calibrate-rate` has measured them, or conf/rates assumes them",
    )  # fmt: skip
    parser.add_argument(
        "--accelerators", type=int, metavar="N", help="simulates how long the grid takes on so many"
    )
    for side, kind in (("in", "prompt"), ("out", "output")):
        told = f"price of a million {kind} tokens, in any currency"
        parser.add_argument(f"--price-{side}", type=float, metavar="PRICE", help=told)
    given = parser.parse_intermixed_args(arguments)
    for name in ("tokens_per_second", "accelerators"):
        value = getattr(given, name)
        if value is not None and not 0 < value < math.inf:
            parser.error(f"--{name.replace('_', '-')}={value:g} must be above 0 and finite.")
    if (given.price_in is None) != (given.price_out is None):
        parser.error("--price-in and --price-out belong together; give both.")
    for price in (given.price_in, given.price_out):
        if price is not None and not 0 <= price < math.inf:
            parser.error(f"A price of {price:g} makes no sense: it must be at least 0 and finite.")
    return given


def _rates(jobs: Sequence[DictConfig], tokens_per_second: float | None) -> dict[str, Rate]:
    """Return the rate of each model; those that are known, or the one that was given for all."""
    rates = read_rates(Path(str(jobs[0].paths.outputs)).expanduser())
    if tokens_per_second is None:
        return rates
    given = Rate(math.inf, tokens_per_second, None, None, "given")
    models = {str(job.model.name) for job in jobs}
    sizes = {name: rates.get(name, given) for name in models}
    return {
        name: given._replace(layers=size.layers, width=size.width) for name, size in sizes.items()
    }


def plan_table(rows: Sequence[Row], prices: tuple[float, float] | None = None) -> Table:
    """Return the rows as a table with their sum.

    Args:
        rows: one per cell.
        prices: prices of a million prompt tokens and of a million output tokens; None shows none.
    """
    total = Amount()
    for row in rows:
        total = total.plus(row.new)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("Model", f"{len(rows)} cell{'s' * (len(rows) != 1)}", no_wrap=True)
    table.add_column("Dataset", no_wrap=True)
    table.add_column("State", f"{sum(row.finished for row in rows)} finished", no_wrap=True)
    table.add_column("Questions", justify="right", no_wrap=True)
    table.add_column("Replies", justify="right")
    for name in _AMOUNTS:
        shown = _short(getattr(total, name))
        table.add_column(name.replace("_", " ").capitalize(), shown, justify="right")
    table.add_column("Lengths", no_wrap=True)
    todo = [row for row in rows if not (row.finished or row.fault)]
    table.add_column("Hours", _decimal(_sum(_hours(row) for row in todo)), justify="right")
    table.add_column("Disk, GB", _decimal(_sum(_disk(row) for row in todo)), justify="right")
    table.add_column("Memory, GB", justify="right")
    if prices:
        table.add_column("Price", f"{_price(total, prices):,.2f}", justify="right")
    for row in rows:
        table.add_row(*_cells(row, prices))
    return table


def rate_lines(rows: Sequence[Row]) -> list[str]:
    """Return a line for each model: what its hours come from."""
    rates = {row.model: row.rate for row in rows if not (row.finished or row.fault)}
    return [
        f"Rate of {model}: unknown; measure it with capcal calibrate-rate model={model}, or give "
        f"--tokens-per-second."
        if rate is None
        else f"Rate of {model}: {rate.output_tokens_per_second:,.0f} output tokens a second "
        f"({rate.source})."
        for model, rate in rates.items()
    ]


def makespan_lines(rows: Sequence[Row], accelerators: int | None) -> list[str]:
    """Return what the simulation says of so many accelerators; nothing without a number."""
    if accelerators is None:
        return []
    if any(row.rate is None for row in rows if not (row.finished or row.fault)):
        return ["On several accelerators: unknown, since a rate is."]
    cells = [row.parts for row in rows if row.parts]
    least = ideal(cells, accelerators)
    lines = [
        f"On {accelerators} accelerators, simulated at these rates: {_decimal(least)} h at best. "
        f"On SLURM a grid runs as four jobs a cell; the others are other ways to share its work."
    ]
    for scheme, makespan in SCHEMES.items():
        hours = makespan(cells, accelerators, _START_HOURS)
        more = f" ({hours / least - 1:+.0%})" if least else ""
        lines.append(f"  {scheme}: {_decimal(hours)} h{more}")
    return lines


def _cells(row: Row, prices: tuple[float, float] | None) -> list[str]:
    """Return what the table shows of a row; amounts only where something is to be done."""
    names = [model_name(row.model), dataset_name(row.dataset), row.state]
    if row.finished or row.fault:
        return names
    counts = [row.questions, row.wanted, *(getattr(row.new, name) for name in _AMOUNTS)]
    sizes = [_hours(row), _disk(row), row.memory / 1e9 if row.memory else None]
    price = [f"{_price(row.new, prices):,.2f}"] if prices else []
    return [
        *names, *map(_short, counts), ", ".join(row.lengths), *map(_decimal, sizes), *price
    ]  # fmt: skip


def _hours(row: Row) -> float | None:
    return None if row.rate is None else row.new.hours(row.rate)


def _disk(row: Row) -> float | None:
    """Return by how many gigabytes the store grows."""
    size = row.new.disk(row.state_bytes)
    return None if size is None else size / 1e9


def _price(amount: Amount, prices: tuple[float, float]) -> float:
    return (amount.prompt_tokens * prices[0] + amount.output_tokens * prices[1]) / 1e6


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum, None where a value is unknown."""
    every = list(values)
    return None if None in every else sum(value for value in every if value is not None)


def _decimal(number: float | None) -> str:
    if number is None:
        return "–"
    return f"{number:.2g}" if number < 1 else f"{number:,.1f}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number < 1e6 else f"{number / 1e6:,.1f} M"
