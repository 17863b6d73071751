"""The sampling loop: prompts prefilled once, equal prefixes computed once, rows kept full.

A row of the batch stands for all samples of one question that have drawn the same tokens so far.
Each step computes a row's next-token distribution once and draws from it once per sample; where the
tokens differ, the row splits. This changes no distribution. Samples leave at the end-of-turn token,
rows leave with their last sample, and new prompts take the room.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch

from benchmark.engines import Decoding
from benchmark.engines.packed import KVCache, Pack
from benchmark.engines.tokens import draw_tokens, penalised

_SPLIT_ALLOWANCE = 4  # live samples per row that the batch aims at; bounds rows after all splits
_LOGIT_ROWS = 128  # fresh memory for the logits of all rows would cost more than to compute them


class Job(NamedTuple):
    """One prompt, without the common prefix, and the seeds of the samples wanted of it.

    ``whole`` is the prompt with that prefix, which the repetition penalty counts.
    """

    key: int
    prompt: list[int]
    seeds: Sequence[int]
    whole: Sequence[int] = ()


class Finished(NamedTuple):
    """One sample: its tokens, end-of-turn token included, and whether that token was reached."""

    key: int
    sample: int
    tokens: list[int]
    stopped: bool


class PackedModel(Protocol):
    """A causal model, in two steps so that logits of many rows need not exist at once."""

    def hidden(self, tokens: torch.Tensor, pack: Pack) -> torch.Tensor:
        """Return the final hidden states [N, D] of a pack's tokens [1, N]."""

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the next-token logits [R, V] behind hidden states [R, D]."""


@dataclass
class _Row:
    """Samples of one job that have drawn the same tokens so far."""

    job: Job
    samples: list[int]
    tokens: list[int] = field(default_factory=list)


def sample_tokens(
    model: PackedModel,
    jobs: Sequence[Job],
    decoding: Decoding,
    end_tokens: frozenset[int],
    *,
    max_rows: int,
    token_budget: int,
    device: torch.device,
    prefix: KVCache | None = None,
) -> Iterator[Finished]:
    """Yield every sample of every job once, as it is finished.

    Args:
        model: computes distributions.
        jobs: what to sample; long prompts are taken first.
        decoding: how tokens are drawn.
        end_tokens: ids that end a response.
        max_rows: rows the batch aims at; 4 times as many samples may be live, so that rows never
            exceed that, and a job with more samples than that is taken in parts.
        token_budget: prompt tokens prefilled in one step, at least one prompt.
        device: of the model.
        prefix: keys and values of what every prompt begins with.
    """
    batch = _Batch(decoding, end_tokens, device, prefix)
    for_admission = deque(
        part
        for job in sorted(jobs, key=lambda job: -len(job.prompt))
        for part in _parts(job, max_rows * _SPLIT_ALLOWANCE)
    )
    while for_admission or batch.rows:
        admitted: list[tuple[Job, list[int]]] = []
        tokens = 0
        live = batch.live_samples
        while for_admission:
            job, samples = for_admission[0]
            live += len(samples)
            tokens += len(job.prompt)
            if (batch.rows or admitted) and (
                len(batch.rows) + len(admitted) >= max_rows
                or live > max_rows * _SPLIT_ALLOWANCE
                or (admitted and tokens > token_budget)
            ):
                break
            admitted.append(for_admission.popleft())
        yield from batch.step(model, admitted)


def _parts(job: Job, size: int) -> Iterator[tuple[Job, list[int]]]:
    for start in range(0, len(job.seeds), size):
        yield job, list(range(start, min(start + size, len(job.seeds))))


class _Batch:
    """The running rows; row i of ``rows`` is row i of the cache."""

    def __init__(
        self,
        decoding: Decoding,
        end_tokens: frozenset[int],
        device: torch.device,
        prefix: KVCache | None,
    ) -> None:
        self.rows: list[_Row] = []
        self._decoding = decoding
        self._end_tokens = end_tokens
        self._device = device
        self._prefix = prefix
        self._cache = KVCache()
        self._streams: dict[tuple[int, int], np.random.Generator] = {}

    @property
    def live_samples(self) -> int:
        return sum(len(row.samples) for row in self.rows)

    def step(self, model: PackedModel, admitted: list[tuple[Job, list[int]]]) -> Iterator[Finished]:
        """Run one pass over all rows and the admitted prompts, and draw one token per sample."""
        running = len(self.rows)
        prompts = [job.prompt for job, _ in admitted]
        tokens = [row.tokens[-1] for row in self.rows] + [t for prompt in prompts for t in prompt]
        for job, samples in admitted:
            self.rows.append(_Row(job, samples))
            for sample in samples:
                stream = np.random.Generator(np.random.Philox(key=job.seeds[sample]))
                self._streams[job.key, sample] = stream
        lengths = [len(prompt) for prompt in prompts]
        pack = Pack(running, lengths, self._cache, self._device, self._prefix)
        longest = max(len(row.job.prompt) + len(row.tokens) for row in self.rows)
        self._cache.reserve(len(self.rows), pack.prefix_length + longest)
        hidden = model.hidden(torch.tensor([tokens], device=self._device), pack)[pack.ends]
        self._cache.lengths[:running] += 1
        new = pack.prefix_length + torch.tensor(lengths, dtype=torch.long)
        self._cache.lengths[running : len(self.rows)] = new
        uniform, drawn = self._uniform(), []
        for start in range(0, len(self.rows), _LOGIT_ROWS):
            part = slice(start, start + _LOGIT_ROWS)
            logits = self._penalised(model.logits(hidden[part]), self.rows[part])
            drawn += draw_tokens(logits, uniform[part], self._decoding).tolist()
        yield from self._split(drawn)

    def _penalised(self, logits: torch.Tensor, rows: list[_Row]) -> torch.Tensor:
        prompts = [row.job.whole or row.job.prompt for row in rows]
        return penalised(logits, prompts, [row.tokens for row in rows], self._decoding)

    def _uniform(self) -> torch.Tensor:
        """Return one number per row and sample [R, S]; places beyond a row's samples are unused."""
        uniform = np.zeros((len(self.rows), max(len(row.samples) for row in self.rows)))
        for place, row in zip(uniform, self.rows, strict=True):
            for i, sample in enumerate(row.samples):
                place[i] = self._streams[row.job.key, sample].random()
        return torch.from_numpy(uniform).to(self._device)

    def _split(self, drawn: list[list[int]]) -> Iterator[Finished]:
        """Give each row's samples their tokens; rows whose samples differ split."""
        kept: list[tuple[int, _Row]] = []
        for index, (row, tokens) in enumerate(zip(self.rows, drawn, strict=True)):
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
        """Make ``kept`` (old index, row) the rows 0, 1, .., copying as little as can be."""
        rows: list[_Row | None] = [None] * len(kept)
        moving: list[tuple[int, _Row]] = []
        for source, row in kept:
            if source < len(rows) and rows[source] is None:
                rows[source] = row
            else:
                moving.append((source, row))
        free = [index for index, row in enumerate(rows) if row is None]
        for target, (_, row) in zip(free, moving, strict=True):
            rows[target] = row
        self._cache.reserve(len(kept), 0)
        self._cache.copy([source for source, _ in moving], free)
        self.rows = [row for row in rows if row is not None]
