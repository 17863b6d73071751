"""Tiny random models of the installed transformers' text architectures, special fields set."""

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 101  # of the tests' tokenizer
WINDOW = 8  # tokens, of windows and chunks; prompts of the tests are longer
_SIZES: dict[str, Any] = {  # of which each configuration takes those that it knows
    "vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "max_position_embeddings": 128, "n_positions": 128, "max_seq_len": 128,
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "n_inner": 48, "intermediate_size": 48,
    "ffn_dim": 48, "ffn_hidden_size": 48, "word_embed_proj_dim": 32, "attention_hidden_size": 32,
    "num_hidden_layers": 4, "n_layer": 4, "n_layers": 4, "num_layers": 4,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "rotary_dim": 4,
    "num_key_value_heads": 2, "head_dim": 8,
    "sliding_window": WINDOW, "attention_chunk_size": WINDOW, "attention_window_size": WINDOW,
    "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 1,
    "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1,
    "mamba_d_ssm": 64, "mamba_expand": 2, "mamba_chunk_size": 4, "mamba_num_heads": 4,
    "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 1, "state_size": 8, "chunk_size": 4,
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "lru_width": 32, "block_multiple_of": 8,
    "logits_scaling": 8.0, "logit_scale": 0.25, "residual_multiplier": 0.5,
    "embedding_multiplier": 2.0, "attention_multiplier": 0.5, "attn_logit_softcapping": 5.0,
    "final_logit_softcapping": 3.0, "logits_soft_cap": 3.0,
}  # fmt: skip
_SLIDING = {"layer_types": ["sliding_attention", "full_attention"] * 2}
_LINEAR = {"layer_types": ["linear_attention", "full_attention"] * 2}
_LATENT = {"head_dim": 8, "num_key_value_heads": 4}
_HYBRID = {"layers_block_type": ["mamba", "attention"] * 2}
_LIKE_GEMMA3 = {**_SLIDING, "query_pre_attn_scalar": 8}
_SIGHT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "image_size": 28,
          "num_attention_heads": 2, "patch_size": 14}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "afmoe": {}, "apertus": {}, "arcee": {}, "bamba": {"attn_layer_indices": [1, 3]},
    "bitnet": {}, "bloom": {}, "cohere": {}, "cohere2": _SLIDING, "ctrl": {"dff": 48},
    "cwm": _SLIDING, "deepseek_v2": _LATENT, "deepseek_v3": _LATENT, "diffllama": {},
    "doge": {}, "ernie4_5": {}, "ernie4_5_moe": {}, "exaone4": _SLIDING, "falcon": {},
    "falcon_h1": {}, "falcon_mamba": {}, "flex_olmo": {}, "gemma": {}, "gemma2": _SLIDING,
    "gemma3": {"text_config": {**_SIZES, **_LIKE_GEMMA3}, "vision_config": _SIGHT},
    "gemma3_text": _LIKE_GEMMA3,
    "gemma3n_text": {**_SLIDING, "num_kv_shared_layers": 2, "laurel_rank": 4,
                     "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY,
                     "intermediate_size": [48] * 4, "activation_sparsity_pattern": [0.5] * 4},
    "gemma4_text": {**_SLIDING, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 8,
                    "vocab_size_per_layer_input": VOCABULARY, "global_head_dim": 8},
    "glm": {}, "glm4": {}, "glm4_moe": {}, "gpt2": {}, "gpt_bigcode": {}, "gpt_neox": {},
    "gpt_oss": _SLIDING, "gptj": {}, "granite": {}, "granitemoe": {},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2}, "helium": {},
    "hunyuan_v1_dense": {}, "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1,
                                      "use_mamba_kernels": False, "mamba_dt_rank": 4},
    "jetmoe": {"kv_channels": 8}, "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2}, "llama": {},
    "llama4_text": {"no_rope_layers": [1, 0, 1, 0], "interleave_moe_layer_step": 2,
                    "layer_types": ["chunked_attention", "full_attention"] * 2},
    "mamba": {}, "mamba2": {"num_heads": 4, "head_dim": 16}, "minimax": _LINEAR,
    "minimax_m2": {}, "ministral": _SLIDING, "mistral": {}, "mixtral": {}, "mpt": {},
    "nanochat": {}, "nemotron": {}, "nemotron_h": {}, "olmo": {}, "olmo2": {}, "olmo3": _SLIDING,
    "olmo_hybrid": _LINEAR, "olmoe": {}, "openai-gpt": {}, "opt": {}, "persimmon": {}, "phi": {},
    "phi3": {}, "phimoe": {}, "qwen2": {"use_sliding_window": True, **_SLIDING}, "qwen2_moe": {},
    "qwen3": {}, "qwen3_5_moe_text": _LINEAR, "qwen3_5_text": _LINEAR, "qwen3_moe": {},
    "qwen3_next": _LINEAR, "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "rwkv": {}, "seed_oss": {}, "smollm3": {"no_rope_layers": [1, 0, 1, 0]}, "stablelm": {},
    "starcoder2": {}, "vaultgemma": _SLIDING, "xglm": {"attention_heads": 4}, "xlstm": {},
}  # fmt: skip


def build(name: str, **more: Any) -> PreTrainedModel:
    """Return a model whose distributions are far from uniform."""
    torch.manual_seed(1)
    kind = CONFIG_MAPPING[name]
    known = kind().to_dict()
    sizes = {key: value for key, value in _SIZES.items() if key in known}
    model = AutoModelForCausalLM.from_config(kind(**(sizes | ARCHITECTURES[name] | more))).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model
