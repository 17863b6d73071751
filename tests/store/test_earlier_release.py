"""What an earlier release stored is found again by the code of today, and asked for nowhere.

The store in ``earlier/`` was written by release 0.1.0. Whoever changes a fingerprint on purpose
makes it anew with ``python -m tests.store.test_earlier_release``, and says so in the change.
"""

import shutil
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.cell.cell import Cell
from benchmark.cell.stages import SAMPLED
from benchmark.engines import Response
from benchmark.engines.construction import engine_config
from benchmark.engines.weights import Weights, model_identity
from benchmark.estimators import build_estimators
from benchmark.grading import math_verify
from benchmark.questions import load_splits
from benchmark.store.artifact import Store
from tests.config.test_conf import composed
from tests.estimators.planted_cell import PlantedEngine

EARLIER = Path(__file__).parent / "earlier"
STAGES = ["responses", "verdicts", "verbalized", "p_true", "features"]
# Rules of the comparison and SymPy's release are part of a verdict's fingerprint on purpose.
RULES, SYMPY = 3, "1.14.0"


class Boxing(PlantedEngine):
    """Writes its answers in a box, the wrong ones as a number that needs a comparison."""

    def sample(self, requests, decoding):
        for response in super().sample(requests, decoding):
            if "boxed" not in response.text:
                text = rf"\boxed{{{response.text}.0}}" if response.text != "I pass" else "no"
                response = Response(response.question_id, response.sample_index, text, None, "stop",
                                    response.prompt_tokens, 3, response.seed)  # fmt: skip
            yield response


class Silent(Boxing):
    """Fails where it is asked for anything."""

    def refuse(self, *_):
        raise AssertionError("The model is asked for what the store holds.")

    sample = choice_probabilities = hidden_states = refuse


def cell_in(folder: Path, engine_class: type[PlantedEngine]) -> Cell:
    config = composed(
        "dataset=basics", "dataset.limit=4", "grading=[math_verify]", "sampling.k=3",
        "engine=transformers", "engine.device=cpu", "engine.dtype=float32",
        "estimator=[verbalized,p_true]", "model=smollm2_135m",
        "estimator.verbalized.max_new_tokens=96",
    )  # fmt: skip
    questions = load_splits(config.dataset, ["evaluation"])
    engine = engine_class(list(questions["evaluation"].to_dicts()), lambda p: p)
    settings = engine_config(config.engine)
    weights = Weights("nowhere", None, "gguf-sha256:0")
    engine.identity = {
        **model_identity(config.model, weights, "rendered"),
        **settings.identity(config.model),
    }
    engine.precisions = settings.precisions
    console = Console(file=StringIO(), width=200)
    return Cell(config, questions, engine, Store(folder, console), console, SAMPLED)


def use_all(cell: Cell) -> list[str]:
    """Let the cell make, or find, all that is stored; return what came of it, as text."""
    split = cell.split("evaluation")
    estimators = build_estimators(cell.config.estimator, cell.config.sampling).values()
    confidences = [estimator.estimate(cell).confidences for estimator in estimators]
    states = cell.features("evaluation").features.layer(1)
    tables = [split.capability, split.responses, *confidences]
    return [*(table.write_csv() for table in tables), str(states.tolist())]


def parts(folder: Path) -> dict[str, bytes]:
    """Return the parts of what costs model time or a comparison, by their path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for stage in STAGES
        for path in sorted(folder.glob(f"*/*/*/{stage}-*/part-*"))
    }


def test_what_an_earlier_release_stored_is_used_and_the_model_asked_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(EARLIER, tmp_path / "store")
    known = parts(tmp_path / "store")
    assert {path.split("/")[3].partition("-")[0] for path in known} == {*STAGES}
    monkeypatch.setattr(math_verify, "_VERSION", RULES)
    monkeypatch.setattr(math_verify, "version", lambda _: SYMPY)

    def compare_nothing(*_):
        raise AssertionError("Pairs are compared whose verdicts the store holds.")

    made = use_all(cell_in(tmp_path / "new", Boxing))
    monkeypatch.setattr(math_verify, "compare", compare_nothing)
    assert use_all(cell_in(tmp_path / "store", Silent)) == made
    assert parts(tmp_path / "store") == known


if __name__ == "__main__":
    shutil.rmtree(EARLIER, ignore_errors=True)
    use_all(cell_in(EARLIER, Boxing))
    for path in EARLIER.rglob("*"):
        if path.name == ".lock":
            path.unlink()
