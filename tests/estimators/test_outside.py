"""An estimator from outside that asks the model: what it asked is kept as our own estimators' is."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from benchmark.engines import ChoiceProbabilities
from benchmark.errors import DataError
from benchmark.estimators.baselines import without_cost
from benchmark.records import Estimate
from benchmark.store.artifact import prompt_hash, read_manifest, table_rows
from tests.estimators.planted_cell import planted_cell
from tests.interpreters import interpreters

HARD = table_rows(
    pl.Schema({"question_id": pl.String(), "prompt_hash": pl.String(), "hard": pl.Float64()}),
    "questions",
)


class Difficulty:
    """Asks whether a question is hard."""

    def __init__(self, word: str = "Hard") -> None:
        self.word = word

    def estimate(self, cell, role="evaluation") -> Estimate:
        prompts = {k: f"{self.word}? {p}" for k, p in cell.prompts(role).items()}
        hashes = [prompt_hash(prompt) for prompt in prompts.values()]
        wanted = pl.DataFrame({"question_id": [*prompts], "prompt_hash": hashes})

        def ask(missing: pl.DataFrame) -> Iterator[dict[str, object] | None]:
            requests = cell.requests({key: prompts[key] for key in missing["question_id"]})
            answers = cell.engine.choice_probabilities(requests, ["Yes", "No"], cell.decoding())
            for (key, answer), hashed in zip(answers, missing["prompt_hash"], strict=True):
                hard = answer.probabilities["Yes"] if answer.error is None else None
                made = {"question_id": key, "prompt_hash": hashed, "hard": hard}
                yield made if answer.error is None else None

        artifact = cell.artifact(role, "difficulty", {"choices": ["Yes", "No"]})
        stored = artifact.fill(wanted, ask, HARD, "Difficulty", lambda: cell.engine.settings)
        found = wanted.join(stored, on=wanted.columns)
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
def cell(tmp_path):
    return planted_cell(tmp_path)


@pytest.mark.parametrize("patience", [0, 1, 37, 59])
def test_what_came_before_a_fault_is_not_asked_again(cell, patience):
    engine = cell.engine
    cell.engine = first = Failing(engine, patience, give_up)
    with pytest.raises(DataError, match="no more"):
        Difficulty().estimate(cell)
    cell.engine = second = Failing(engine, 1000, give_up)
    confidences = Difficulty().estimate(cell).confidences
    assert confidences.height == 60
    assert (first.asked.total(), second.asked.total()) == (patience, 60 - patience)
    assert not first.asked & second.asked
    cell.engine = Failing(engine, 0, give_up)
    assert Difficulty().estimate(cell).confidences.equals(confidences)


def test_requests_that_failed_are_asked_again_and_the_others_are_not(cell):
    engine = cell.engine
    cell.engine = first = Failing(engine, 25, failed)
    assert Difficulty().estimate(cell).confidences.height == 25
    cell.engine = second = Failing(engine, 1000, give_up)
    assert Difficulty().estimate(cell).confidences.height == 60
    assert not first.asked & second.asked


def test_another_wording_is_asked_and_neither_forgotten(cell):
    engine = cell.engine
    for word, asked in (("Hard", 60), ("Tough", 60), ("Hard", 0)):
        cell.engine = counted = Failing(engine, 1000, give_up)
        Difficulty(word).estimate(cell)
        assert counted.asked.total() == asked


def test_the_manifest_says_what_there_is_and_how_the_engine_ran(cell, tmp_path):
    cell.engine = Failing(cell.engine, 1000, give_up)
    Difficulty().estimate(cell)
    (folder,) = tmp_path.glob("*/basics/test/difficulty-*")
    manifest = read_manifest(folder)
    assert manifest["counts"] == {"questions": 60}
    assert manifest["engine"] == {"batch": 8}
    assert manifest["parts"] == sorted(path.name for path in folder.glob("part-*"))


SLOW = """
import sys, time
from pathlib import Path
from benchmark.store import artifact
from tests.estimators.planted_cell import planted_cell
from tests.estimators.test_outside import Difficulty

artifact._PART_ROWS = 5
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
