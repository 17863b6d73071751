"""How long a grid takes on several accelerators: event simulations of ways to share its work.

What a cell asks a model for is cut into parts, one per artifact of the store. Several cells may
need the same part, such as the responses to a training split, and it is made once. All times are
hours of one accelerator, from rates of tokens per second that the caller gives.
"""

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """What a cell needs of one artifact.

    Attributes:
        key: name of the artifact; equal names are shared.
        model: name of the model that is asked.
        hours: hours of one accelerator that the part takes.
    """

    key: str
    model: str
    hours: float


Cells = Sequence[Sequence[Part]]  # the parts of each cell, in the order in which a run makes them


def work(cells: Cells) -> dict[str, Part]:
    """Return each part once, by key; of parts of one key the longest, which contains the others."""
    parts: dict[str, Part] = {}
    for part in (part for cell in cells for part in cell):
        if part.hours > 0 and (part.key not in parts or part.hours > parts[part.key].hours):
            parts[part.key] = part
    return parts


def ideal(cells: Cells, accelerators: int) -> float:
    """Return the hours of all work spread evenly over the accelerators, which nothing can beat."""
    return sum(part.hours for part in work(cells).values()) / accelerators


def locked_cells(cells: Cells, accelerators: int, start: float) -> float:
    """Return the makespan in hours where each cell is a job that locks what it makes.

    A job holds its accelerator from its start to its end. A part that another job is making is
    waited for; one that is there already takes no time.

    Args:
        cells: parts of each cell; the jobs start in this order.
        accelerators: number of jobs that run at once.
        start: hours that a job needs before its first and behind its last reply.

    Examples:
        >>> shared = [Part("train", "m", 2.0)]
        >>> locked_cells([[*shared, Part("a", "m", 1.0)], [*shared, Part("b", "m", 1.0)]], 2, 0.0)
        3.0
    """
    made: dict[str, float] = {}  # hours of each part that are made, or being made
    free_at: dict[str, float] = {}  # when the lock of a part is released
    waiting = deque(cells)
    jobs = [(0.0, number, deque[Part]()) for number in range(accelerators)]
    end = 0.0
    while jobs:
        now, number, left = heapq.heappop(jobs)
        if not left and not waiting:
            end = max(end, now)
        elif not left:
            heapq.heappush(jobs, (now + start, number, deque(waiting.popleft())))
        elif free_at.get(left[0].key, 0.0) > now:
            heapq.heappush(jobs, (free_at[left[0].key], number, left))
        else:
            part = left.popleft()
            missing = max(0.0, part.hours - made.get(part.key, 0.0))
            made[part.key] = max(part.hours, made.get(part.key, 0.0))
            free_at[part.key] = now + missing
            heapq.heappush(jobs, (now + missing, number, left))
    return end


def sharded_parts(cells: Cells, accelerators: int, start: float, shard: float = 2.0) -> float:
    """Return the makespan in hours where each model's work is cut into shards, each a job.

    The graph of jobs: shards wait for nothing and run longest first; a small one holds several
    parts. Cells are evaluated behind them, without an accelerator, which isn't counted here.

    Args:
        cells: parts of each cell.
        accelerators: number of jobs that run at once.
        start: hours that each job needs beside its work.
        shard: longest work of a job, in hours.
    """
    jobs = []
    for hours in _hours_by_model(cells).values():
        pieces = math.ceil(hours / shard)
        jobs += [start + hours / pieces] * pieces
    busy = [0.0] * accelerators
    for hours in sorted(jobs, reverse=True):
        heapq.heapreplace(busy, busy[0] + hours)
    return max(busy)


def claimed_by_cells(cells: Cells, accelerators: int, start: float, claim: float = 0.1) -> float:
    """Return the makespan in hours where the jobs of cells claim ranges of what they need.

    As `locked_cells`, but any number of jobs make one part at once, each a range of its questions;
    a job whose parts are all claimed ends, and its cell is evaluated later.

    Args:
        cells: parts of each cell; the jobs start in this order.
        accelerators: number of jobs that run at once.
        start: hours that a job needs beside its work.
        claim: work of a range, in hours.
    """
    left = {key: part.hours for key, part in work(cells).items()}
    waiting = deque(cells)

    def next_range(mine: Sequence[Part]) -> float:
        for part in mine:
            if left.get(part.key, 0.0) > 0:
                return _claimed(left, part.key, claim)
        return 0.0

    jobs: list[tuple[float, int, Sequence[Part]]] = [(0.0, n, ()) for n in range(accelerators)]
    end = 0.0
    while jobs:
        now, number, mine = heapq.heappop(jobs)
        end = max(end, now)
        taken = next_range(mine)
        if taken:
            heapq.heappush(jobs, (now + taken, number, mine))
        elif waiting:
            mine = waiting.popleft()
            if any(left.get(part.key, 0.0) > 0 for part in mine):
                heapq.heappush(jobs, (now + start, number, mine))
            else:  # nothing of it is to be made any more, so the job needs no accelerator
                heapq.heappush(jobs, (now, number, ()))
    return end


def claimed_by_workers(cells: Cells, accelerators: int, start: float, claim: float = 0.1) -> float:
    """Return the makespan in hours where workers claim ranges of whatever the grid still needs.

    A worker keeps its model as long as there is work for it, then takes the model that has the
    most work left for each of its workers, and starts anew. Cells are evaluated without an
    accelerator.

    Args:
        cells: parts of each cell.
        accelerators: number of workers.
        start: hours that a worker needs to load a model and to drain its last replies.
        claim: work of a range, in hours.
    """
    left = _hours_by_model(cells)
    models: dict[int, str] = {}
    busy = [(0.0, number) for number in range(accelerators)]
    end = 0.0
    while busy:
        now, number = heapq.heappop(busy)
        end = max(end, now)
        if left.get(models.get(number, ""), 0.0) > 0:
            heapq.heappush(busy, (now + _claimed(left, models[number], claim), number))
            continue
        models.pop(number, None)
        at_work = Counter(models.values())
        share = {model: hours / (1 + at_work[model]) for model, hours in left.items()}
        best = max(share, key=lambda model: share[model], default="")
        # Loading a model pays only where its other workers would not be done before.
        if left.get(best, 0.0) > start * at_work[best]:
            models[number] = best
            heapq.heappush(busy, (now + start, number))
    return end


def _hours_by_model(cells: Cells) -> dict[str, float]:
    hours: dict[str, float] = {}
    for part in work(cells).values():
        hours[part.model] = hours.get(part.model, 0.0) + part.hours
    return hours


def _claimed(left: dict[str, float], key: str, claim: float) -> float:
    """Take a range from what is left of a key, and return its hours."""
    taken = left[key] if left[key] < 1.5 * claim else claim
    left[key] -= taken
    return taken


SCHEMES: Mapping[str, Callable[[Cells, int, float], float]] = {
    "cells that lock": locked_cells,
    "cells that claim ranges": claimed_by_cells,
    "shards as jobs": sharded_parts,
    "workers that claim ranges": claimed_by_workers,
}
