"""What a cell or a grid takes, before anything is spent.

The cells are composed as they would be run, their questions are read, and the store is asked what
it has. No model is loaded.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Never

import polars as pl
from omegaconf import DictConfig
from rich.console import Console

from benchmark.cell.asked import HIDDEN, Asked
from benchmark.cell.cell import Cell, KnownModel, Split, Stages
from benchmark.cell.finished import is_finished
from benchmark.cell.key import cell_artifact, engine_identity, has_cells, outputs_of
from benchmark.config.checks import checked
from benchmark.config.schema import Config, DatasetConfig, Role
from benchmark.engines.construction import engine_config
from benchmark.engines.settings import ServerConfig, layer_step
from benchmark.engines.weights import find_weights
from benchmark.errors import BenchmarkError
from benchmark.estimators import build_estimators, check_splits, needed_roles
from benchmark.questions import load_splits
from benchmark.records import CAPABILITY, DISAGREEMENT, GRADE, RESPONSE
from benchmark.runs.lengths import mean_length, stored
from benchmark.runs.rates import Rate
from benchmark.runs.schedule import Part
from benchmark.sampling.responses import SAMPLE, wanted_samples
from benchmark.store.artifact import Store, fingerprint

_CHARACTERS_PER_TOKEN = 4  # roughly, of English text
_REPLY_BYTES = 60  # of a reply in the store, beside its text
_TOKEN_BYTES = 1.5  # of a token in the store, whose text is compressed
_PROCESS_BYTES = 0.7e9  # of memory that a run needs without replies
_REPLY_MEMORY = 1000  # bytes of a reply in memory, beside its text
_TOKEN_MEMORY = 8  # bytes of a token in memory: its text, and once more while it is graded


class Amount(NamedTuple):
    """What a model is asked for.

    Attributes:
        requests: number of requests for replies.
        prompt_tokens: estimated tokens of their prompts.
        replies: number of replies.
        output_tokens: estimated tokens of the replies.
        hidden_states: number of prompts whose hidden states are read.
        hidden_tokens: estimated tokens of these prompts.
    """

    requests: float = 0
    prompt_tokens: float = 0
    replies: float = 0
    output_tokens: float = 0
    hidden_states: float = 0
    hidden_tokens: float = 0

    def plus(self, other: "Amount") -> "Amount":
        """Return both together."""
        return Amount(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def hours(self, rate: Rate) -> float:
        """Return how long one accelerator takes for it."""
        return rate.hours(self.prompt_tokens + self.hidden_tokens, self.output_tokens)

    def disk(self, state_bytes: float | None) -> float | None:
        """Return by how many bytes the store grows; None where the states' size is unknown."""
        replies = self.replies * _REPLY_BYTES + self.output_tokens * _TOKEN_BYTES
        if not self.hidden_states:
            return replies
        return None if state_bytes is None else replies + self.hidden_states * state_bytes


class Row(NamedTuple):
    """What the store has of a cell, and what the cell still takes.

    Attributes:
        model: name of the model.
        dataset: name of the dataset.
        questions: number of questions that are evaluated.
        stored: number of replies that the store has already.
        wanted: number of replies that the cell is made from.
        new: what is missing, without what a cell before this one asks for.
        rate: speed of the model; None where it is unknown.
        state_bytes: size in bytes of the hidden states of a prompt; None where it is unknown.
        parts: accelerator time for what is missing of each artifact, whether or not a cell before
            this one makes it; empty where the rate is unknown.
        memory: estimated bytes of memory that a run of the cell needs, without its model.
        lengths: sources of the mean lengths of replies.
        finished: whether nothing is left to do.
        fault: reason why nothing is known; empty where all is well.
    """

    model: str
    dataset: str
    questions: int = 0
    stored: int = 0
    wanted: int = 0
    new: Amount = Amount()
    rate: Rate | None = None
    state_bytes: float | None = None
    parts: tuple[Part, ...] = ()
    memory: float = 0
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
        rates: rates by name of the model.
    """

    def __init__(self, console: Console, rates: Mapping[str, Rate]) -> None:
        self._console, self._rates = console, rates
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
        engine, rate = engine_config(config.engine), self._rates.get(row.model)
        reader = config.engine.get("in_process") or config.engine  # of hidden states
        number_bytes = 4 if reader.get("dtype") == "float32" else 2  # auto is mostly bfloat16
        row = row._replace(
            questions=cell.questions["evaluation"].height,
            rate=rate,
            state_bytes=rate and rate.state_bytes(layer_step(config.engine), number_bytes),
            memory=_PROCESS_BYTES,
        )
        per_request = (
            engine.samples_per_request if isinstance(engine, ServerConfig) else sys.maxsize
        )
        known: dict[Path, pl.DataFrame] = {}
        asked = [cell.responses(role) for role in cell.questions]
        asked += [a for estimator in estimators.values() for a in estimator.requests(cell)]
        for wanted in asked:
            every = _new(wanted_samples(wanted.prompts, wanted.k), wanted, known)
            row = self._add(row, wanted, every, per_request)
        return row._replace(parts=_added_up(row.parts))

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
            length = 0.0
        else:
            length, source = mean_length(wanted, row.model, seen)
            told = [source] if source and new.height else []
            row = row._replace(
                stored=row.stored + every.height - missing.height,
                wanted=row.wanted + every.height,
                memory=row.memory + every.height * (_REPLY_MEMORY + _TOKEN_MEMORY * length),
                lengths=tuple(dict.fromkeys([*row.lengths, *told])),
            )
        asked, lacking = (_amount(wanted, rows, length, per_request) for rows in (new, missing))
        if row.rate is not None:
            part = Part(str(wanted.artifact.folder), row.model, lacking.hours(row.rate))
            row = row._replace(parts=(*row.parts, part))
        return row._replace(new=row.new.plus(asked))


def _added_up(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the parts of one cell, those of one artifact together."""
    sums: dict[str, Part] = {}
    for part in parts:
        hours = part.hours + (sums[part.key].hours if part.key in sums else 0.0)
        sums[part.key] = part._replace(hours=hours)
    return tuple(sums.values())


def _amount(wanted: Asked, samples: pl.DataFrame, length: float, per_request: int) -> Amount:
    """Return what some of the wanted samples take, whose replies have a mean length in tokens."""
    times = dict(samples.group_by("question_id").len().iter_rows())
    if wanted.kind == HIDDEN:
        tokens = sum(len(wanted.prompts[key]) for key in times) / _CHARACTERS_PER_TOKEN
        return Amount(hidden_states=samples.height, hidden_tokens=tokens)
    requests = {key: math.ceil(count / per_request) for key, count in times.items()}
    characters = sum(len(wanted.prompts[key]) * count for key, count in requests.items())
    return Amount(
        requests=sum(requests.values()),
        prompt_tokens=characters / _CHARACTERS_PER_TOKEN,
        replies=samples.height,
        output_tokens=length * samples.height,
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
