"""Every architecture in the way that the check gives it, against its own forward pass alone."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    ElectraConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    PreTrainedModel,
    RobertaConfig,
    XLMConfig,
)

from benchmark.engines import Decoding
from benchmark.engines.in_process.decoding import Job, sample_tokens
from benchmark.engines.in_process.fidelity import Way, choose_way
from benchmark.engines.in_process.forward import OwnForward, PackedForward
from benchmark.errors import ModelError
from tests.engines.in_process.architectures import ARCHITECTURES, VOCABULARY, WINDOW, build

CPU = torch.device("cpu")
HEAD = [40, 41, 42, 43, 44, 45, 46, 47, 48, 49]  # of a chat template
PROMPTS = [[*HEAD, 3, 4, 5, 6, 7, 8, 9], [*HEAD, 12], [*HEAD, 20, 21, 22, 23], [*HEAD, 60, 61]]
TRIED = [5, 17, 33, 60, 21, 9, 44, 28, 71, 13, 55, 39, 12, 40, 7, 66, 31]
BATCHED = {
    "bamba", "bloom", "diffllama", "doge", "falcon", "falcon_h1", "falcon_mamba", "gemma2", "gptj",
    "granitemoehybrid", "jamba", "lfm2", "lfm2_moe", "mamba", "mamba2", "mpt", "nemotron_h",
    "olmo_hybrid", "openai-gpt", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "vaultgemma",
    "xglm",
}  # fmt: skip
RECOMPUTED = {"minimax", "recurrent_gemma", "rwkv", "xlstm"}


def way_of(model: PreTrainedModel) -> Way:
    return choose_way(model, CPU, TRIED, "tiny")


@torch.inference_mode()
def alone(model: PreTrainedModel, prompt: list[int]) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
    """Return what transformers itself gives for one prompt, with the attention of its choice."""
    used = model.config._attn_implementation
    try:
        model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
        output = model(torch.tensor([prompt]), use_cache=False, output_hidden_states=True)
    finally:
        model.set_attn_implementation(used)
    return output.logits[0, -1], [states[0, -1] for states in output.hidden_states]


def assert_same_distribution(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert (found.softmax(-1) - wanted.softmax(-1)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_architecture_gives_what_its_own_forward_pass_gives(name: str) -> None:
    model = build(name)
    way = way_of(model)
    assert way.name == (
        "batched" if name in BATCHED else "recomputed" if name in RECOMPUTED else "packed"
    )
    expected = [alone(model, prompt) for prompt in PROMPTS]
    forward = way.make(PROMPTS)
    batches = [PROMPTS] if forward.together else [[prompt] for prompt in PROMPTS]
    logits = torch.cat([forward.read(batch) for batch in batches])
    for found, (wanted, _) in zip(logits, expected, strict=True):
        assert_same_distribution(found, wanted)
    if way.has_states:
        states = torch.cat([forward.hidden_states(batch) for batch in batches])
        for found, (_, layers) in zip(states, expected, strict=True):
            wanted = torch.stack(list(layers))
            assert (found - wanted).abs().max() < 1e-4 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_architecture_goes_on_beyond_its_window_like_its_own_forward_pass(name: str) -> None:
    model = build(name)
    way = way_of(model)
    forward = way.make(PROMPTS)
    begun = PROMPTS[:3] if forward.together else PROMPTS[:1]
    forward.step([], begun)
    rows = [*begun, begun[0]]
    forward.arrange([*range(len(begun)), 0])
    assert len(PROMPTS[1]) + 6 > 2 * WINDOW
    for step in range(6):
        new = [(30 + 7 * step + 3 * row) % VOCABULARY for row in range(len(rows))]
        rows = [[*row, token] for row, token in zip(rows, new, strict=True)]
        late = [PROMPTS[3]] if forward.joins and step == 2 else []
        logits = forward.step(new, late)
        rows += late
        for found, row in zip(logits, rows, strict=True):
            assert_same_distribution(found, alone(model, row)[0])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_architecture_draws_in_a_batch_what_it_draws_alone(name: str) -> None:
    way = way_of(build(name))
    decoding = Decoding(1.0, 0.95, 6)
    jobs = [Job(i, prompt, range(10 * i, 10 * i + 5)) for i, prompt in enumerate(PROMPTS)]

    def draw(some: list[Job]) -> dict[tuple[int, int], list[int]]:
        forward = way.make([job.prompt for job in some])
        drawn = sample_tokens(forward, some, decoding, frozenset([2]), max_rows=6, token_budget=30)
        return {(one.key, one.sample): one.tokens for one in drawn}

    together = draw(jobs)
    assert len(together) == 20
    assert together == {key: tokens for job in jobs for key, tokens in draw([job]).items()}
    assert len({tuple(tokens) for tokens in together.values()}) > 5


def test_rows_move_and_split_without_losing_their_place() -> None:
    model = build("llama")
    forward = PackedForward(model, CPU, [])
    way_of(model)
    forward.step([], PROMPTS)
    forward.arrange([3, 1, 1])
    logits = forward.step([30, 31, 32], [])
    for found, (prompt, token) in zip(logits, [(3, 30), (1, 31), (1, 32)], strict=True):
        assert_same_distribution(found, alone(model, [*PROMPTS[prompt], token])[0])


class Forgetful(LlamaForCausalLM):
    """A model whose logits depend on the length of what it is given."""

    def forward(self, input_ids: torch.Tensor, *args: object, **kwargs: object) -> object:
        output = super().forward(input_ids, *args, **kwargs)
        output.logits = output.logits.roll(input_ids.shape[1], -1)
        return output


class Stubborn(LlamaForCausalLM):
    """An architecture outside the interface: its attention can't be replaced."""

    def set_attn_implementation(self, *_: object, **__: object) -> None:
        """Keep the attention as it is."""


class Mixing(Stubborn):
    """A model whose logits depend on how many rows are in the batch."""

    def forward(self, input_ids: torch.Tensor, *args: object, **kwargs: object) -> object:
        output = super().forward(input_ids, *args, **kwargs)
        output.logits = output.logits.roll(len(input_ids) - 1, -1)
        return output


SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def test_a_model_that_no_way_gives_back_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"model=tiny: Forgetful .*packed: off by .* recomputed"):
        way_of(Forgetful(LlamaConfig(**SIZES)).eval())


def test_what_goes_wrong_in_a_batch_only_is_found_out() -> None:
    with pytest.raises(ModelError, match="batched: off by"):
        way_of(Mixing(LlamaConfig(**SIZES)).eval())


def test_attention_that_cannot_be_replaced_takes_the_models_own_batches() -> None:
    way = way_of(Stubborn(LlamaConfig(**SIZES)).eval())
    assert way.name == "batched"
    assert "packed" in way.refused


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["falcon_h1", "openai-gpt", "gptj", "lfm2_moe", "qwen3_next"])
def test_a_neighbour_that_leaks_less_than_rounding_is_found_out_in_half_precision(
    name: str, dtype: torch.dtype
) -> None:
    assert way_of(build(name).to(dtype)).name == "batched"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["mixtral", "jetmoe", "gpt_oss", "olmoe", "qwen3_moe", "llama"])
def test_experts_that_rounding_changes_are_no_leak(name: str, dtype: torch.dtype) -> None:
    assert way_of(build(name).to(dtype)).name == "packed"


ENCODERS = {
    "bert": BertConfig, "roberta": RobertaConfig, "electra": ElectraConfig,
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("own_weights", [True, False])
def test_an_encoder_is_refused_by_name(name: str, dtype: torch.dtype, own_weights: bool) -> None:
    torch.manual_seed(1)
    sizes = {key: size for key, size in SIZES.items() if key != "num_key_value_heads"}
    model = AutoModelForCausalLM.from_config(ENCODERS[name](**sizes)).eval()
    for parameter in () if own_weights else model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    used = model.config._attn_implementation
    with pytest.raises(ModelError, match=r"model=tiny: \w+ is not causal.*is_decoder"):
        way_of(model.to(dtype))
    assert model.config._attn_implementation == used


def test_an_encoder_that_says_nothing_of_decoders_is_refused_too() -> None:
    torch.manual_seed(1)
    config = XLMConfig(vocab_size=VOCABULARY, emb_dim=32, n_layers=2, n_heads=4)
    with pytest.raises(ModelError, match="is not causal"):
        way_of(AutoModelForCausalLM.from_config(config).eval())


def test_an_encoder_that_is_made_a_decoder_is_sampled() -> None:
    torch.manual_seed(1)
    sizes = {key: size for key, size in SIZES.items() if key != "num_key_value_heads"}
    model = AutoModelForCausalLM.from_config(BertConfig(**sizes, is_decoder=True)).eval()
    assert way_of(model).name == "packed"


def test_a_model_that_does_not_compute_in_half_precision_is_told_which_one_it_may() -> None:
    with pytest.raises(ModelError, match=r"own forward pass: RuntimeError.*engine.dtype=float32"):
        way_of(build("xlstm").to(torch.bfloat16))


def test_a_refused_model_keeps_the_attention_that_it_had() -> None:
    model = Forgetful(LlamaConfig(**SIZES)).eval()
    used = model.config._attn_implementation
    with pytest.raises(ModelError):
        way_of(model)
    assert model.config._attn_implementation == used


def long_rope() -> PreTrainedModel:
    """Return a model that rotates in another way beyond 20 tokens."""
    factors = {"long_factor": [4.0] * 4, "short_factor": [1.0] * 4}
    scaling = {"rope_type": "longrope", "rope_theta": 1e4, **factors}
    config = Phi3Config(
        **SIZES, pad_token_id=0, max_position_embeddings=64, original_max_position_embeddings=20,
        rope_parameters={**scaling, "original_max_position_embeddings": 20},
    )  # fmt: skip
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("tried", [TRIED, TRIED * 2])
def test_rotary_embeddings_that_depend_on_a_batchs_longest_sequence_run_one_by_one(
    tried: list[int],
) -> None:
    model = long_rope()
    way = choose_way(model, CPU, tried, "tiny")
    assert way.name == "single"
    forward = way.make(PROMPTS)
    assert not forward.together
    for prompt in (PROMPTS[1], PROMPTS[0] * 2, PROMPTS[0]):  # below the bound, beyond, below
        assert_same_distribution(forward.read([prompt])[0], alone(model, prompt)[0])
    row = PROMPTS[0]
    forward.step([], [row])
    for token in range(30, 38):  # passes the bound
        row = [*row, token]
        assert_same_distribution(forward.step([token], [])[0], alone(model, row)[0])


def test_a_model_that_reads_fewer_tokens_than_the_check_has_is_checked_with_those() -> None:
    assert choose_way(build("gpt2", n_positions=12), CPU, TRIED, "tiny").name == "packed"


def test_logits_that_are_not_finite_are_refused_at_loading() -> None:
    model = build("llama")
    model.lm_head.weight.data[3] = float("inf")
    with pytest.raises(ModelError, match=r"not finite in torch.float32.*engine.dtype"):
        way_of(model)


def test_own_batches_are_padded_at_the_left_and_their_rows_can_be_dropped() -> None:
    model = build("qwen3_next")
    forward = OwnForward(model, CPU, together=True)
    first = forward.step([], PROMPTS)
    for found, prompt in zip(first, PROMPTS, strict=True):
        assert_same_distribution(found, alone(model, prompt)[0])
    forward.arrange([2, 0])
    for found, row in zip(
        forward.step([30, 31], []), ([*PROMPTS[2], 30], [*PROMPTS[0], 31]), strict=True
    ):
        assert_same_distribution(found, alone(model, row)[0])


def test_prompts_of_the_tests_have_different_lengths() -> None:
    assert all(len(a) != len(b) for a, b in pairwise(PROMPTS))


def test_the_documents_say_which_way_each_architecture_takes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    listed = {
        way: set(re.findall(r"`([^`]+)`", text))
        for way, text in re.findall(r"- \*\*(\w+)\*\*: ((?:.|\n  )+)", page)
    }
    packed = ARCHITECTURES.keys() - BATCHED - RECOMPUTED
    assert listed == {"packed": packed, "batched": BATCHED, "recomputed": RECOMPUTED}
