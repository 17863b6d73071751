"""What a grid takes, before anything is spent: ``capcal plan experiment=paper_grid``.

The cells are composed as they would be run, their questions are read, and the store is asked what
it has. No model is loaded.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Never

import polars as pl
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.cell.asked import HIDDEN, Asked
from benchmark.cell.cell import Cell, KnownModel, Split, Stages
from benchmark.cell.key import cell_artifact, engine_identity, has_cells, outputs_of
from benchmark.cell.saved import is_finished
from benchmark.config.checks import checked
from benchmark.config.composing import compose_jobs, explained, misread, system_fault
from benchmark.config.schema import Config, DatasetConfig, Role
from benchmark.engines.construction import engine_config
from benchmark.engines.settings import ServerConfig
from benchmark.engines.weights import find_weights
from benchmark.errors import BenchmarkError
from benchmark.estimators import build_estimators, check_splits, needed_roles
from benchmark.questions import load_splits
from benchmark.records import CAPABILITY, DISAGREEMENT, GRADE, RESPONSE
from benchmark.report.style import dataset_name, model_name
from benchmark.runs.lengths import mean_length, stored
from benchmark.sampling.responses import SAMPLE, wanted_samples
from benchmark.store.artifact import Store, fingerprint

_CHARACTERS_PER_TOKEN = 4  # roughly, of English text
_WIDTH = 132  # characters of a line, where the table is not shown in a terminal
_NOTE = """\
Requests, tokens and hidden states are those that the store lacks; what several cells need is
counted in the first of them. Output tokens are the number of replies times their mean length: that
of the replies in the store (stored), else what the paper reports (paper), else the longest reply
that is allowed (cap). Prompt tokens are a quarter of the characters of each request. With
sampling=adaptive every number is the largest possible one."""


class Row(NamedTuple):
    """What the store has of a cell, and what the cell still takes.

    Attributes:
        model: name of the model.
        dataset: name of the dataset.
        questions: number of questions that are evaluated.
        stored: number of replies that the store has already.
        wanted: number of replies that the cell is made from.
        requests: number of requests that are missing; as with the next three, what a cell before
            this one asks for is left out.
        prompt_tokens: estimated tokens of the prompts of these requests.
        output_tokens: estimated tokens of their replies.
        hidden_states: number of prompts whose hidden states are missing.
        lengths: sources of the mean lengths of replies.
        finished: whether nothing is left to do.
        fault: reason why nothing is known; empty where all is well.
    """

    model: str
    dataset: str
    questions: int = 0
    stored: int = 0
    wanted: int = 0
    requests: int = 0
    prompt_tokens: float = 0
    output_tokens: float = 0
    hidden_states: int = 0
    lengths: tuple[str, ...] = ()
    finished: bool = False
    fault: str = ""

    @property
    def state(self) -> str:
        """What is there, in a word."""
        if self.fault or self.finished:
            return "unknown" if self.fault else "finished"
        return f"{self.stored / self.wanted:.0%} there" if self.stored else "missing"


class Planner:
    """Plans cells in the order in which they are run; what two of them share counts once.

    Args:
        console: shows what takes long.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._splits: dict[str, dict[Role, pl.DataFrame]] = {}
        self._planned: dict[Path, pl.DataFrame] = {}

    def row(self, composed: DictConfig) -> Row:
        """Return what a cell takes; a configuration or questions at fault give a row with it."""
        row = Row(str(composed.model.name), str(composed.dataset.name))
        try:
            config = checked(composed)
            if has_cells(config) and is_finished(cell_artifact(config, self._console)):
                return row._replace(finished=True)
            return row if config.dataset.counted else self._row(config, row)
        except BenchmarkError as error:
            return row._replace(fault=str(error))

    def _row(self, config: Config, row: Row) -> Row:
        estimators = build_estimators(config.estimator, config.sampling)
        check_splits(estimators, config.dataset)
        cell = self._cell(config, needed_roles(estimators))
        row = row._replace(questions=cell.questions["evaluation"].height)
        engine = engine_config(config.engine)
        per_request = (
            engine.samples_per_request if isinstance(engine, ServerConfig) else sys.maxsize
        )
        known: dict[Path, pl.DataFrame] = {}
        asked = [cell.responses(role) for role in cell.questions]
        asked += [a for estimator in estimators.values() for a in estimator.requests(cell)]
        for wanted in asked:
            every = _new(wanted_samples(wanted.prompts, wanted.k), wanted, known)
            row = self._add(row, wanted, every, per_request)
        return row

    def _cell(self, config: Config, roles: Sequence[Role]) -> Cell:
        """Return a cell that knows its questions and where things are kept, and runs no model."""
        root = outputs_of(config) / "store"
        identity: Mapping[str, Any] = {}
        if (root / config.model.name).is_dir():  # else nothing is stored, whatever the weights are
            cache = Path(config.paths.cache).expanduser()
            weights = find_weights(config.model, cache, self._console)
            identity = engine_identity(config, weights)
        known = engine_config(config.engine).precisions if identity else {}
        stages = Stages(self._questions, _split_to_come, _no_features)
        questions = self._questions(config.dataset, roles)
        store = Store(root, self._console)
        return Cell(config, questions, KnownModel(identity, known), store, self._console, stages)

    def _questions(self, dataset: DatasetConfig, roles: Sequence[Role]) -> dict[Role, pl.DataFrame]:
        known = self._splits.setdefault(fingerprint(asdict(dataset)), {})
        if not known.keys() >= set(roles):
            self._console.print(f"Reading the questions of {dataset.name} ..")
            known |= load_splits(dataset, roles)
        return {role: known[role] for role in roles}

    def _add(self, row: Row, wanted: Asked, every: pl.DataFrame, per_request: int) -> Row:
        """Return the row with what is there of ``every`` sample, and what is missing."""
        there, seen = stored(wanted)
        missing = every.join(there, on=SAMPLE, how="anti")
        new = _new(missing, wanted, self._planned)
        if wanted.kind == HIDDEN:
            return row._replace(hidden_states=row.hidden_states + new.height)
        counts = new.group_by("question_id").len().iter_rows()
        requests = {key: math.ceil(count / per_request) for key, count in counts}
        characters = sum(len(wanted.prompts[key]) * times for key, times in requests.items())
        length, source = mean_length(wanted, row.model, seen)
        told = [source] if source and new.height else []
        return row._replace(
            stored=row.stored + every.height - missing.height,
            wanted=row.wanted + every.height,
            requests=row.requests + sum(requests.values()),
            prompt_tokens=row.prompt_tokens + characters / _CHARACTERS_PER_TOKEN,
            output_tokens=row.output_tokens + length * new.height,
            lengths=tuple(dict.fromkeys([*row.lengths, *told])),
        )


def _split_to_come(cell: Cell, role: Role) -> Split:
    """Return a split as it is before it is sampled: responses without a text, nothing solved.

    Prompts that show responses are then nearly as long as they will be, and not in the store.
    """
    questions, asked = cell.questions[role], cell.responses(role)
    samples = wanted_samples(asked.prompts, asked.k).drop("prompt_hash")
    responses = pl.concat([RESPONSE.to_frame(), samples], how="diagonal")
    none = GRADE.to_frame()
    unsolved = questions.select("question_id", n=1, c=0, truncated=0, unparsed=0).cast(CAPABILITY)
    return Split(questions, responses, none, none, DISAGREEMENT.to_frame(), unsolved, {})


def _no_features(cell: Cell, role: Role) -> Never:
    raise TypeError(f"The hidden states of {cell.config.dataset.splits[role]} are only planned.")


def _new(samples: pl.DataFrame, wanted: Asked, known: dict[Path, pl.DataFrame]) -> pl.DataFrame:
    """Return those of the samples that ``known`` lacks, by artifact, and add them to it."""
    folder = wanted.artifact.folder
    before = known.get(folder, samples.clear())
    new = samples.join(before, on=SAMPLE, how="anti")
    known[folder] = pl.concat([before, new])
    return new


def plan_table(rows: Sequence[Row], tokens_per_second: float | None) -> Table:
    """Return the rows as a table with their sum; hours where the throughput is given.

    Args:
        rows: one per cell.
        tokens_per_second: output tokens of one engine, all its requests at once together.
    """
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    total = {
        name: sum(getattr(row, name) for row in rows)
        for name in ("requests", "prompt_tokens", "output_tokens", "hidden_states")
    }
    table.add_column("Model", f"{len(rows)} cell{'s' * (len(rows) != 1)}", no_wrap=True)
    table.add_column("Dataset", no_wrap=True)
    table.add_column("State", f"{sum(row.finished for row in rows)} finished", no_wrap=True)
    table.add_column("Questions", justify="right", no_wrap=True)
    table.add_column("Replies", justify="right")
    for name, value in total.items():
        table.add_column(name.replace("_", " ").capitalize(), _short(value), justify="right")
    table.add_column("Lengths", no_wrap=True)
    if tokens_per_second:
        hours = total["output_tokens"] / tokens_per_second / 3600
        table.add_column("Hours", f"{hours:,.1f}", justify="right")
    for row in rows:
        numbers = [row.questions, row.wanted, *(getattr(row, name) for name in total)]
        cells = ["" if row.finished or row.fault else _short(number) for number in numbers]
        shown = [model_name(row.model), dataset_name(row.dataset), row.state, *cells]
        shown.append(", ".join(row.lengths))
        if tokens_per_second and row.lengths:
            shown.append(f"{row.output_tokens / tokens_per_second / 3600:,.1f}")
        table.add_row(*shown)
    return table


def _short(number: float) -> str:
    return f"{number:,.0f}" if number < 1e6 else f"{number / 1e6:,.1f} M"


def main(arguments: Sequence[str]) -> None:
    """Run the command line; exit status 1 where some cell can't be planned."""
    parser = argparse.ArgumentParser(
        "capcal plan",
        description="Tells what a run or a grid takes, and runs nothing.",
    )
    parser.add_argument("overrides", nargs="*", help="as for `python -m benchmark`")
    parser.add_argument("-m", "--multirun", action="store_true", help="taken for granted")
    parser.add_argument(
        "--tokens-per-second", type=float, metavar="N",
        help="output tokens that one engine generates in a second, all its requests together",
    )  # fmt: skip
    given = parser.parse_intermixed_args(arguments)
    if given.tokens_per_second is not None and not given.tokens_per_second > 0:
        parser.error(f"--tokens-per-second={given.tokens_per_second:g} must be above 0.")
    told = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    wrong = None
    try:
        jobs = compose_jobs(given.overrides)
        planner = Planner(told)
        rows = [planner.row(job) for job in jobs]
    except (BenchmarkError, HydraException, OmegaConfBaseException) as error:
        wrong = explained(error)
    except OSError as error:
        wrong = system_fault(error)
    except ValueError as error:
        if (wrong := misread(error, given.overrides)) is None:
            raise
    if wrong is not None:
        told.print(f"Error: {wrong}")
        sys.exit(1)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_WIDTH)
    console.print(plan_table(rows, given.tokens_per_second))
    console.print(_NOTE)
    faults = dict.fromkeys(row.fault for row in rows if row.fault)
    for fault in faults:
        told.print(f"Error: {fault}")
    sys.exit(1 if faults else 0)
