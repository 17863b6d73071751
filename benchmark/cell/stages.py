"""Stages 1 to 4 for a model that is asked, and its hidden states."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial

import polars as pl
import torch
from rich.console import Console

from benchmark.capability.counts import count_outcomes, counted_grades, is_counted
from benchmark.cell.asked import Asked
from benchmark.cell.cell import Cell, Split, Stages
from benchmark.cell.watching import Grade
from benchmark.config.schema import Role
from benchmark.errors import DataError
from benchmark.grading import Answer, Grader, Verdict, build_graders, disagreements, grade
from benchmark.grading.llm_judge import LLMJudge
from benchmark.grading.unread import judge_doubt
from benchmark.grading.verdict import PASSING
from benchmark.probes.features import FeatureSet, check_finite
from benchmark.questions import load_splits
from benchmark.sampling.adaptive import StoppingRule, sample_until_narrow
from benchmark.store.hidden_states import StoredFeatures
from benchmark.store.rows import Row

_SAMPLE = ["question_id", "sample_index"]


class _Judging:
    """Grades a split's responses, remembering verdicts: adaptive sampling asks for them early."""

    def __init__(self, cell: Cell, role: Role) -> None:
        self.graders: dict[str, Grader] = build_graders(cell.config.grading)
        self.first = next(iter(self.graders))
        self._cell, self._role = cell, role
        self._verdicts: dict[str, dict[Answer, Verdict]] = {name: {} for name in self.graders}

    @property
    def so_far(self) -> Grade | None:
        """What grades responses while others are drawn; None where a model would be asked."""
        if isinstance(self.graders[self.first], LLMJudge):
            return None
        return partial(self.grade, self.first, console=Console(quiet=True))

    def grade(
        self, name: str, responses: pl.DataFrame, console: Console | None = None
    ) -> pl.DataFrame:
        """Return one grader's grades, of schema ``GRADE``."""
        grader, questions = self.graders[name], self._cell.questions[self._role]
        kept = self._cell.artifact(self._role, "verdicts", {"grader": grader.identity})
        console, known = console or self._cell.console, self._verdicts[name]
        kept.console = console
        return grade(responses, questions, name, grader, kept, console, known)


def sampled_split(cell: Cell, role: Role) -> Split:
    """Return a split's records, sampled, graded and counted where the store lacks them."""
    judging, asked = _Judging(cell, role), cell.responses(role)
    drawn = _responses(cell, role, asked, judging)
    responses = _answered(cell, drawn, asked)
    # Only evaluation compares the graders; training needs the one that decides.
    graders = judging.graders if role == "evaluation" else [judging.first]
    by_grader = {name: judging.grade(name, responses).sort(_SAMPLE) for name in graders}
    for name in [name for name in by_grader if name != judging.first]:  # no result shows them
        if doubt := judge_doubt(by_grader[name]):
            cell.console.print(f"{name}: {doubt}", style="bold red")
    grades = by_grader[judging.first]
    counted = counted_grades(grades, asdict(cell.config.capability))
    ungraded = sum(
        table.filter(pl.col("reason").is_in(PASSING)).height for table in by_grader.values()
    )
    return Split(
        cell.questions[role], responses, counted, grades.join(counted, on=_SAMPLE, how="anti"),
        disagreements(by_grader, cell.questions[role]), count_outcomes(counted),
        {"responses": asked.artifact.fingerprint},
        drawn.height - responses.height + ungraded,
    )  # fmt: skip


def _responses(cell: Cell, role: Role, asked: Asked, judging: _Judging) -> pl.DataFrame:
    """Return k responses to each question, or as many as adaptive sampling asks for."""
    sampling, decoding = cell.config.sampling, cell.decoding()
    if role != "evaluation" or sampling.stopping is None:
        return cell.sample(asked, decoding, grade=judging.so_far)
    counts = is_counted(asdict(cell.config.capability))

    def count(drawn: pl.DataFrame) -> pl.DataFrame:
        if cell.config.capability.failed == "refuse":  # before more is asked for
            drawn = _answered(cell, drawn, asked)
        done = drawn.filter(pl.col("finish_reason") != "error")
        return judging.grade(judging.first, done).filter(counts)

    rule = StoppingRule(sampling.k, **asdict(sampling.stopping))
    responses = sample_until_narrow(
        cell.sample(asked, decoding, rule.k_min, judging.so_far), rule,
        lambda more: cell.sample(asked, decoding, more, judging.so_far), count,
    )  # fmt: skip
    most = rule.k_max * len(asked.prompts)
    cell.console.print(f"Adaptive sampling: {len(responses):,} responses of at most {most:,}.")
    return responses


def _answered(cell: Cell, responses: pl.DataFrame, asked: Asked) -> pl.DataFrame:
    """Return the responses whose requests succeeded.

    Raises:
        DataError: some failed, and the configuration doesn't leave them out.
    """
    failed = responses.filter(pl.col("finish_reason") == "error")
    if failed.is_empty():
        return responses
    what = (
        f"{failed.height} of {responses.height} responses failed, the first with: "
        f"{failed['error'][0]}"
    )
    if cell.config.capability.failed == "refuse" or failed.height == responses.height:
        raise DataError(
            f"{what}. The others are kept in {asked.artifact.folder}; run again to ask for those "
            f"that are missing, or go on without them with capability.failed=left_out."
        )
    cell.console.print(f"{what}. They are left out; another run asks for them again.")
    return responses.filter(pl.col("finish_reason") != "error")


def read_features(cell: Cell, role: Role) -> FeatureSet:
    """Return the hidden states of a split's prompts with its counts."""
    asked = cell.hidden_states(role)

    def read(prompts: Mapping[str, str]) -> Iterator[Row]:
        _check_same_prompts(cell, role, prompts)
        for key, states in cell.engine.hidden_states(prompts):
            check_finite([key], states[None])  # the store trusts what it holds
            yield {"question_id": key, "states": states}

    places = cell.ask(asked, read, f"Hidden states ({asked.split})")
    counted = cell.split(role).capability.join(places, on="question_id", maintain_order="left")
    return FeatureSet(
        question_ids=counted["question_id"].to_list(),
        features=StoredFeatures(counted),
        n=torch.tensor(counted["n"].to_list()),
        c=torch.tensor(counted["c"].to_list()),
        step=cell.layer_step,
    )


def _check_same_prompts(cell: Cell, role: Role, prompts: Mapping[str, str]) -> None:
    """Refuse to read hidden states of other prompts than responses were sampled from.

    Raises:
        DataError: a server rendered a prompt to another number of tokens than it has here.
    """
    responses = cell.split(role).responses.drop_nulls("prompt_tokens")
    sampled = dict(responses.select("question_id", "prompt_tokens").unique().iter_rows())
    for key, tokens in cell.engine.prompt_tokens(prompts).items():
        if sampled.get(key, tokens) != tokens:
            raise DataError(
                f"The responses to '{key}' were sampled from a prompt of {sampled[key]} "
                f"tokens, which has {tokens} tokens here: the server renders the chat template "
                f"in another way, so that a probe would read another prompt. Give the server "
                f"the model's own template, or sample with engine=transformers."
            )


SAMPLED = Stages(load_splits, sampled_split, read_features)
