import torch
from scipy.stats import chisquare
from transformers import TopPLogitsWarper

from benchmark.engines import Decoding
from benchmark.engines.tokens import draw_tokens, sample_seed


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
