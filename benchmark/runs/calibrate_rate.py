"""The command ``capcal calibrate-rate``: how many tokens a second the real engine reads and writes.

The plan's hours rest on it. The measured row goes into ``rates.csv`` in the folder of outputs.
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple

from rich.console import Console

from benchmark.cell.key import outputs_of
from benchmark.config.build import TARGET
from benchmark.config.checks import checked
from benchmark.config.composing import compose_jobs
from benchmark.config.schema import Config
from benchmark.engines import Decoding, Engine, Response, SampleRequest
from benchmark.errors import ConfigError, ModelError
from benchmark.questions import load_splits
from benchmark.runs.one_cell import build_engine
from benchmark.runs.rates import Rate, read_rates, write_rate
from benchmark.runs.told import faults_told
from benchmark.terminal import Terminal

_MOST_TOKENS = 256  # of a reply, so that a batch ends soon; longer ones run at about the same rate
_FIRST_BATCH = 8  # replies
_LARGEST_BATCH = 4096  # replies; no accelerator gets faster beyond
_DESCRIPTION = """\
Measures how many tokens a second the configured engine reads and writes, all its requests together,
and writes the row into rates.csv in paths.outputs, where capcal plan finds it. The settings are
those of a run: model, engine, dataset. Replies are drawn and forgotten.
"""


class Measured(NamedTuple):
    """Rates of an engine.

    Attributes:
        prompt_tokens_per_second: prompt tokens that it read in a second.
        output_tokens_per_second: tokens that it generated in a second.
        replies: number of replies that were asked for at once.
    """

    prompt_tokens_per_second: float
    output_tokens_per_second: float
    replies: int


def main(arguments: Sequence[str]) -> None:
    """Run the command line; exit status 1 after a fault that its user can mend."""
    parser = argparse.ArgumentParser("capcal calibrate-rate", description=_DESCRIPTION)
    parser.add_argument("overrides", nargs="*", help="as for `python -m benchmark`")
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="time that it may take; 5 where not given"
    )
    given = parser.parse_intermixed_args(arguments)
    if not 0 < given.minutes < math.inf:
        parser.error(f"--minutes={given.minutes:g} must be above 0 and finite.")
    console = Terminal()
    with faults_told(given.overrides):
        calibrate(given.overrides, given.minutes * 60, console)


def calibrate(overrides: Sequence[str], seconds: float, console: Console) -> Rate:
    """Measure the configured engine, write its rate into the outputs' folder and return it.

    Args:
        overrides: settings of one run.
        seconds: time that the measurement may take, the start of a server not counted.
        console: shows what is done.

    Raises:
        BenchmarkError: for whatever the user can mend.
    """
    jobs = compose_jobs(overrides)
    if len(jobs) != 1:
        raise ConfigError(
            f"capcal calibrate-rate measures one model; these settings name {len(jobs)} runs."
        )
    config = checked(jobs[0])
    if config.dataset.counted:
        raise ConfigError("dataset=counts has no prompts; name a dataset with questions.")
    outputs = outputs_of(config)
    prompts = load_splits(config.dataset, ["evaluation"])["evaluation"]["prompt"].to_list()
    folder = outputs / "calibrate-rate" / config.model.name
    folder.mkdir(parents=True, exist_ok=True)
    engine = build_engine(config, folder, console)
    try:
        found = measure(engine, prompts, _decoding(config), seconds)
    finally:
        engine.close()
    known = read_rates(outputs).get(config.model.name)
    engine_name = str(config.engine[TARGET]).rpartition(".")[2]
    day = datetime.now(UTC).date().isoformat()
    rate = Rate(
        *found[:2],
        known.layers if known else None,
        known.width if known else None,
        f"measured on {day} by {engine_name}, {found.replies} replies at once",
    )
    path = write_rate(outputs, config.model.name, rate)
    console.print(
        f"{config.model.name}: {rate.prompt_tokens_per_second:,.0f} prompt tokens and "
        f"{rate.output_tokens_per_second:,.0f} output tokens a second, {found.replies} replies "
        f"at once. Written to {path}."
    )
    return rate


def measure(engine: Engine, prompts: Sequence[str], decoding: Decoding, seconds: float) -> Measured:
    """Return an engine's rates, from batches of replies that double as long as time is left.

    The first batch, which also loads the model, isn't counted where a second one fits into the
    time. Prompts begin with a number of their own, so that no server has them in its cache.

    Args:
        engine: the engine, whose requests of a batch are all asked at once.
        prompts: user turns, at least one.
        decoding: how replies are drawn.
        seconds: time that it may take; at least two batches are drawn, whatever it is.

    Raises:
        ModelError: a request failed, or the engine doesn't count its tokens.
    """
    numbers = count()

    def batch(size: int, settings: Decoding) -> tuple[list[Response], float]:
        requests = [
            SampleRequest(f"calibration/{n}", f"{n}. {prompts[n % len(prompts)]}", (0,), (n,))
            for n, _ in zip(numbers, range(size), strict=False)
        ]
        start = time.monotonic()
        replies = list(engine.sample(requests, settings))
        return replies, time.monotonic() - start

    begin = time.monotonic()
    size = _FIRST_BATCH
    batch(size, decoding)  # loads the model
    replies, took = batch(size, decoding)
    # A batch of twice the size takes at most twice as long.
    while size < _LARGEST_BATCH and time.monotonic() - begin + 2.5 * took < seconds:
        size *= 2
        replies, took = batch(size, decoding)
    read, reading = batch(size, replace(decoding, max_new_tokens=1))
    written = [_counted(reply, reply.completion_tokens) for reply in replies]
    prompted = [_counted(reply, reply.prompt_tokens) for reply in read]
    return Measured(sum(prompted) / reading, sum(written) / took, size)


def _counted(reply: Response, tokens: int | None) -> int:
    """Return the tokens of a reply, refused where it failed or nobody counted them."""
    if reply.finish_reason == "error":
        raise ModelError(f"A request failed, so no rate is known: {reply.error}")
    if tokens is None:
        raise ModelError(
            "The engine doesn't say how many tokens it reads and writes, so no rate can be "
            "measured; give capcal plan --tokens-per-second."
        )
    return tokens


def _decoding(config: Config) -> Decoding:
    decoding = Decoding(**asdict(config.model.decoding))
    return replace(decoding, max_new_tokens=min(decoding.max_new_tokens, _MOST_TOKENS))
