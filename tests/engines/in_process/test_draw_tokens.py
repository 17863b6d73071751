from dataclasses import replace

import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from benchmark.engines import Decoding
from benchmark.engines.in_process.draw_tokens import draw_tokens, penalised
from benchmark.sampling.seeds import sample_seed


def nucleus(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    return TopPLogitsWarper(top_p)(None, logits[None] / temperature)[0].softmax(-1)


def assert_frequencies(logits: torch.Tensor, temperature: float, top_p: float) -> None:
    draws = 20_000
    uniform = torch.rand((1, draws), dtype=torch.float64, generator=torch.manual_seed(0))
    tokens = draw_tokens(logits[None], uniform, Decoding(temperature, top_p, 1))
    expected = nucleus(logits, temperature, top_p).double()
    counts = torch.bincount(tokens[0], minlength=len(logits)).double()
    assert counts[expected == 0].sum() == 0
    likely = expected > 5 / draws
    observed = torch.cat([counts[likely], counts[~likely].sum()[None]])
    wanted = torch.cat([expected[likely], expected[~likely].sum()[None]]) * draws
    kept = wanted > 0
    assert chisquare(observed[kept], wanted[kept] / wanted[kept].sum() * draws).pvalue > 1e-3


def test_frequencies_are_those_of_the_nucleus() -> None:
    torch.manual_seed(3)
    assert_frequencies(3 * torch.randn(500), 0.7, 0.95)


def test_a_flat_nucleus_larger_than_the_first_guess_is_found() -> None:
    torch.manual_seed(3)
    assert_frequencies(0.1 * torch.randn(2000), 1.0, 0.9)


def test_without_top_p_the_whole_vocabulary_is_drawn_from() -> None:
    torch.manual_seed(3)
    assert_frequencies(torch.randn(300), 1.3, 1.0)


def test_uniform_numbers_next_to_one_stay_inside_the_nucleus() -> None:
    logits = torch.tensor([[4.0, 3.0, -50.0, -60.0]])
    almost_one = torch.tensor([[1 - 2**-53, 0.0]], dtype=torch.float64)
    for top_p in (0.999, 1.0):
        last, first = draw_tokens(logits, almost_one, Decoding(1.0, top_p, 1))[0].tolist()
        assert (last, first) == (1, 0)


def test_rows_are_drawn_from_their_own_distributions() -> None:
    logits = torch.full((3, 200), -30.0)
    logits[0, 7], logits[1, 150] = 30.0, 30.0
    logits[2] = 0.0
    tokens = draw_tokens(logits, torch.full((3, 2), 0.5), Decoding(1.0, 0.9, 1))
    assert tokens[0].tolist() == [7, 7]
    assert tokens[1].tolist() == [150, 150]


def test_temperature_zero_takes_the_most_probable_token() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    assert draw_tokens(logits, torch.rand(1, 4), Decoding(0.0, 1.0, 1)).tolist() == [[1] * 4]


def test_seeds_differ_between_questions_and_samples_and_are_stable() -> None:
    seeds = {sample_seed(s, q, i) for s in (0, 1) for q in ("a", "b") for i in range(50)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert sample_seed(0, "a", 1) == sample_seed(0, "a", 1)


def test_a_tiny_temperature_is_greedy() -> None:
    logits = torch.tensor([[100.0, 101.0, -1e30]])
    drawn = draw_tokens(logits, torch.rand(1, 50), Decoding(1e-4, 0.9, 1))
    assert set(drawn.flatten().tolist()) == {1}


def distribution(logits: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Return the probabilities [V] that tokens are drawn with, from a fine grid of numbers."""
    grid = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    tokens = draw_tokens(logits[None], grid[None], decoding)[0]
    return torch.bincount(tokens, minlength=len(logits)).double() / len(grid)


def reference(
    logits: torch.Tensor, prompt: list[int], drawn: list[int], decoding: Decoding
) -> torch.Tensor:
    """Return the same, token by token in plain Python numbers."""
    values = logits.tolist()
    for token in {*prompt, *drawn}:
        penalty = decoding.repetition_penalty or 1
        values[token] = values[token] / penalty if values[token] > 0 else values[token] * penalty
    for token in set(drawn):
        values[token] -= (decoding.frequency_penalty or 0) * drawn.count(token)
        values[token] -= decoding.presence_penalty or 0
    weights = (torch.tensor(values, dtype=torch.float64) / decoding.temperature).softmax(-1)
    weights[weights < (decoding.min_p or 0) * weights.max()] = 0
    order = weights.argsort(descending=True)
    weights[order[decoding.top_k or len(values) :]] = 0
    weights /= weights.sum()
    before = 0.0
    for token in order.tolist():
        mass = float(weights[token])
        if before >= decoding.top_p:
            weights[token] = 0
        before += mass
    return weights / weights.sum()


WHAT_IS_LEFT = [
    Decoding(1.0, 1.0, 1, top_k=5),
    Decoding(0.7, 1.0, 1, top_k=1),
    Decoding(0.7, 0.8, 1, top_k=20),
    Decoding(1.0, 0.5, 1, top_k=1_000),
    Decoding(1.3, 1.0, 1, min_p=0.1),
    Decoding(1.0, 0.9, 1, min_p=0.05),
    Decoding(1.0, 0.9, 1, min_p=1.0),
    Decoding(1.0, 1.0, 1, min_p=0.0),
    Decoding(2.0, 0.9, 1, top_k=30, min_p=0.02),
    Decoding(2.0, 1.0, 1, top_k=200, min_p=0.001),
]
PENALTIES = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"presence_penalty": 1.5},
    {"presence_penalty": -2.0},
    {"frequency_penalty": 0.6},
    {"frequency_penalty": -0.6, "presence_penalty": 0.5},
    {"repetition_penalty": 1.2, "frequency_penalty": 0.4, "presence_penalty": 0.3},
]


@pytest.mark.parametrize("decoding", WHAT_IS_LEFT)
def test_what_min_p_top_k_and_top_p_leave_agrees_with_a_plain_reference(decoding) -> None:
    torch.manual_seed(4)
    logits = 2 * torch.randn(300)
    expected = reference(logits, [], [], decoding)
    found = distribution(logits, decoding)
    assert (found[expected == 0] == 0).all()
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("decoding", WHAT_IS_LEFT)
def test_what_is_left_agrees_with_the_warpers_of_transformers(decoding) -> None:
    torch.manual_seed(5)
    logits = 2 * torch.randn(300)
    warped = logits[None] / decoding.temperature  # in our order, which is not theirs
    if decoding.min_p is not None:
        warped = MinPLogitsWarper(decoding.min_p)(None, warped)
    if decoding.top_k is not None:
        warped = TopKLogitsWarper(decoding.top_k)(None, warped)
    expected = TopPLogitsWarper(decoding.top_p)(None, warped)[0].softmax(-1).double()
    assert torch.allclose(distribution(logits, decoding), expected, atol=1e-4)


@pytest.mark.parametrize("penalties", PENALTIES)
def test_penalties_agree_with_a_plain_reference(penalties) -> None:
    torch.manual_seed(6)
    logits = 2 * torch.randn(3, 40)
    prompts, drawn = [[1, 2, 2, 3], [4], [1]], [[3, 5, 5, 5], [], [7, 1, 7]]
    decoding = Decoding(0.8, 0.95, 1, top_k=25, **penalties)
    changed = penalised(logits, prompts, drawn, decoding)
    for row in range(3):
        expected = reference(logits[row], prompts[row], drawn[row], decoding)
        assert torch.allclose(distribution(changed[row], decoding), expected, atol=1e-4)


@pytest.mark.parametrize("penalty", [0.5, 1.1, 2.0])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    torch.manual_seed(7)
    logits = 2 * torch.randn(2, 40)
    prompts, drawn = [[1, 2, 3], [4, 4, 5]], [[6, 1], [7, 8]]
    seen = torch.tensor([p + d for p, d in zip(prompts, drawn, strict=True)])
    expected = RepetitionPenaltyLogitsProcessor(penalty)(seen, logits.clone())
    decoding = Decoding(1.0, 1.0, 1, repetition_penalty=penalty)
    assert torch.allclose(penalised(logits, prompts, drawn, decoding), expected)


def test_neutral_penalties_hand_the_logits_on() -> None:
    logits = torch.randn(2, 40)
    neutral = Decoding(1.0, 1.0, 1, 5, 0.1, 1.0, 0.0, 0.0)
    for decoding in (Decoding(1.0, 1.0, 1), neutral):
        assert penalised(logits, [[1], [2]], [[3], [4]], decoding) is logits


def test_penalties_decide_at_temperature_zero_and_nothing_else_does() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0]])
    greedy = Decoding(0.0, 0.1, 1, top_k=1, min_p=0.9)
    uniform = torch.rand(1, 3)
    assert draw_tokens(logits, uniform, greedy).tolist() == [[0, 0, 0]]
    changed = penalised(logits, [[]], [[0]], replace(greedy, presence_penalty=1.5))
    assert draw_tokens(changed, uniform, greedy).tolist() == [[1, 1, 1]]


def test_ties_with_the_last_token_of_top_k_are_kept() -> None:
    logits = torch.tensor([2.0, 1.0, 1.0, 0.0])
    assert (distribution(logits, Decoding(1.0, 1.0, 1, top_k=2)) > 0).tolist() == [True] * 3 + [
        False
    ]
