"""Stage 1, questions: a dataset's rows become a table of schema ``QUESTION``.

A file in ``conf/dataset`` names the class that loads it, a ``DatasetConfig``. For the Hub that is
``hub.HubDataset``, whose sources each name how a row is read: one small file a dataset. The order
and the limit are the same for all of them and live here.
"""

from collections.abc import Sequence
from hashlib import sha256
from itertools import combinations

import polars as pl

from benchmark.config.schema import DatasetConfig, Role
from benchmark.errors import ConfigError
from benchmark.questions.overlap import refuse_overlap
from benchmark.records import question_table

__all__ = ["load_questions", "load_splits", "order_key", "refuse_overlap"]


def load_splits(config: DatasetConfig, roles: Sequence[Role]) -> dict[Role, pl.DataFrame]:
    """Return the questions of each role's split, sorted by id.

    Raises:
        ConfigError: as ``load_questions``.
        DataError: two of the splits share a question, or nearly share too many, or a row breaks
            its contract.
    """
    limits = {
        "evaluation": config.limit,
        "train": config.train_limit,
        "validation": config.validation_limit,
    }
    tables = {
        role: load_questions(config, config.splits[role], limits[role]).sort("question_id")
        for role in roles
    }
    for first, second in combinations(roles, 2):
        names = (first, second)
        refuse_overlap(tables[first], tables[second], names, config.near_duplicates)
    return tables


def load_questions(config: DatasetConfig, split: str, limit: int | None = None) -> pl.DataFrame:
    """Return questions of one split, in an order that depends on their ids and the seed only.

    Args:
        config: the dataset's configuration.
        split: name of the split in the dataset.
        limit: number of questions, None for all; a larger limit contains a smaller one's questions.

    Returns:
        A table of schema ``QUESTION``.

    Raises:
        ConfigError: the split is unknown, or the limit is not in [1, N].
        DataError: a row breaks the contract of ``Question``.
    """
    questions = config.load(split)
    if limit is not None and not 1 <= limit <= len(questions):
        raise ConfigError(
            f"dataset={config.name}: a limit of {limit} questions on split '{split}', which has "
            f"{len(questions)}; choose 1 to {len(questions)}, or null for all."
        )
    questions.sort(key=lambda q: order_key(config.seed, q.question_id))
    return question_table(questions[:limit])


def order_key(seed: int, question_id: str) -> bytes:
    """Return the key by which questions are sorted before the first ``limit`` are taken."""
    return sha256(f"{seed}/{question_id}".encode()).digest()
