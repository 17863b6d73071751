"""The sampling loop: prompts prefilled once, equal prefixes computed once, rows kept full.

A row of the batch stands for all samples of one question that have drawn the same tokens so far.
Each step computes a row's next-token distribution once and draws from it once per sample; where the
tokens differ, the row splits. This changes no distribution. Samples leave at the end-of-turn token,
rows leave with their last sample, and new prompts take the room.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from benchmark.engines import Decoding
from benchmark.engines.in_process.draw_tokens import draw_tokens, penalised
from benchmark.engines.in_process.forward import Forward

_SPLIT_ALLOWANCE = 4  # samples per row that may be live: each may become a row of its own
_DRAWN_ROWS = 128  # rows that are drawn at once: gigabytes would be needed for all of them


class Job(NamedTuple):
    """One prompt and the seeds of the samples wanted of it."""

    key: int
    prompt: list[int]
    seeds: Sequence[int]


class Finished(NamedTuple):
    """One sample: its tokens, end-of-turn token included, and how it ended.

    Attributes:
        key: of its job.
        sample: place of its seed among the job's.
        tokens: drawn so far.
        stopped: whether the end-of-turn token was reached.
        broken: whether the logits behind the tokens were not numbers to draw from.
    """

    key: int
    sample: int
    tokens: list[int]
    stopped: bool
    broken: bool = False


@dataclass
class _Row:
    """Samples of one job that have drawn the same tokens so far."""

    job: Job
    samples: list[int]
    tokens: list[int] = field(default_factory=list)


def sample_tokens(
    forward: Forward,
    jobs: Sequence[Job],
    decoding: Decoding,
    end_tokens: frozenset[int],
    *,
    max_rows: int,
    token_budget: int,
) -> Iterator[Finished]:
    """Yield every sample of every job once, as it is finished.

    Args:
        forward: computes distributions; it was made for the prompts of these jobs.
        jobs: what to sample; long prompts are taken first.
        decoding: how tokens are drawn.
        end_tokens: ids that end a response.
        max_rows: rows the batch aims at; 4 times as many samples may be live, so that rows never
            exceed that, and a job with more samples than that is taken in parts.
        token_budget: prompt tokens prefilled in one step, at least one prompt.
    """
    batch = _Batch(forward, decoding, end_tokens)
    most = max_rows * _SPLIT_ALLOWANCE
    for_admission = deque(
        (job, [*range(len(job.seeds))[start : start + most]])
        for job in sorted(jobs, key=lambda job: -len(job.prompt))
        for start in range(0, len(job.seeds), most)
    )
    while for_admission or batch.rows:
        admitted: list[tuple[Job, list[int]]] = []
        tokens = 0
        live = sum(len(row.samples) for row in batch.rows)
        while for_admission:
            job, samples = for_admission[0]
            live += len(samples)
            tokens += len(job.prompt) - forward.shared
            if (batch.rows or admitted) and (
                len(batch.rows) + len(admitted) >= max_rows
                or live > most
                or (admitted and (tokens > token_budget or not forward.together))
                or (batch.rows and not forward.joins)
            ):
                break
            admitted.append(for_admission.popleft())
        yield from batch.step(admitted)


class _Batch:
    """The running rows; row i of ``rows`` is row i of the forward pass."""

    def __init__(self, forward: Forward, decoding: Decoding, end_tokens: frozenset[int]) -> None:
        self.rows: list[_Row] = []
        self._forward = forward
        self._decoding = decoding
        self._end_tokens = end_tokens
        self._streams: dict[tuple[int, int], np.random.Generator] = {}

    def step(self, admitted: list[tuple[Job, list[int]]]) -> Iterator[Finished]:
        """Run one pass over all rows and the admitted prompts, and draw one token per sample."""
        newest = [row.tokens[-1] for row in self.rows]
        for job, samples in admitted:
            self.rows.append(_Row(job, samples))
            for sample in samples:
                stream = np.random.Generator(np.random.Philox(key=job.seeds[sample]))
                self._streams[job.key, sample] = stream
        logits = self._forward.step(newest, [job.prompt for job, _ in admitted])
        uniform, drawn = self._uniform().to(logits.device), []
        for start in range(0, len(self.rows), _DRAWN_ROWS):
            part = slice(start, start + _DRAWN_ROWS)
            rows = self.rows[part]
            prompts, tokens = [row.job.prompt for row in rows], [row.tokens for row in rows]
            some = penalised(logits[part], prompts, tokens, self._decoding)
            drawn += draw_tokens(some, uniform[part], self._decoding).tolist()
        # A row whose largest logit is not a number, or infinite, has no distribution.
        broken = (~logits.amax(-1).isfinite()).tolist()
        if any(broken):
            self._forward.forget([row for row, is_broken in enumerate(broken) if is_broken])
        yield from self._split(drawn, broken)

    def _uniform(self) -> torch.Tensor:
        """Return one number per row and sample [R, S]; places beyond a row's samples are unused."""
        uniform = np.zeros((len(self.rows), max(len(row.samples) for row in self.rows)))
        for place, row in zip(uniform, self.rows, strict=True):
            for i, sample in enumerate(row.samples):
                place[i] = self._streams[row.job.key, sample].random()
        return torch.from_numpy(uniform)

    def _split(self, drawn: list[list[int]], broken: list[bool]) -> Iterator[Finished]:
        """Give each row's samples their tokens; rows whose samples differ split."""
        kept: list[tuple[int, _Row]] = []
        for index, (row, tokens) in enumerate(zip(self.rows, drawn, strict=True)):
            if broken[index]:
                for sample in row.samples:
                    del self._streams[row.job.key, sample]
                    yield Finished(row.job.key, sample, row.tokens, False, broken=True)
                continue
            groups: dict[int, list[int]] = {}
            for sample, token in zip(row.samples, tokens, strict=False):
                groups.setdefault(token, []).append(sample)
            for token, samples in groups.items():
                prefix = [*row.tokens, token]
                stopped = token in self._end_tokens
                if stopped or len(prefix) == self._decoding.max_new_tokens:
                    for sample in samples:
                        del self._streams[row.job.key, sample]
                        yield Finished(row.job.key, sample, prefix, stopped)
                else:
                    kept.append((index, _Row(row.job, samples, prefix)))
        self._place(kept)

    def _place(self, kept: list[tuple[int, _Row]]) -> None:
        """Make ``kept`` (old index, row) the rows 0, 1, ..; as many as can be stay in place."""
        placed: list[tuple[int, _Row] | None] = [None] * len(kept)
        moving: list[tuple[int, _Row]] = []
        for source, row in kept:
            if source < len(placed) and placed[source] is None:
                placed[source] = source, row
            else:
                moving.append((source, row))
        rest = iter(moving)
        rows = [place or next(rest) for place in placed]
        self.rows = [row for _, row in rows]
        if rows:
            self._forward.arrange([source for source, _ in rows])
