from itertools import chain

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Olmo3Config,
    Olmo3ForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from benchmark.engines.packed import KVCache, Pack, use_packed_attention
from benchmark.errors import ModelError

SIZES = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
WINDOW = {
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
}
ARCHITECTURES = {
    "llama": lambda **more: LlamaForCausalLM(LlamaConfig(**(SIZES | more))),
    "qwen3": lambda **more: Qwen3ForCausalLM(Qwen3Config(**(SIZES | more))),
    "olmo3": lambda **more: Olmo3ForCausalLM(Olmo3Config(**(SIZES | WINDOW | more))),
    "gemma3": lambda **more: Gemma3ForCausalLM(Gemma3TextConfig(**(SIZES | WINDOW | more))),
    "gpt_oss": lambda **more: GptOssForCausalLM(
        GptOssConfig(**(SIZES | WINDOW | more), num_local_experts=4, num_experts_per_tok=2)
    ),
}
PROMPTS = [[3, 4, 5, 6, 7, 8, 9, 10, 11], [12], [20, 21, 22, 23]]


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(1)
    model = ARCHITECTURES[name]().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def reference_logits(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    model.set_attn_implementation("eager")
    return model(torch.tensor([tokens])).logits[0, -1]


def packed_logits(model: PreTrainedModel, tokens: list[int], pack: Pack) -> torch.Tensor:
    use_packed_attention(model)
    hidden = model.base_model(
        input_ids=torch.tensor([tokens]), position_ids=pack.positions, use_cache=False, pack=pack
    ).last_hidden_state[0]
    return model.get_output_embeddings()(hidden[pack.ends])


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_packed_prompts_give_each_prompts_own_logits(name: str) -> None:
    model = build(name)
    expected = torch.stack([reference_logits(model, prompt) for prompt in PROMPTS])
    pack = Pack(0, [len(p) for p in PROMPTS], None, torch.device("cpu"))
    actual = packed_logits(model, [*chain(*PROMPTS)], pack)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_running_rows_continue_beside_new_prompts(name: str) -> None:
    model = build(name)
    cache = KVCache()
    first, second, late = PROMPTS
    cache.reserve(2, 9)
    packed_logits(model, first + second, Pack(0, [9, 1], cache, torch.device("cpu")))
    cache.lengths[:2] = torch.tensor([9, 1])
    for step, (a, b) in enumerate([(30, 31), (32, 33), (34, 35), (36, 37), (38, 39)]):
        first, second = [*first, a], [*second, b]
        prompts = [late] if step == 2 else []
        cache.reserve(2 + len(prompts), len(first))
        pack = Pack(2, [len(p) for p in prompts], cache, torch.device("cpu"))
        actual = packed_logits(model, [a, b, *chain(*prompts)], pack)
        cache.lengths[:2] += 1
        expected = [reference_logits(model, tokens) for tokens in (first, second, *prompts)]
        torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_prompts_behind_a_shared_prefix_start_and_continue_like_whole_ones(name: str) -> None:
    model = build(name)
    head, rests = [40, 41, 42, 43, 44, 45], [[3, 4, 5], [6]]
    device = torch.device("cpu")
    prefix = KVCache()
    prefix.reserve(1, len(head))
    packed_logits(model, head, Pack(0, [len(head)], prefix, device))
    prefix.lengths[0] = len(head)
    cache = KVCache()
    cache.reserve(2, 10)
    actual = packed_logits(model, [3, 4, 5, 6], Pack(0, [3, 1], cache, device, prefix))
    expected = [reference_logits(model, head + rest) for rest in rests]
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)
    cache.lengths[:2] = torch.tensor([9, 7])
    actual = packed_logits(model, [30, 31], Pack(2, [], cache, device, prefix))
    expected = [
        reference_logits(model, [*head, *rest, token])
        for rest, token in zip(rests, (30, 31), strict=True)
    ]
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_copied_row_continues_like_its_source() -> None:
    model = build("llama")
    cache = KVCache()
    cache.reserve(1, 9)
    packed_logits(model, PROMPTS[0], Pack(0, [9], cache, torch.device("cpu")))
    cache.lengths[:1] = 9
    cache.reserve(3, 10)
    cache.copy([0, 0], [1, 2])
    pack = Pack(3, [], cache, torch.device("cpu"))
    actual = packed_logits(model, [30, 31, 30], pack)
    expected = [reference_logits(model, [*PROMPTS[0], token]) for token in (30, 31, 30)]
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_an_architecture_with_its_own_attention_is_refused() -> None:
    class Stubborn(LlamaForCausalLM):
        def set_attn_implementation(self, *_: object, **__: object) -> None:
            """Keep the attention as it is, as architectures outside the interface do."""

    with pytest.raises(ModelError, match="Stubborn"):
        use_packed_attention(Stubborn(LlamaConfig(**SIZES)))
