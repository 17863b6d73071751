"""The simulations of a grid on several accelerators, on grids whose makespan is known by hand."""

import numpy as np
import pytest

from benchmark.runs.schedule import (
    SCHEMES,
    Part,
    claimed_by_cells,
    claimed_by_workers,
    ideal,
    locked_cells,
    sharded_parts,
    work,
)


def cell(own: float, *shared: float, name: str = "x", model: str = "m") -> list[Part]:
    """A cell of a split of its own, then of training splits that it shares with the others."""
    splits = [Part(f"{model}/train {n}", model, hours) for n, hours in enumerate(shared)]
    return [Part(f"{model}/{name}", model, own), *splits]


def grid(seed: int) -> list[list[Part]]:
    """21 cells of three models and seven datasets, with three training splits per model."""
    rng = np.random.default_rng(seed)
    cells = []
    for model in "abc":
        shared = rng.uniform(1, 30, 3)
        cells += [
            cell(rng.uniform(0.2, 8), *shared, name=str(number), model=model) for number in range(7)
        ]
    return cells


def test_a_part_is_made_once_and_a_longer_one_of_its_name_contains_it() -> None:
    cells = [cell(1, 4, name="a"), cell(2, 6, name="b"), cell(3, 4, name="c")]
    assert sum(part.hours for part in work(cells).values()) == 1 + 2 + 3 + 6
    assert ideal(cells, 4) == 3
    assert locked_cells(cells, 1, 0.0) == pytest.approx(12)


def test_who_waits_behind_a_lock_holds_an_accelerator() -> None:
    cells = [cell(1, 10, name="a"), cell(1, 10, name="b"), cell(5, name="c"), cell(5, name="d")]
    # Two jobs sit out the ten hours of one split; only then do the others start.
    assert locked_cells(cells, 2, 0.0) == 16
    assert locked_cells(cells, 4, 0.0) == 11
    assert claimed_by_cells(cells, 2, 0.0) == pytest.approx(11, abs=0.2)


def test_a_start_is_paid_by_each_job_and_by_a_worker_once() -> None:
    cells = [cell(1, name=name) for name in "abcd"]
    assert locked_cells(cells, 2, 0.5) == 3
    assert sharded_parts(cells, 2, 0.5, shard=1) == 3
    assert claimed_by_cells(cells, 2, 0.5) == pytest.approx(3)
    assert claimed_by_workers(cells, 2, 0.5) == pytest.approx(2.5, abs=0.1)


def test_shards_are_no_longer_than_asked_and_their_work_is_the_part_s() -> None:
    assert sharded_parts([cell(7)], 7, 0.0, shard=1) == 1
    assert sharded_parts([cell(7)], 4, 0.0, shard=2) == pytest.approx(7 / 4)
    assert sharded_parts([cell(7)], 4, 0.0, shard=7) == 7


def test_workers_divide_themselves_among_models_by_their_work() -> None:
    cells = [cell(30, model="a"), cell(10, model="b")]
    assert claimed_by_workers(cells, 4, 0.0) == pytest.approx(10, abs=0.2)
    one_each = [cell(1, model=model) for model in "abcdef"]
    assert claimed_by_workers(one_each, 2, 0.25) == pytest.approx(3 * 1.25)


def test_a_model_is_not_loaded_for_less_than_the_loading_takes() -> None:
    cells = [cell(2.0, model="a"), cell(0.05, model="b")]
    assert claimed_by_workers(cells, 2, 0.1) == pytest.approx(1.175, abs=0.1)
    assert claimed_by_workers([cell(0.05, model="b")], 8, 0.1) == pytest.approx(0.15)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("accelerators", [1, 2, 8, 21, 64])
def test_no_scheme_beats_the_ideal_and_all_of_them_end(seed: int, accelerators: int) -> None:
    cells = grid(seed)
    least = ideal(cells, accelerators)
    for name, makespan in SCHEMES.items():
        assert makespan(cells, accelerators, 0.0) >= least - 1e-9, name
        assert makespan(cells, accelerators, 0.1) >= least - 1e-9, name


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("accelerators", [8, 21])
def test_workers_that_claim_ranges_are_within_a_tenth_of_the_ideal(seed, accelerators) -> None:
    cells = grid(seed)
    assert claimed_by_workers(cells, accelerators, 0.1) < 1.1 * ideal(cells, accelerators)
    assert locked_cells(cells, accelerators, 0.1) > 1.3 * ideal(cells, accelerators)


@pytest.mark.parametrize("makespan", SCHEMES.values(), ids=SCHEMES)
def test_nothing_to_do_takes_no_time(makespan) -> None:
    assert makespan([], 8, 0.0) == 0
    assert makespan([[Part("there", "m", 0.0)]], 8, 0.0) == 0
