"""An estimator from outside that asks the model: it is kept, resumed and planned as our own are."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from benchmark.cell.asked import Asked
from benchmark.cell.cell import Cell
from benchmark.cell.stages import SAMPLED
from benchmark.config.composing import compose_jobs
from benchmark.engines import ChoiceProbabilities
from benchmark.errors import DataError
from benchmark.estimators import Estimator
from benchmark.estimators.baselines import Random, without_cost
from benchmark.estimators.recalibrated import Recalibrated
from benchmark.records import Estimate
from benchmark.runs import plan
from benchmark.store.artifact import read_manifest
from benchmark.store.rows import table_rows
from tests.estimators.planted_cell import planted_cell
from tests.interpreters import interpreters

HARD = table_rows(
    pl.Schema({"question_id": pl.String(), "prompt_hash": pl.String(), "hard": pl.Float64()}),
    "questions",
)


class Difficulty(Estimator):
    """Asks whether a question is hard."""

    def __init__(self, word: str = "Hard") -> None:
        self.word = word

    def requests(self, cell, role="evaluation"):
        prompts = {key: f"{self.word}? {prompt}" for key, prompt in cell.prompts(role).items()}
        artifact = cell.artifact(role, "difficulty", {"choices": ["Yes", "No"]})
        return [Asked("difficulty", artifact, HARD, prompts)]

    def estimate(self, cell, role="evaluation") -> Estimate:
        def ask(prompts):
            choices = ["Yes", "No"]
            requests = cell.requests(prompts)
            for key, answer in cell.engine.choice_probabilities(requests, choices, cell.decoding()):
                made = {"question_id": key, "hard": answer.probabilities.get("Yes")}
                yield made if answer.error is None else None

        (asked,) = self.requests(cell, role)
        found = cell.ask(asked, ask, "Difficulty").drop_nulls("hard")
        return Estimate(without_cost(found.select("question_id", confidence=1 - pl.col("hard"))))


class Failing:
    """Answers as ``engine`` does until its patience ends; ``when_tired`` says how that shows."""

    def __init__(self, engine, patience, when_tired):
        self._engine, self._patience, self._when_tired = engine, patience, when_tired
        self.identity, self.precisions, self.settings = engine.identity, {}, {"batch": 8}
        self.asked: Counter[str] = Counter()

    def choice_probabilities(self, requests, choices, decoding):
        for request in requests:
            if self.asked.total() >= self._patience:
                yield request.question_id, self._when_tired()
                continue
            self.asked[request.prompt] += 1
            yield from self._engine.choice_probabilities([request], choices, decoding)


def give_up() -> ChoiceProbabilities:
    raise DataError("no more")


def failed() -> ChoiceProbabilities:
    return ChoiceProbabilities({}, None, None, "overloaded")


@pytest.fixture
def planted(tmp_path):
    return planted_cell(tmp_path)


def again(planted: Cell, engine) -> Cell:
    """Return the cell as another run has it, which knows what the store has."""
    return Cell(planted.config, planted.questions, engine, planted._store, planted.console, SAMPLED)


@pytest.mark.parametrize("patience", [0, 1, 37, 59])
def test_what_came_before_a_fault_is_not_asked_again(planted, patience):
    first = Failing(planted.engine, patience, give_up)
    with pytest.raises(DataError, match="no more"):
        Difficulty().estimate(again(planted, first))
    second = Failing(planted.engine, 1000, give_up)
    confidences = Difficulty().estimate(again(planted, second)).confidences
    assert confidences.height == 60
    assert (first.asked.total(), second.asked.total()) == (patience, 60 - patience)
    assert not first.asked & second.asked
    nobody = again(planted, Failing(planted.engine, 0, give_up))
    assert Difficulty().estimate(nobody).confidences.equals(confidences)


def test_requests_that_failed_are_asked_again_and_the_others_are_not(planted):
    first = Failing(planted.engine, 25, failed)
    assert Difficulty().estimate(again(planted, first)).confidences.height == 25
    second = Failing(planted.engine, 1000, give_up)
    assert Difficulty().estimate(again(planted, second)).confidences.height == 60
    assert not first.asked & second.asked


def test_another_wording_is_asked_and_neither_forgotten(planted):
    for word, asked in (("Hard", 60), ("Tough", 60), ("Hard", 0)):
        counted = Failing(planted.engine, 1000, give_up)
        Difficulty(word).estimate(again(planted, counted))
        assert counted.asked.total() == asked


def test_the_manifest_says_what_there_is_and_how_the_engine_ran(planted, tmp_path):
    Difficulty().estimate(again(planted, Failing(planted.engine, 1000, give_up)))
    (folder,) = tmp_path.glob("*/basics/test/difficulty-*")
    manifest = read_manifest(folder)
    assert manifest["counts"] == {"questions": 60}
    assert manifest["engine"] == {"batch": 8}
    assert manifest["parts"] == sorted(path.name for path in folder.glob("part-*"))


def test_the_plan_tells_what_an_outside_estimator_will_ask(monkeypatch, tmp_path):
    def row(*estimators: Estimator):
        named = dict(zip("ab", estimators, strict=False))
        monkeypatch.setattr(plan, "build_estimators", lambda *_: named)
        places = [f"paths.outputs={tmp_path}/out", f"paths.cache={tmp_path}/cache"]
        settings = ["dataset=basics", "dataset.limit=30", "dataset.train_limit=20"]
        (job,) = compose_jobs([*places, *settings, "estimator=[random]", "sampling.k=4"])
        return plan.Planner(Console(quiet=True), {}).row(job)

    assert row(Random()).new.requests == 30
    assert row(Difficulty()).new.requests == 30 + 30
    assert row(Difficulty()).new.output_tokens == row(Random()).new.output_tokens + 30
    assert row(Difficulty(), Difficulty()).new.requests == 30 + 30
    assert row(Difficulty(), Difficulty("Tough")).new.requests == 30 + 60
    curve = Recalibrated(method="isotonic", base=Difficulty())
    assert row(curve).new.requests == 30 + 20 + 30 + 20


SLOW = """
import sys, time
from pathlib import Path
from benchmark.store import rows
from tests.estimators.planted_cell import planted_cell
from tests.estimators.test_outside import Difficulty

rows._PART_ROWS = 5
cell = planted_cell(Path(sys.argv[1]))
answer = cell.engine.choice_probabilities

def logged(requests, choices, decoding):
    for request in requests:
        with open(sys.argv[2], "a") as log:
            print(request.question_id, file=log)
        time.sleep(float(sys.argv[3]))
        yield from answer([request], choices, decoding)

cell.engine.choice_probabilities = logged
Difficulty().estimate(cell)
"""


def test_a_killed_run_asks_again_for_the_part_in_flight_only(tmp_path: Path) -> None:
    log, store = tmp_path / "log", tmp_path / "store"
    (tmp_path / "interpreters").mkdir()
    with interpreters(tmp_path / "interpreters") as python:
        process = python(SLOW, str(store), str(log), "0.05")
        deadline = time.monotonic() + 100
        while not log.exists() or len(log.read_text().split()) < 23:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.output
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        (folder,) = store.glob("*/basics/test/difficulty-*")
        parts = [pl.read_parquet(part) for part in folder.glob("part-*")]
        kept = pl.concat(parts)["question_id"].to_list()
        assert len(kept) >= 20
        assert python(SLOW, str(store), str(log), "0").wait() == 0
    asked = Counter(log.read_text().split())
    assert len(asked) == 60
    assert max(asked[key] for key in kept) == 1
    assert asked.total() - 60 <= 5
