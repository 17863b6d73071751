"""Adaptive sampling of whole cells: interrupted, repeated, beside fixed sampling, with failures."""

import hashlib

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from benchmark.cell.cell import Cell
from benchmark.cell.stages import SAMPLED
from benchmark.config.schema import (
    CapabilityConfig,
    Config,
    DecodingConfig,
    ModelConfig,
    SamplingConfig,
    StoppingConfig,
)
from benchmark.engines import Response
from benchmark.errors import DataError
from benchmark.grading.exact import Exact
from benchmark.grading.verdict import Verdict
from benchmark.questions.basics import Basics
from benchmark.records import Question, question_table
from benchmark.sampling.adaptive import StoppingRule, stopped_counts
from benchmark.sampling.responses import STORED_RESPONSE
from benchmark.store.artifact import Store
from tests.test_main import run, tiny

RULE = StoppingRule(k_min=4, k_max=20, round=3, width=0.45)
QUESTIONS = {f"q{i}": p for i, p in enumerate([0.0, 0.1, 0.3, 0.5, 0.5, 0.7, 0.9, 0.95, 1.0])}


class Interrupted(Exception):
    """The process died."""


class CoinEngine:
    """Answers ``x`` with each question's own probability, by the response's seed alone."""

    identity = {"weights": "coins"}  # noqa: RUF012
    precisions = {}  # noqa: RUF012
    settings = {}  # noqa: RUF012

    def __init__(self, most=None, failing=(), cut=0.0):
        self.most, self.failing, self.cut = most, set(failing), cut
        self.drawn = []

    def sample(self, requests, decoding):
        for request in requests:
            for index, seed in zip(request.sample_indices, request.seeds, strict=True):
                if len(self.drawn) == self.most:
                    raise Interrupted
                key = request.question_id, index
                self.drawn.append(key)
                yield self.response(*key, seed, decoding)

    def response(self, question_id, index, seed, decoding):
        digest = hashlib.sha256(str(seed).encode()).digest()
        coin, cut = (int.from_bytes(digest[i : i + 4]) / 2**32 for i in (0, 4))
        finish = "length" if cut < self.cut else "stop"
        if (question_id, index) in self.failing:
            return Response(question_id, index, None, None, "error", 0, 0, seed, "overloaded")
        text = "x" if coin < QUESTIONS[question_id] else "y"
        return Response(question_id, index, text, None, finish, 3, decoding.max_new_tokens, seed)

    def close(self):
        pass


def cell_of(folder, engine, stopping=RULE, k=RULE.k_min, **capability):
    rule = stopping and StoppingConfig(stopping.k_max, stopping.width, stopping.round)
    config = Config(
        dataset=Basics(name="coins", splits={"evaluation": "test"}),
        model=ModelConfig(name="coin", hub_id="none", decoding=DecodingConfig(1.0, 1.0, 8)),
        grading={"exact": {"_target_": "benchmark.grading.exact.Exact"}},
        sampling=SamplingConfig(k=k, k_train=2, stopping=rule),
        capability=CapabilityConfig(**capability),
    )
    questions = question_table([Question(i, f"Flip {i}.", i, ("x",)) for i in QUESTIONS])
    console = Console(quiet=True)
    return Cell(config, {"evaluation": questions}, engine, Store(folder, console), console, SAMPLED)


def numbers(split):
    return dict(split.capability.sort("question_id")["question_id", "n"].iter_rows())


def stored(folder):
    paths = list(folder.glob("coin/coins/test/responses-*/part-*.parquet"))
    return pl.concat([STORED_RESPONSE.to_frame(), *(pl.read_parquet(path) for path in paths)])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Every response up to the most, and where the sequences say that questions stop."""
    split = cell_of(tmp_path_factory.mktemp("all"), CoinEngine(), None, RULE.k_max).split(
        "evaluation"
    )
    table = split.grades.sort("question_id", "sample_index")
    correct = (table["outcome"] == "correct").to_numpy().reshape(len(QUESTIONS), RULE.k_max)
    return dict(zip(sorted(QUESTIONS), stopped_counts(correct, RULE).tolist(), strict=True))


def test_questions_stop_where_their_responses_in_order_say(tmp_path, undisturbed):
    engine = CoinEngine()
    split = cell_of(tmp_path, engine).split("evaluation")
    assert numbers(split) == undisturbed
    assert len(set(undisturbed.values())) > 2
    assert len(engine.drawn) == len(set(engine.drawn)) == sum(undisturbed.values())
    assert split.responses["question_id", "sample_index"].is_unique().all()
    assert len(split.responses) == len(split.grades) == len(engine.drawn)


@pytest.mark.parametrize("most", [0, 10, 36, 37, 60, 75])
def test_an_interrupted_run_goes_on_and_stops_at_the_same_places(tmp_path, undisturbed, most):
    first, second, third = CoinEngine(most), CoinEngine(), CoinEngine()
    with pytest.raises(Interrupted):
        cell_of(tmp_path, first).split("evaluation")
    assert len(stored(tmp_path)) == most
    assert numbers(cell_of(tmp_path, second).split("evaluation")) == undisturbed
    assert len(first.drawn) + len(second.drawn) == sum(undisturbed.values())
    assert not set(first.drawn) & set(second.drawn)
    assert numbers(cell_of(tmp_path, third).split("evaluation")) == undisturbed
    assert not third.drawn


def test_fixed_and_adaptive_sampling_share_their_responses(tmp_path, undisturbed):
    adaptive, fixed, again = CoinEngine(), CoinEngine(), CoinEngine()
    cell_of(tmp_path, adaptive).split("evaluation")
    split = cell_of(tmp_path, fixed, None, k=RULE.k_max).split("evaluation")
    assert set(numbers(split).values()) == {RULE.k_max}
    assert not set(adaptive.drawn) & set(fixed.drawn)
    assert numbers(cell_of(tmp_path, again).split("evaluation")) == undisturbed
    assert not again.drawn


def test_a_narrower_width_draws_only_what_is_missing(tmp_path, undisturbed):
    cell_of(tmp_path, CoinEngine()).split("evaluation")
    engine = CoinEngine()
    more = numbers(cell_of(tmp_path, engine, RULE._replace(width=0.35)).split("evaluation"))
    assert all(more[key] >= n for key, n in undisturbed.items())
    assert len(engine.drawn) == sum(more.values()) - sum(undisturbed.values()) > 0


def test_failed_responses_stop_the_run_before_more_is_asked_for(tmp_path, undisturbed):
    engine = CoinEngine(failing=[("q3", 2)])
    with pytest.raises(DataError, match="1 of 36 responses failed, the first with: overloaded"):
        cell_of(tmp_path, engine).split("evaluation")
    assert len(engine.drawn) == 36
    mended = CoinEngine()
    assert numbers(cell_of(tmp_path, mended).split("evaluation")) == undisturbed
    assert ("q3", 2) in mended.drawn


def test_failed_responses_that_are_left_out_are_made_up_for(tmp_path, undisturbed):
    failing = [("q0", 1), *(("q3", i) for i in range(20))]
    cell = cell_of(tmp_path, CoinEngine(failing=failing), failed="left_out")
    split = cell.split("evaluation")
    found = numbers(split)
    assert found["q0"] == 7
    assert "q3" not in found
    assert split.responses.filter(pl.col("question_id") == "q0")["sample_index"].to_list() == [
        0,
        *range(2, 8),
    ]
    assert cell.failed_requests == 21
    assert numbers(cell_of(tmp_path, CoinEngine()).split("evaluation")) == undisturbed


def test_a_verdict_that_a_limit_made_leaves_the_cell_open(tmp_path, monkeypatch):
    assert cell_of(tmp_path, CoinEngine()).failed_requests == 0
    cell = cell_of(tmp_path, CoinEngine())
    stopped = Verdict("x", "unparsed", "time limit")
    monkeypatch.setattr(Exact, "verdict", lambda *_: stopped)
    cell.split("evaluation")
    assert cell.failed_requests > 0


def test_responses_without_an_answer_that_are_left_out_keep_a_question_open(tmp_path):
    engine = CoinEngine(cut=0.4)
    split = cell_of(tmp_path, engine, truncated="left_out").split("evaluation")
    assert len(split.left_out) > 10
    counted = split.capability.sort("question_id")
    drawn = np.bincount([int(key[1:]) for key, _ in engine.drawn])
    for n, most in zip(counted["n"], drawn, strict=True):
        assert n in RULE.checks or most == RULE.k_max
    every = pl.concat([split.grades, split.left_out])
    assert len(every) == len(engine.drawn) == drawn.sum()


def test_training_questions_are_never_stopped(tmp_path):
    cell = cell_of(tmp_path, CoinEngine())
    cell.config.dataset.splits["train"] = "train"
    cell.questions = {"train": cell.questions["evaluation"]}
    assert set(numbers(cell.split("train")).values()) == {2}


ADAPTIVE = ["sampling=adaptive", "sampling.stopping.k_max=8", "sampling.stopping.width=0.6",
            "sampling.stopping.round=2", "application.adaptive.simulations=3"]  # fmt: skip


def test_a_cell_runs_adaptively_to_its_report(monkeypatch, tmp_path, capsys, tiny_model):
    settings = tiny(tiny_model, "estimator=[random,p_true,oracle_cc]", *ADAPTIVE)
    assert run(monkeypatch, tmp_path, *settings, every_figure=True) == 0
    assert "responses of at most 96" in capsys.readouterr().out
    (report,) = tmp_path.glob("out/*/*/report.html")
    table = pl.read_csv(report.parent / "adaptive.csv")
    assert table["design"].n_unique() == 4
    assert {"accuracy", "brier", "auroc"} <= set(table["metric"])
    assert (report.parent / "figures" / "adaptive.png").exists()
    assert pl.read_csv(report.parent / "adaptive_questions.csv")["n"].is_between(4, 8).all()
    assert "samples saved" in report.read_text()


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["sampling.stopping.k_max=3"], ["sampling.stopping.k_max=3", "at least sampling.k=4"]),
        (["sampling.stopping.width=0"], ["sampling.stopping.width=0.0", "(0, 1)"]),
        (["sampling.stopping.width=nan"], ["sampling.stopping.width=nan"]),
        (["sampling.stopping.round=0"], ["sampling.stopping.round=0"]),
        (["sampling.stopping.widht=0.1"], ["widht", "width"]),
        (["estimator=[consistency_5]"], ["m=5", "sampling.k"]),
        (["sampling.stopping=null"], ["sampling.stopping", "k_max"]),
        (["application.adaptive.simulations=-1"], ["simulations=-1"]),
    ],
)
def test_bad_settings_are_one_message(monkeypatch, tmp_path, capsys, tiny_model, overrides, named):
    settings = tiny(tiny_model, "estimator=[random]", *ADAPTIVE, *overrides)
    assert run(monkeypatch, tmp_path, *settings) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    for word in named:
        assert word in error
