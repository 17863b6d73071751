"""What a cell asks the model for, told from its configuration, its questions and the store.

The estimators ask for it when they run (stage 5); here it is known before a model is loaded, for
``plan``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, cast

import polars as pl

from benchmark.cell.cell import TRAINING, Cell
from benchmark.config.schema import Role, TrainingConfig
from benchmark.estimators import Estimator
from benchmark.estimators.asking import fill_prompts
from benchmark.estimators.average import Average
from benchmark.estimators.p_true import PROBABILITIES, PTrue
from benchmark.estimators.probe import Probe
from benchmark.estimators.recalibrated import Recalibrated
from benchmark.estimators.verbalized import Verbalized
from benchmark.sampling.responses import RESPONSES, SAMPLE
from benchmark.store.artifact import Artifact
from benchmark.store.hidden_states import HIDDEN_STATES

Kind = Literal["responses", "verbalized", "p_true", "hidden states"]
Other = Callable[[Cell, TrainingConfig], Cell]

REPORTED = Path(__file__).parents[1] / "report" / "reported_tokens.csv"


class Asked(NamedTuple):
    """What is asked for, of one kind and split.

    Attributes:
        kind: of replies as in ``REPORTED``, or hidden states.
        dataset: whose questions it is about.
        artifact: where it is kept.
        prompts: user turn by key.
        k: replies to each prompt.
        cap: most tokens of a reply.
    """

    kind: Kind
    dataset: str
    artifact: Artifact
    prompts: Mapping[str, str]
    k: int
    cap: int


def asked(cell: Cell, estimators: Iterable[Estimator], other: Other) -> Iterator[Asked]:
    """Yield everything that a cell asks for; estimators may ask for the same.

    Args:
        cell: with the questions of all splits that it needs.
        estimators: of the cell.
        other: returns the cell of another dataset, as ``Cell.other``.
    """
    for role in cell.questions:
        yield _responses(cell, role)
    for estimator in estimators:
        yield from _asked_by(estimator, cell, "evaluation", other)


def _asked_by(estimator: Estimator, cell: Cell, role: Role, other: Other) -> Iterator[Asked]:
    """Yield what an estimator asks for beside the responses to the cell's questions."""
    match estimator:
        case Recalibrated():
            for part in (role, estimator.fitted_on):
                yield from _asked_by(estimator.base, cell, part, other)
        case Average():
            for member in estimator.of.values():
                yield from _asked_by(member, cell, role, other)
        case Verbalized():
            decoding = cell.decoding(estimator.max_new_tokens)
            artifact = cell.responses_artifact(role, "verbalized", decoding)
            prompts = _prompts(
                estimator.prompt, cell, role, estimator.responses, estimator.examples
            )
            yield _of(cell, "verbalized", artifact, prompts, 1, decoding.max_new_tokens)
        case PTrue():
            prompts = _prompts(estimator.prompt, cell, role, estimator.responses)
            cap = 1 if cell.config.model.reasoning == "none" else cell.decoding().max_new_tokens
            yield _of(cell, "p_true", estimator.artifact(cell, role), prompts, 1, cap)
        case Probe():
            for training in estimator.train_on.values():
                source = other(cell, training)
                yield from (_responses(source, part) for part in TRAINING)
                yield from (_hidden_states(source, part) for part in TRAINING)
            own: tuple[Role, ...] = () if estimator.train_on else TRAINING
            yield from (_hidden_states(cell, part) for part in (role, *own))


def _of(
    cell: Cell, kind: Kind, artifact: Artifact, prompts: Mapping[str, str], k: int, cap: int
) -> Asked:
    return Asked(kind, cell.config.dataset.name, artifact, prompts, k, cap)


def _responses(cell: Cell, role: Role) -> Asked:
    sampling, decoding = cell.config.sampling, cell.decoding()
    k = sampling.k if role == "evaluation" else sampling.k_train
    if role == "evaluation" and sampling.stopping is not None:  # the most that it may take
        k = sampling.stopping.k_max
    artifact = cell.responses_artifact(role, "responses", decoding)
    return _of(cell, "responses", artifact, cell.prompts(role), k, decoding.max_new_tokens)


def _hidden_states(cell: Cell, role: Role) -> Asked:
    return _of(cell, "hidden states", cell.features_artifact(role), cell.prompts(role), 1, 0)


def _prompts(
    template: str, cell: Cell, role: Role, responses: int, examples: int = 0
) -> dict[str, str]:
    """Return prompts that ask about questions.

    Those that show responses or examples are known only once these are sampled, so that none of
    them is found in the store: the template stands for them.
    """
    if not responses and not examples:
        return fill_prompts(template, cell, role, 0)
    bare = cell.questions[role]["question_id", "question"]
    return {
        f"{key} {index}": template + question
        for key, question in bare.iter_rows()
        for index in range(max(1, responses))
    }


def stored(wanted: Asked) -> tuple[pl.DataFrame, float | None]:
    """Return the columns ``SAMPLE`` of what the store has, and the mean tokens of a reply in it."""
    if not wanted.artifact.folder.is_dir():
        return pl.DataFrame(
            schema={**dict.fromkeys(SAMPLE, pl.String()), SAMPLE[2]: pl.Int64()}
        ), None
    rows = {"hidden states": HIDDEN_STATES, "p_true": PROBABILITIES}.get(wanted.kind, RESPONSES)
    table = rows.read(wanted.artifact).filter(rows.done)
    if "sample_index" not in table.columns:
        table = table.with_columns(sample_index=pl.lit(0, pl.Int64))
    if "completion_tokens" not in table.columns:
        return table.select(SAMPLE), None
    return table.select(SAMPLE), cast("float | None", table["completion_tokens"].mean())


def mean_length(wanted: Asked, model: str, seen: float | None) -> tuple[float, str]:
    """Return the mean tokens of a reply, and where that comes from.

    It is that of the stored replies, where there are any; else the paper's, where it reports this
    model, dataset and kind; else the cap, which for a cap of one token is no estimate.

    Args:
        wanted: the replies.
        model: its name.
        seen: mean of those in the store, if any.
    """
    if seen is not None:
        return seen, "stored"
    reported = _reported().get((model, wanted.dataset, wanted.kind))
    if reported is None or wanted.cap == 1:
        return wanted.cap, "" if wanted.cap == 1 else "cap"
    return min(reported, wanted.cap), "paper"


@cache
def _reported() -> dict[tuple[str, str, str], float]:
    table = pl.read_csv(REPORTED, glob=False)
    return {
        (m, d, r): t for m, d, r, t in table["model", "dataset", "replies", "tokens"].iter_rows()
    }
